"""Accounts: who one is, changing it, and the roles that follow from settings and events."""

import asyncio
import base64
import json
import uuid
from collections import Counter
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from chassis.errors import InvalidArgument, PermissionDenied, StaleVersion, Unauthenticated
from chassis.outbox import event_name
from chassis.redis import stream_of
from propmubi.agents.v1.events_pb2 import (
    AgentOfficeChanged,
    AgentSuspended,
    AgentVerified,
    OfficeAdminChanged,
    OfficeVerified,
)
from propmubi.auth.v1 import auth_pb2 as pb
from propmubi.common.v1.event_pb2 import Event
from propmubi.projects.v1.events_pb2 import BuilderSuspended, BuilderVerified
from services.auth.tests.conftest import PHONE, Auth, RunAuth


def claims(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found


async def tell(auth: Auth, source: str, payload: Message, aggregate_id: str, sequence: int) -> None:
    """What the relay of `source` does."""
    packed = Packed()
    packed.Pack(payload)
    told = Event(id=str(uuid.uuid4()), aggregate_id=aggregate_id, sequence=sequence, payload=packed)
    await auth.running.service.redis.xadd(
        stream_of(source), {"event": told.SerializeToString(), "name": event_name(payload)}
    )


async def roles_become(auth: Auth, user_id: str, *roles: str) -> None:
    async with asyncio.timeout(30):
        while True:
            [row] = await auth.rows("select roles from users where id = $1", uuid.UUID(user_id))
            if set(row["roles"]) == {"buyer", *roles}:
                return
            await asyncio.sleep(0.02)


async def refused_by_now(auth: Auth, token: str) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await auth.me(token)
            except Unauthenticated:
                return
            await asyncio.sleep(0.01)


async def test_she_changes_her_own_name_and_address(auth: Auth) -> None:
    signed_in = await auth.sign_in()
    users = auth.users(signed_in.access_token)
    change = pb.UpdateMeRequest(
        user=pb.User(full_name=" Asha Kulkarni ", email="asha@example.in"),
        update_mask=FieldMask(paths=["full_name", "email"]),
        expected_version=signed_in.user.version,
    )
    changed = await users.UpdateMe(change)
    assert (changed.full_name, changed.email) == ("Asha Kulkarni", "asha@example.in")
    assert changed.version == signed_in.user.version + 1
    with pytest.raises(StaleVersion):
        await users.UpdateMe(change)
    cleared = await users.UpdateMe(
        pb.UpdateMeRequest(user=pb.User(), update_mask=FieldMask(paths=["email"]))
    )
    assert not cleared.HasField("email")
    assert cleared == await auth.me(signed_in.access_token)


@pytest.mark.parametrize(
    ("user", "paths"),
    [
        (pb.User(full_name="  "), ["full_name"]),
        (pb.User(email="not an address"), ["email"]),
        (pb.User(roles=["admin"]), ["roles"]),
        (pb.User(phone="+919876543219"), ["phone"]),
        (pb.User(full_name="Asha"), []),
    ],
)
async def test_a_bad_change_is_refused(auth: Auth, user: pb.User, paths: list[str]) -> None:
    signed_in = await auth.sign_in()
    with pytest.raises(InvalidArgument):
        await auth.users(signed_in.access_token).UpdateMe(
            pb.UpdateMeRequest(user=user, update_mask=FieldMask(paths=paths))
        )
    assert await auth.me(signed_in.access_token) == signed_in.user


async def test_an_account_needs_a_person(auth: Auth) -> None:
    with pytest.raises(Unauthenticated):
        await auth.me("")
    service = await auth.stub().IssueServiceToken(
        pb.IssueServiceTokenRequest(
            service_id="crm", service_secret="only-for-tests-and-at-least-32-characters"
        )
    )
    with pytest.raises(PermissionDenied):
        await auth.me(service.access_token)


async def test_a_phone_of_the_settings_makes_an_administrator_until_it_is_taken_out(
    run_auth: RunAuth,
) -> None:
    async with run_auth(admin_phones=PHONE) as auth:
        signed_in = await auth.sign_in()
        assert set(signed_in.user.roles) == {"buyer", "admin"}
        assert list((await auth.sign_in()).user.roles) == list(signed_in.user.roles)
        assert (await auth.sign_in("+919876543211")).user.roles == ["buyer"]
        granted = await auth.rows("select actor from audit_events where action = 'role.granted'")
        assert [row["actor"] for row in granted] == ["settings:ADMIN_PHONES"]
    async with run_auth(admin_phones=PHONE) as auth:
        assert "admin" in claims(signed_in.access_token)["roles"]
        assert "admin" in (await auth.me(signed_in.access_token)).roles
    async with run_auth(admin_phones="+919876543212") as auth:
        await roles_become(auth, signed_in.user.id)
        await refused_by_now(auth, signed_in.access_token)
        refreshed = await auth.refresh(signed_in.refresh_token)
        assert claims(refreshed.access_token)["roles"] == ["buyer"]
        assert list((await auth.me(refreshed.access_token)).roles) == ["buyer"]
        names = [name for name in await auth.events() if name.startswith("role")]
        assert names == ["role.granted", "role.revoked"]


async def test_a_verified_agent_has_the_role_and_a_suspended_one_loses_it_at_once(
    auth: Auth,
) -> None:
    signed_in = await auth.sign_in()
    user_id, agent_id, office_id = signed_in.user.id, str(uuid.uuid4()), str(uuid.uuid4())
    verified = AgentVerified(agent_id=agent_id, user_id=user_id, office_id=office_id)
    await tell(auth, "agents", verified, agent_id, 1)
    await tell(auth, "agents", verified, agent_id, 1)
    await roles_become(auth, user_id, "agent")
    agent = await auth.refresh(signed_in.refresh_token)
    said = claims(agent.access_token)
    assert (set(said["roles"]), said["agent_id"], said["office_id"]) == (
        {"buyer", "agent"},
        agent_id,
        office_id,
    )
    await tell(auth, "agents", AgentSuspended(agent_id=agent_id, user_id=user_id), agent_id, 2)
    await roles_become(auth, user_id)
    # On the refusal's heels, in the same second: the new token is not taken for one of the old.
    buyer = await auth.refresh(agent.refresh_token)
    assert "agent_id" not in claims(buyer.access_token)
    await refused_by_now(auth, agent.access_token)
    me = await auth.me(buyer.access_token)
    assert not me.HasField("agent_id")
    assert not me.HasField("office_id")
    assert await auth.events() == ["user.registered", "role.granted", "role.revoked"]


async def test_a_verified_builder_has_the_role_and_a_suspended_one_loses_it(auth: Auth) -> None:
    signed_in = await auth.sign_in()
    user_id, builder_id = signed_in.user.id, str(uuid.uuid4())
    verified = BuilderVerified(builder_id=builder_id, user_id=user_id)
    await tell(auth, "projects", verified, builder_id, 1)
    await roles_become(auth, user_id, "builder")
    assert (await auth.me(signed_in.access_token)).builder_id == builder_id
    suspended = BuilderSuspended(builder_id=builder_id, user_id=user_id)
    await tell(auth, "projects", suspended, builder_id, 2)
    await roles_become(auth, user_id)
    await refused_by_now(auth, signed_in.access_token)


async def test_an_event_about_nobody_is_set_aside_and_seen(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.events.FIRST_RETRY_SECONDS", 0.001)
    agent_id = str(uuid.uuid4())
    stranger = AgentVerified(agent_id=agent_id, user_id=str(uuid.uuid4()))
    await tell(auth, "agents", stranger, agent_id, 1)
    async with asyncio.timeout(5):
        while True:
            letters = await auth.rows("select source, error from dead_letter")
            if letters:
                break
            await asyncio.sleep(0.02)
    assert letters[0]["source"] == "agents"
    assert "no such user" in letters[0]["error"]


async def asked(auth: Auth) -> Counter[str]:
    """How often Postgres was asked what about people and their sessions."""
    rows = await auth.rows(
        "select query, calls from pg_stat_statements s join pg_database d on d.oid = s.dbid "
        "where d.datname = current_database() and query ~ 'users|sessions|allowances|idempotency' "
        "and query !~ 'pg_stat_statements|role_grants'"
    )
    return Counter({row["query"]: row["calls"] for row in rows})


async def test_hot_calls_ask_the_database_once(auth: Auth) -> None:
    signed_in = await auth.sign_in()
    before = await asked(auth)
    await auth.me(signed_in.access_token)
    reading = await asked(auth)
    assert [query.split()[0].upper() for query in (reading - before).elements()] == ["SELECT"]
    await auth.refresh(signed_in.refresh_token)
    refreshing = await asked(auth)
    assert [query.split()[0].upper() for query in (refreshing - reading).elements()] == ["WITH"]


async def test_an_office_has_one_admin_and_who_hands_it_over_or_leaves_loses_her_tokens_at_once(
    auth: Auth,
) -> None:
    signed_in = await auth.sign_in()
    user_id, agent_id, office_id = signed_in.user.id, str(uuid.uuid4()), str(uuid.uuid4())
    await tell(auth, "agents", AgentVerified(agent_id=agent_id, user_id=user_id), agent_id, 1)
    entered = AgentOfficeChanged(agent_id=agent_id, user_id=user_id, office_id=office_id)
    await tell(auth, "agents", entered, agent_id, 2)
    founded = OfficeVerified(office_id=office_id, agent_id=agent_id, user_id=user_id)
    await tell(auth, "agents", founded, office_id, 1)
    await roles_become(auth, user_id, "agent", "office_admin")
    inside = await auth.refresh(signed_in.refresh_token)
    said = claims(inside.access_token)
    assert (said["agent_id"], said["office_id"]) == (agent_id, office_id)

    other = await auth.sign_in("+919876543211")
    heir_id = str(uuid.uuid4())
    heir = AgentVerified(agent_id=heir_id, user_id=other.user.id, office_id=office_id)
    await tell(auth, "agents", heir, heir_id, 1)
    handed = OfficeAdminChanged(
        office_id=office_id, agent_id=heir_id, user_id=other.user.id, former_user_id=user_id
    )
    for _ in range(2):
        await tell(auth, "agents", handed, office_id, 2)
    await roles_become(auth, other.user.id, "agent", "office_admin")
    await roles_become(auth, user_id, "agent")
    await refused_by_now(auth, inside.access_token)
    inside = await auth.refresh(inside.refresh_token)
    said = claims(inside.access_token)
    assert (set(said["roles"]), said["office_id"]) == ({"buyer", "agent"}, office_id)

    left = AgentOfficeChanged(agent_id=agent_id, user_id=user_id)
    await tell(auth, "agents", left, agent_id, 3)
    await refused_by_now(auth, inside.access_token)
    await roles_become(auth, user_id, "agent")
    solo = claims((await auth.refresh(inside.refresh_token)).access_token)
    assert (solo["agent_id"], solo.get("office_id")) == (agent_id, None)
