"""Signing keys that an administrator rotates: ahead of time, at once, and because one leaked."""

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import Any

import jwt
import pytest

from auth_service.signing_keys.domain import PUBLISHED_AHEAD, ROTATED_AHEAD
from chassis.errors import InvalidArgument, PermissionDenied, Unauthenticated
from chassis.keys import REFRESH_SECONDS, RemoteKeys
from chassis.process import background
from chassis.revocations import Revocations
from chassis.verification import TokenVerifier
from devstack.testing_service import AUDIENCE, ISSUER
from propmubi.auth.v1 import auth_pb2
from propmubi.auth.v1 import signing_keys_pb2 as pb
from services.auth.tests.conftest import ADMIN_PHONE, Auth, RunAuth
from services.auth.tests.integration.test_sessions import dies


async def rotated(auth: Auth, admin: auth_pb2.TokenResponse, **how: Any) -> list[pb.SigningKey]:
    stub = auth.signing_keys(admin.access_token)
    answer = await stub.RotateSigningKeys(pb.RotateSigningKeysRequest(**how))
    return list(answer.keys)


async def published(auth: Auth) -> set[str]:
    answer = await auth.stub().GetJwks(auth_pb2.GetJwksRequest())
    return {key.kid for key in answer.keys}


def kid_of(signed_in: auth_pb2.TokenResponse) -> str:
    return str(jwt.get_unverified_header(signed_in.access_token)["kid"])


async def test_a_new_key_is_published_before_it_signs_and_the_old_signs_until_then(
    auth: Auth,
) -> None:
    assert timedelta(seconds=REFRESH_SECONDS) < ROTATED_AHEAD
    admin = await auth.sign_in(ADMIN_PHONE)
    old, new = await rotated(auth, admin)
    assert old.kid == kid_of(admin)
    assert old.retires_at == new.not_before
    assert (new.retires_at.ToDatetime() - new.not_before.ToDatetime()).days == 30
    assert await published(auth) == {old.kid, new.kid}
    assert kid_of(await auth.refresh(admin.refresh_token)) == old.kid


async def test_a_rotation_is_written_down_and_is_told_everybody(auth: Auth) -> None:
    admin = await auth.sign_in(ADMIN_PHONE)
    [_, new] = await rotated(auth, admin)
    [audited] = await auth.rows(
        "select actor, details from audit_events where action = 'signing_keys.rotated'"
    )
    assert audited["actor"] == admin.user.id
    assert audited["details"] == {"kid": new.kid, "leaked": False}
    told = await auth.rows("select from outbox where name = 'signing_keys.changed'")
    assert len(told) == 2  # The first key is one, too.


async def test_at_once_no_token_fails_on_any_replica(run_auth: RunAuth) -> None:
    async with run_auth() as auth, run_auth() as replica:
        admin = await auth.sign_in(ADMIN_PHONE)
        await replica.me(admin.access_token)
        _, new = await rotated(auth, admin, ahead_seconds=0)
        after = await auth.refresh(admin.refresh_token)
        assert kid_of(after) == new.kid
        users = await asyncio.gather(
            *(
                where.me(signed_in.access_token)
                for where in (auth, replica)
                for signed_in in (admin, after)
                for _ in range(20)
            )
        )
        assert {user.id for user in users} == {admin.user.id}


async def test_verifiers_with_the_old_keys_fetch_the_new_one_and_fail_no_request(
    auth: Auth,
) -> None:
    """As without Redis: nobody tells them."""
    admin = await auth.sign_in(ADMIN_PHONE)
    keys = RemoteKeys(auth.running.channel)
    verifier = TokenVerifier(keys, Revocations(), issuer=ISSUER, audience=AUDIENCE)
    async with background(keys.run()):
        await keys.loaded.wait()
        await verifier.verify(admin.access_token)
        await rotated(auth, admin, ahead_seconds=0)
        after = await auth.refresh(admin.refresh_token)
        assert keys.get(kid_of(after)) is None
        who = await asyncio.gather(
            *(
                verifier.verify(token)
                for token in (after.access_token, admin.access_token)
                for _ in range(50)
            )
        )
    assert {principal.subject for principal in who} == {admin.user.id}


async def test_what_leaked_keys_signed_is_refused_everywhere_within_a_second_and_sessions_stay(
    run_auth: RunAuth,
) -> None:
    async with run_auth() as auth, run_auth() as replica:
        admin = await auth.sign_in(ADMIN_PHONE)
        await replica.me(admin.access_token)
        await rotated(auth, admin)
        [new] = await rotated(auth, admin, leaked=True)
        # Whoever hears of it asks any replica, and at once.
        assert await published(replica) == {new.kid}
        for where in (auth, replica):
            assert await dies(where, admin.access_token) < 1
        after = await replica.refresh(admin.refresh_token)
        assert kid_of(after) == new.kid
        assert (await auth.me(after.access_token)).id == admin.user.id
        assert await published(auth) == {new.kid}


async def test_a_key_that_is_to_come_anyway_still_does(auth: Auth) -> None:
    admin = await auth.sign_in(ADMIN_PHONE)
    await auth.rows(
        "update signing_keys set not_before = not_before - $1::interval, retires_at = retires_at - $1::interval",
        timedelta(days=30) - PUBLISHED_AHEAD + timedelta(minutes=1),
    )
    keys = auth.running.service.keys
    await keys.make_due()  # type: ignore[attr-defined]
    first, rotated_in, due = await rotated(auth, admin)
    assert first.retires_at == rotated_in.not_before
    assert due.not_before.ToDatetime() > rotated_in.not_before.ToDatetime()


async def test_many_who_rotate_at_once_leave_one_signer_at_any_time(auth: Auth) -> None:
    admin = await auth.sign_in(ADMIN_PHONE)
    await asyncio.gather(*(rotated(auth, admin) for _ in range(10)))
    rows = await auth.rows("select not_before, retires_at from signing_keys order by not_before")
    assert len(rows) == 11
    assert all(former["retires_at"] <= later["not_before"] for former, later in pairwise(rows))
    assert (await auth.me((await auth.sign_in()).access_token)).id


async def test_who_may_rotate_and_how(auth: Auth) -> None:
    admin, person = await auth.sign_in(ADMIN_PHONE), await auth.sign_in()
    with pytest.raises(PermissionDenied):
        await rotated(auth, person)
    with pytest.raises(Unauthenticated):
        await auth.signing_keys(None).RotateSigningKeys(pb.RotateSigningKeysRequest())
    for how in (
        {"ahead_seconds": -1},
        {"ahead_seconds": 86_401},
        {"ahead_seconds": 5, "leaked": True},
    ):
        with pytest.raises(InvalidArgument) as refused:
            await rotated(auth, admin, **how)
        assert [violation.field for violation in refused.value.violations] == ["ahead_seconds"]
    assert len(await published(auth)) == 1
