"""What administrators do with other people's accounts, and the log of it."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chassis.errors import Conflict, InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from chassis.protobuf import timestamp
from propmubi.auth.v1 import administration_pb2 as pb
from propmubi.auth.v1 import auth_pb2
from services.auth.tests.conftest import ADMIN_PHONE, PHONE, Auth, RunAuth
from services.auth.tests.integration.test_sessions import dies, refused

OTHER_PHONE = "+919876543211"


async def admin_of(auth: Auth) -> tuple[auth_pb2.TokenResponse, Any]:
    """An administrator, and what she does it with."""
    signed_in = await auth.sign_in(ADMIN_PHONE)
    return signed_in, auth.administration(signed_in.access_token)


def suspension(user_id: str) -> pb.SuspendUserRequest:
    return pb.SuspendUserRequest(user_id=user_id, reason="sells what is not hers")


async def actions(auth: Auth, administration: Any, **asked: Any) -> list[str]:
    answer = await administration.ListAuditEvents(pb.ListAuditEventsRequest(**asked))
    return [event.action for event in answer.audit_events]


async def test_users_are_listed_newest_first_by_status_and_role(auth: Auth) -> None:
    admin, administration = await admin_of(auth)
    people = [(await auth.sign_in(f"+91987654321{n}")).user.id for n in range(3)]
    everybody = [*reversed(people), admin.user.id]

    async def listed(**asked: Any) -> list[str]:
        found: list[str] = []
        while True:
            page = await administration.ListUsers(pb.ListUsersRequest(page_size=2, **asked))
            assert len(page.users) <= 2
            found += [user.id for user in page.users]
            if not page.next_page_token:
                return found
            asked["page_token"] = page.next_page_token

    await administration.SuspendUser(suspension(people[1]))
    assert await listed() == everybody
    assert await listed(role="buyer") == everybody
    assert await listed(role="admin") == [admin.user.id]
    assert await listed(status=auth_pb2.USER_STATUS_SUSPENDED) == [people[1]]
    assert await listed(status=auth_pb2.USER_STATUS_ACTIVE, role="admin") == [admin.user.id]
    assert await listed(role="agent") == []
    assert (await administration.GetUser(pb.GetUserRequest(user_id=people[0]))).phone == PHONE


async def test_a_user_is_found_by_her_phone_and_that_is_written_down(auth: Auth) -> None:
    admin, administration = await admin_of(auth)
    signed_in = await auth.sign_in()
    found = await administration.FindUser(pb.FindUserRequest(phone="9876543210"))
    assert found == signed_in.user
    with pytest.raises(NotFound):
        await administration.FindUser(pb.FindUserRequest(phone=OTHER_PHONE))
    asked = pb.ListAuditEventsRequest(action="user.looked_up")
    [event] = (await administration.ListAuditEvents(asked)).audit_events
    assert (event.actor, event.user_id) == (admin.user.id, signed_in.user.id)


async def test_only_administrators_may(auth: Auth) -> None:
    signed_in = await auth.sign_in()
    buyer = auth.administration(signed_in.access_token)
    for attempt in (
        buyer.ListUsers(pb.ListUsersRequest()),
        buyer.GetUser(pb.GetUserRequest(user_id=signed_in.user.id)),
        buyer.SuspendUser(suspension(signed_in.user.id)),
        buyer.GrantRole(pb.GrantRoleRequest(user_id=signed_in.user.id, role="admin")),
        buyer.ListAuditEvents(pb.ListAuditEventsRequest()),
    ):
        with pytest.raises(PermissionDenied):
            await attempt


async def test_a_suspended_user_is_out_everywhere_within_a_second_until_she_is_reinstated(
    run_auth: RunAuth,
) -> None:
    async with run_auth() as auth, run_auth() as replica:
        _, administration = await admin_of(auth)
        first, second = await auth.sign_in(), await auth.sign_in()
        suspended = await administration.SuspendUser(suspension(first.user.id))
        assert suspended.status == auth_pb2.USER_STATUS_SUSPENDED
        delays = await asyncio.gather(
            *(
                dies(where, token.access_token)
                for where in (auth, replica)
                for token in (first, second)
            )
        )
        assert max(delays) < 1
        with pytest.raises(PermissionDenied) as refusal:
            await auth.sign_in()
        assert refusal.value.reason == "ACCOUNT_SUSPENDED"
        with pytest.raises(Conflict):
            await administration.SuspendUser(suspension(first.user.id))
        await administration.ReinstateUser(pb.ReinstateUserRequest(user_id=first.user.id))
        await refused(auth, first.refresh_token)
        again = await auth.sign_in()
        assert (await replica.me(again.access_token)).status == auth_pb2.USER_STATUS_ACTIVE
        assert [name for name in await auth.events() if name.startswith("user.")][-2:] == [
            "user.suspended",
            "user.reinstated",
        ]


async def test_nobody_slips_in_while_she_is_suspended(auth: Auth) -> None:
    _, administration = await admin_of(auth)
    devices = [await auth.sign_in() for _ in range(5)]
    challenge, code = await auth.request_otp()
    answers = await asyncio.gather(
        *(auth.refresh(device.refresh_token) for device in devices for _ in range(10)),
        administration.SuspendUser(suspension(devices[0].user.id)),
        *(auth.verify(challenge, code) for _ in range(5)),
        return_exceptions=True,
    )
    tokens = [answer for answer in answers if isinstance(answer, auth_pb2.TokenResponse)]
    for token in tokens:
        await dies(auth, token.access_token)
        with pytest.raises((Unauthenticated, PermissionDenied)):
            await auth.refresh(token.refresh_token)
    await administration.ReinstateUser(pb.ReinstateUserRequest(user_id=devices[0].user.id))
    for token in tokens:
        await refused(auth, token.refresh_token)


async def test_nobody_suspends_herself_or_who_does_not_exist(auth: Auth) -> None:
    admin, administration = await admin_of(auth)
    with pytest.raises(Conflict, match="yourself"):
        await administration.SuspendUser(suspension(admin.user.id))
    with pytest.raises(NotFound):
        await administration.SuspendUser(suspension(str(uuid.uuid4())))
    with pytest.raises(Conflict):
        await administration.ReinstateUser(pb.ReinstateUserRequest(user_id=admin.user.id))


async def test_an_administrator_erases_herself_only_with_a_proof(auth: Auth) -> None:
    admin, administration = await admin_of(auth)
    with pytest.raises(Conflict, match="yourself"):
        await administration.EraseUser(pb.EraseUserRequest(user_id=admin.user.id))
    assert (await auth.me(admin.access_token)).status == auth_pb2.USER_STATUS_ACTIVE


async def test_an_administrator_makes_another_and_that_is_known_and_undone(auth: Auth) -> None:
    admin, administration = await admin_of(auth)
    signed_in = await auth.sign_in()
    grant = pb.GrantRoleRequest(user_id=signed_in.user.id, role="admin")
    granted = await administration.GrantRole(grant)
    assert set(granted.roles) == {"buyer", "admin"}
    assert await administration.GrantRole(grant) == granted
    refreshed = await auth.refresh(signed_in.refresh_token)
    of_her = pb.ListRoleGrantsRequest(user_id=signed_in.user.id)
    [known] = (await auth.administration(refreshed.access_token).ListRoleGrants(of_her)).grants
    assert (known.role, known.granted_by) == ("admin", admin.user.id)
    undo = pb.RevokeRoleRequest(user_id=signed_in.user.id, role="admin")
    await administration.RevokeRole(undo)
    await administration.RevokeRole(undo)
    assert await dies(auth, refreshed.access_token) < 1
    assert list((await auth.refresh(refreshed.refresh_token)).user.roles) == ["buyer"]
    roles = await actions(auth, administration, user_id=signed_in.user.id, actor=admin.user.id)
    assert roles == ["role.revoked", "role.granted"]


async def test_roles_that_follow_from_something_are_not_granted_or_taken_here(auth: Auth) -> None:
    admin, administration = await admin_of(auth)
    signed_in = await auth.sign_in()
    with pytest.raises(InvalidArgument):
        await administration.GrantRole(pb.GrantRoleRequest(user_id=signed_in.user.id, role="agent"))
    with pytest.raises(Conflict, match="ADMIN_PHONES"):
        await administration.RevokeRole(pb.RevokeRoleRequest(user_id=admin.user.id, role="admin"))
    await administration.SuspendUser(suspension(signed_in.user.id))
    with pytest.raises(PermissionDenied):
        await administration.GrantRole(pb.GrantRoleRequest(user_id=signed_in.user.id, role="admin"))


async def test_the_log_is_read_by_account_actor_action_and_time(auth: Auth) -> None:
    admin, administration = await admin_of(auth)
    signed_in = await auth.sign_in(x_client_address="203.0.113.9")
    await administration.SuspendUser(suspension(signed_in.user.id))
    hers: dict[str, Any] = {"user_id": signed_in.user.id}
    assert await actions(auth, administration, **hers) == [
        "user.suspended",
        "session.revoked",
        "session.started",
        "user.registered",
    ]
    assert await actions(auth, administration, **hers, actor=admin.user.id) == [
        "user.suspended",
        "session.revoked",
    ]
    asked = pb.ListAuditEventsRequest(**hers, action="user.suspended")
    [event] = (await administration.ListAuditEvents(asked)).audit_events
    assert dict(event.details) == {"reason": "sells what is not hers"}
    assert event.correlation_id
    now, day = datetime.now(UTC), timedelta(days=1)
    assert await actions(auth, administration, **hers, since=timestamp(now - day)) != []
    assert await actions(auth, administration, **hers, since=timestamp(now + day)) == []
    assert await actions(auth, administration, **hers, until=timestamp(now - day)) == []
    exactly = {"since": event.happened_at, "until": timestamp(now + day)}
    assert await actions(auth, administration, **hers, **exactly) == ["user.suspended"]
    long_ago = timestamp(datetime(1960, 1, 1, tzinfo=UTC))
    assert await actions(auth, administration, until=long_ago) == []
    asked = pb.ListAuditEventsRequest(**hers, page_size=3)
    first = await administration.ListAuditEvents(asked)
    asked.page_token = first.next_page_token
    second = await administration.ListAuditEvents(asked)
    assert [event.action for event in second.audit_events] == ["user.registered"]
    assert not second.next_page_token
    [started] = [e for e in first.audit_events if e.action == "session.started"]
    assert started.client_address == "203.0.113.9"
