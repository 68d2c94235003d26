"""Refresh tokens, and the ends of sessions."""

import asyncio
import time

import pytest
from google.protobuf.any_pb2 import Any as Packed
from sqlalchemy import text

from auth_service.sessions.domain import hashed
from chassis.errors import RateLimited, Unauthenticated
from chassis.ids import new_id
from chassis.redis import stream_of
from propmubi.auth.v1 import auth_pb2 as pb
from propmubi.auth.v1.events_pb2 import SessionRevoked
from propmubi.common.v1.event_pb2 import Event
from services.auth.tests.conftest import Auth, RunAuth
from services.auth.tests.integration.test_process import healthy


async def refused(auth: Auth, refresh_token: str, **metadata: str) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        await auth.refresh(refresh_token, **metadata)
    assert refusal.value.reason == "REFRESH_TOKEN_INVALID"


async def dies(auth: Auth, access_token: str) -> float:
    """Seconds until `access_token` is refused."""
    started = time.monotonic()
    async with asyncio.timeout(5):
        while True:
            try:
                await auth.me(access_token)
            except Unauthenticated:
                return time.monotonic() - started
            await asyncio.sleep(0.01)


async def test_refreshing_gives_new_tokens_of_the_same_session(auth: Auth) -> None:
    first = await auth.sign_in()
    second = await auth.refresh(first.refresh_token)
    assert second.refresh_token != first.refresh_token
    assert second.user == first.user
    assert (await auth.me(second.access_token)).id == first.user.id
    assert (await auth.refresh(second.refresh_token)).access_token
    assert len(await auth.rows("select from sessions")) == 1


async def test_fifty_uses_at_once_have_one_successor(auth: Auth) -> None:
    token = (await auth.sign_in()).refresh_token
    answers = await asyncio.gather(*(auth.refresh(token) for _ in range(50)))
    assert len({answer.refresh_token for answer in answers}) == 1
    assert len(await auth.rows("select from refresh_tokens where used_at is null")) == 1
    assert (await auth.refresh(answers[0].refresh_token)).access_token


async def test_a_lost_answer_is_given_again_also_by_another_replica(run_auth: RunAuth) -> None:
    async with run_auth() as auth:
        token = (await auth.sign_in()).refresh_token
        lost = await auth.refresh(token)
    async with run_auth() as auth:
        assert (await auth.refresh(token)).refresh_token == lost.refresh_token


async def test_reuse_by_another_client_ends_the_session_everywhere_within_a_second(
    run_auth: RunAuth,
) -> None:
    async with run_auth() as auth, run_auth() as replica:
        first, other_device = await auth.sign_in(), await auth.sign_in()
        second = await auth.refresh(first.refresh_token)
        await refused(auth, first.refresh_token, agent="thief/1.0")
        delays = await asyncio.gather(
            *(
                dies(where, token.access_token)
                for where in (auth, replica)
                for token in (first, second)
            )
        )
        assert max(delays) < 1
        await refused(auth, second.refresh_token)
        assert (await auth.me(other_device.access_token)).id == first.user.id
        assert (await auth.refresh(other_device.refresh_token)).access_token
        assert await auth.events() == ["user.registered", "session.revoked"]
        [audited] = await auth.rows(
            "select details->>'reason' as reason from audit_events where action = 'session.revoked'"
        )
        assert audited["reason"] == "refresh_token_reused"


async def test_reuse_by_the_same_client_after_ten_seconds_ends_the_session(auth: Auth) -> None:
    first = await auth.sign_in()
    second = await auth.refresh(first.refresh_token)
    await auth.rows("update refresh_tokens set used_at = used_at - interval '11 seconds'")
    await refused(auth, first.refresh_token)
    await refused(auth, second.refresh_token)


@pytest.mark.parametrize("table", ["refresh_tokens", "sessions"])
async def test_what_is_past_its_time_is_refused(auth: Auth, table: str) -> None:
    token = (await auth.sign_in()).refresh_token
    await auth.rows(f"update {table} set expires_at = now() - interval '1 second'")
    await refused(auth, token)
    [row] = await auth.rows("select used_at from refresh_tokens")
    assert row["used_at"] is None


async def test_what_is_over_is_forgotten_but_no_used_token_of_a_session_that_lives(
    run_auth: RunAuth,
) -> None:
    async with run_auth() as auth:
        first = await auth.sign_in()
        second = await auth.refresh(first.refresh_token)
        await auth.sign_in()  # Her token is never used.
        over, long_over = [await auth.sign_in() for _ in range(2)]
        for ended in (over, long_over):
            await auth.refresh(ended.refresh_token)
        await auth.rows("update refresh_tokens set expires_at = now() - interval '1 day'")
        await auth.rows(
            "update refresh_tokens set expires_at = now() + interval '1 day' where hash = $1",
            hashed(second.refresh_token),
        )
        for ended, days in ((over, 1), (long_over, 61)):
            await auth.rows(
                "update sessions set expires_at = now() - make_interval(days => $2)"
                " from refresh_tokens t where t.session_id = sessions.id and t.hash = $1",
                hashed(ended.refresh_token),
                days,
            )
        await auth.rows("update allowances set used = array[now() - interval '2 days']")
        await auth.rows(
            "insert into failures_in_a_row values ('+919876543210', 'otp', 99, now() - interval '1 year 1 day')"
        )
    async with run_auth() as auth:  # Its timers begin at once.
        async with asyncio.timeout(10):
            while True:
                if not await auth.rows("select from failures_in_a_row"):
                    break
                await asyncio.sleep(0.01)
        left = {row["hash"] for row in await auth.rows("select hash from refresh_tokens")}
        assert left == {hashed(first.refresh_token), hashed(second.refresh_token)}
        assert len(await auth.rows("select from sessions")) == 3
        assert await auth.rows("select from allowances") == []
        await refused(auth, first.refresh_token, agent="thief/1.0")
        await refused(auth, second.refresh_token)
        [session] = await auth.rows(
            "select revoked_reason from sessions where revoked_at is not null"
        )
        assert session["revoked_reason"] == "refresh_token_reused"


async def test_a_token_is_good_for_fourteen_days_but_not_past_its_sessions_thirty(
    auth: Auth,
) -> None:
    token = (await auth.sign_in()).refresh_token
    [row] = await auth.rows(
        "select t.expires_at - t.issued_at as idle, s.expires_at - s.created_at as absolute "
        "from refresh_tokens t, sessions s"
    )
    assert (round(row["idle"].total_seconds() / 86_400, 3), row["absolute"].days) == (14, 30)
    await auth.rows("update sessions set expires_at = now() + interval '1 day'")
    await auth.refresh(token)
    [row] = await auth.rows(
        "select t.expires_at = s.expires_at as capped from refresh_tokens t, sessions s "
        "where t.used_at is null"
    )
    assert row["capped"]


async def test_unknown_tokens_are_refused(auth: Auth) -> None:
    await refused(auth, "x" * 43)


async def test_an_access_token_is_no_refresh_token_and_the_other_way_round(auth: Auth) -> None:
    signed_in = await auth.sign_in()
    with pytest.raises(Unauthenticated):
        await auth.me(signed_in.refresh_token)
    await refused(auth, signed_in.access_token[:200])


async def test_a_session_is_refreshed_sixty_times_in_a_quarter_of_an_hour(auth: Auth) -> None:
    token = (await auth.sign_in()).refresh_token
    for _ in range(60):
        token = (await auth.refresh(token)).refresh_token
    with pytest.raises(RateLimited):
        await auth.refresh(token)
    await auth.rows("update refresh_tokens set used_at = used_at - interval '15 minutes'")
    assert (await auth.refresh(token)).access_token


async def test_signing_out_ends_the_session_and_may_be_repeated(auth: Auth) -> None:
    signed_in, other_device = await auth.sign_in(), await auth.sign_in()
    stub = auth.stub(signed_in.access_token)
    await asyncio.gather(*(stub.Logout(pb.LogoutRequest()) for _ in range(3)))
    await refused(auth, signed_in.refresh_token)
    assert await dies(auth, signed_in.access_token) < 1
    assert (await auth.me(other_device.access_token)).phone
    assert await auth.events() == ["user.registered", "session.revoked"]


async def test_no_token_is_kept_in_clear(auth: Auth) -> None:
    first = await auth.sign_in()
    second = await auth.refresh(first.refresh_token)
    stored = await auth.rows(
        "select t::text || s::text as row from refresh_tokens t join sessions s on s.id = t.session_id"
    )
    for token in (first.refresh_token, second.refresh_token):
        assert not any(token in row["row"] or token.encode().hex() in row["row"] for row in stored)


async def test_a_refresh_beside_a_change_of_roles_waits_and_has_the_new_ones(auth: Auth) -> None:
    token = (await auth.sign_in()).refresh_token
    waiting = "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    async with auth.database.transaction() as tx:
        await tx.execute(text("update users set roles = '{buyer,agent}'"))
        refreshing = asyncio.create_task(auth.refresh(token))
        async with asyncio.timeout(5):
            while True:
                if await auth.rows(waiting):
                    break
                await asyncio.sleep(0.02)
        assert not refreshing.done()
    refreshed = await refreshing
    assert list(refreshed.user.roles) == ["buyer", "agent"]
    assert len(await auth.rows("select from refresh_tokens")) == 2


async def test_a_replica_serves_once_it_knows_what_was_revoked_before_it_began(
    run_auth: RunAuth,
) -> None:
    async with run_auth() as auth:
        tokens = await auth.sign_in()
        # As much as a busy quarter of an hour tells.
        others = auth.running.service.redis.pipeline(transaction=False)
        for _ in range(5_000):
            event = Event(id=str(new_id()), aggregate_id=str(new_id()), payload=Packed())
            event.payload.Pack(SessionRevoked(session_id=str(new_id())))
            others.xadd(stream_of("auth"), {"event": event.SerializeToString()})
        await others.execute()
        await auth.stub(tokens.access_token).Logout(pb.LogoutRequest())
        await dies(auth, tokens.access_token)
        async with run_auth() as replica:
            await healthy(replica.running.channel)
            with pytest.raises(Unauthenticated):
                await replica.me(tokens.access_token)
