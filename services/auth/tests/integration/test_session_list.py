"""Where somebody is signed in: seen and ended by herself, and by administrators."""

import asyncio
import uuid
from typing import Any

import pytest

from chassis.errors import NotFound, PermissionDenied, Unauthenticated
from propmubi.auth.v1 import auth_pb2
from propmubi.auth.v1 import sessions_pb2 as pb
from services.auth.tests.conftest import ADMIN_PHONE, PHONE, Auth, RunAuth
from services.auth.tests.integration.test_sessions import dies, refused

OTHER_PHONE = "+919876543211"


async def listed(auth: Auth, token: str, **asked: Any) -> list[pb.Session]:
    answer = await auth.sessions(token).ListSessions(pb.ListSessionsRequest(**asked))
    return list(answer.sessions)


async def session_of(auth: Auth, signed_in: auth_pb2.TokenResponse) -> str:
    [current] = [s for s in await listed(auth, signed_in.access_token) if s.current]
    return current.id


async def test_a_person_sees_her_devices_newest_first_and_which_she_holds(auth: Auth) -> None:
    phone = await auth.sign_in(agent="phone/1.0", x_client_address="203.0.113.9")
    await auth.sign_in(agent="laptop/1.0", x_client_address="203.0.113.10")
    await auth.sign_in(OTHER_PHONE)
    shown = await listed(auth, phone.access_token)
    assert [(s.user_agent, s.ip, s.current) for s in shown] == [
        ("laptop/1.0", "203.0.113.10", False),
        ("phone/1.0", "203.0.113.9", True),
    ]
    refreshed = await auth.refresh(phone.refresh_token)
    [_, mine] = await listed(auth, refreshed.access_token)
    assert mine.last_seen_at.ToDatetime() > mine.created_at.ToDatetime()
    lasts = mine.expires_at.ToDatetime() - mine.last_seen_at.ToDatetime()
    assert lasts.days == 14
    assert not mine.HasField("revoked_at")


async def test_the_list_has_pages(auth: Auth) -> None:
    tokens = [await auth.sign_in(agent=f"device/{n}") for n in range(3)]
    stub = auth.sessions(tokens[0].access_token)
    first = await stub.ListSessions(pb.ListSessionsRequest(page_size=2))
    second = await stub.ListSessions(
        pb.ListSessionsRequest(page_size=2, page_token=first.next_page_token)
    )
    assert [s.user_agent for s in (*first.sessions, *second.sessions)] == [
        "device/2",
        "device/1",
        "device/0",
    ]
    assert not second.next_page_token


async def test_one_session_is_ended_from_another_and_may_be_again(auth: Auth) -> None:
    here, there = await auth.sign_in(), await auth.sign_in()
    request = pb.RevokeSessionRequest(session_id=await session_of(auth, there))
    stub = auth.sessions(here.access_token)
    await asyncio.gather(*(stub.RevokeSession(request) for _ in range(3)))
    assert await dies(auth, there.access_token) < 1
    await refused(auth, there.refresh_token)
    assert [s.current for s in await listed(auth, here.access_token)] == [True]
    [ended] = [s for s in await listed(auth, here.access_token, ended=True) if not s.current]
    assert ended.HasField("revoked_at")
    assert ended.revoked_reason == "revoked"
    [audited] = await auth.rows(
        "select actor, details from audit_events where action = 'session.revoked'"
    )
    assert audited["actor"] == here.user.id
    assert await auth.events() == ["user.registered", "session.revoked"]


async def test_whoever_finds_a_used_token_of_hers_sees_it_in_her_list(auth: Auth) -> None:
    stolen, mine = await auth.sign_in(), await auth.sign_in()
    await auth.refresh(stolen.refresh_token)
    await refused(auth, stolen.refresh_token, agent="thief/1.0")
    [ended] = [s for s in await listed(auth, mine.access_token, ended=True) if not s.current]
    assert ended.revoked_reason == "refresh_token_reused"


async def test_she_is_told_by_sms_once_however_often_it_comes_back(auth: Auth) -> None:
    stolen = await auth.sign_in()
    await auth.refresh(stolen.refresh_token)
    await asyncio.gather(
        *(refused(auth, stolen.refresh_token, agent="thief/1.0") for _ in range(20))
    )
    async with asyncio.timeout(5):
        while not (told := messages_of_reuse(auth)):  # noqa: ASYNC110  A file.
            await asyncio.sleep(0.01)
    await auth.sign_in()  # Its code is sent after all that waited.
    assert messages_of_reuse(auth) == told
    assert len(told) == 1
    assert len(told[0]) <= 160


def messages_of_reuse(auth: Auth) -> list[str]:
    return [sms["body"] for sms in auth.messages(PHONE) if "used from elsewhere" in sms["body"]]


async def test_all_others_end_at_once_also_when_asked_many_times(run_auth: RunAuth) -> None:
    async with run_auth(otp_send_limit_per_phone="100/10m") as auth:
        here, *others = [await auth.sign_in() for _ in range(5)]
        stranger = await auth.sign_in(OTHER_PHONE)
        stub = auth.sessions(here.access_token)
        await asyncio.gather(
            *(stub.RevokeOtherSessions(pb.RevokeOtherSessionsRequest()) for _ in range(20))
        )
        for other in others:
            await refused(auth, other.refresh_token)
            assert await dies(auth, other.access_token) < 1
        assert len(await listed(auth, here.access_token)) == 1
        assert (await auth.me(stranger.access_token)).id == stranger.user.id
        assert (await auth.events()).count("session.revoked") == 4


async def test_what_ends_while_it_is_refreshed_stays_ended(run_auth: RunAuth) -> None:
    async with run_auth(otp_send_limit_per_phone="100/10m") as auth:
        here = await auth.sign_in()
        for _ in range(5):
            other = await auth.sign_in()
            stub = auth.sessions(here.access_token)
            refreshed, _ = await asyncio.gather(
                auth.refresh(other.refresh_token),
                stub.RevokeOtherSessions(pb.RevokeOtherSessionsRequest()),
                return_exceptions=True,
            )
            if isinstance(refreshed, auth_pb2.TokenResponse):
                await refused(auth, refreshed.refresh_token)
                assert await dies(auth, refreshed.access_token) < 1


async def test_a_session_of_somebody_else_is_none(auth: Auth) -> None:
    mine, hers = await auth.sign_in(), await auth.sign_in(OTHER_PHONE)
    stub = auth.sessions(mine.access_token)
    for session_id in (await session_of(auth, hers), str(uuid.uuid4())):
        with pytest.raises(NotFound):
            await stub.RevokeSession(pb.RevokeSessionRequest(session_id=session_id))
    assert (await auth.me(hers.access_token)).id == hers.user.id


async def test_an_administrator_sees_and_ends_the_sessions_of_anybody(run_auth: RunAuth) -> None:
    async with run_auth() as auth:
        admin, one, other = (
            await auth.sign_in(ADMIN_PHONE),
            await auth.sign_in(),
            await auth.sign_in(),
        )
        user_id, session_id = one.user.id, await session_of(auth, one)
        stub = auth.sessions(admin.access_token)
        asked = pb.ListUserSessionsRequest(user_id=user_id)
        assert len((await stub.ListUserSessions(asked)).sessions) == 2

        await stub.RevokeUserSession(
            pb.RevokeUserSessionRequest(user_id=user_id, session_id=session_id)
        )
        assert await dies(auth, one.access_token) < 1
        assert (await auth.me(other.access_token)).id == user_id

        await stub.RevokeUserSessions(pb.RevokeUserSessionsRequest(user_id=user_id))
        assert await dies(auth, other.access_token) < 1
        assert not (await stub.ListUserSessions(asked)).sessions
        audited = await auth.rows(
            "select actor, details->>'reason' as reason from audit_events where action = 'session.revoked'"
        )
        assert {(row["actor"], row["reason"]) for row in audited} == {
            (admin.user.id, "revoked_by_admin")
        }
        assert (await auth.me(admin.access_token)).id == admin.user.id


async def test_an_administrator_hears_of_users_and_sessions_that_are_none(
    run_auth: RunAuth,
) -> None:
    async with run_auth() as auth:
        admin, person = await auth.sign_in(ADMIN_PHONE), await auth.sign_in()
        stub, nobody = auth.sessions(admin.access_token), str(uuid.uuid4())
        own = await session_of(auth, admin)
        for attempt in (
            stub.ListUserSessions(pb.ListUserSessionsRequest(user_id=nobody)),
            stub.RevokeUserSessions(pb.RevokeUserSessionsRequest(user_id=nobody)),
            # Hers, but not under that user.
            stub.RevokeUserSession(
                pb.RevokeUserSessionRequest(user_id=person.user.id, session_id=own)
            ),
        ):
            with pytest.raises(NotFound):
                await attempt


async def test_nobody_but_an_administrator_looks_at_others(auth: Auth) -> None:
    person, other = await auth.sign_in(), await auth.sign_in(OTHER_PHONE)
    stub = auth.sessions(person.access_token)
    for user_id in (person.user.id, other.user.id):
        with pytest.raises(PermissionDenied):
            await stub.ListUserSessions(pb.ListUserSessionsRequest(user_id=user_id))
        with pytest.raises(PermissionDenied):
            await stub.RevokeUserSessions(pb.RevokeUserSessionsRequest(user_id=user_id))
    with pytest.raises(Unauthenticated):
        await auth.sessions(None).ListSessions(pb.ListSessionsRequest())
