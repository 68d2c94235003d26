"""Signing in by one-time password."""

import asyncio
import uuid

import pytest
from sqlalchemy import text

from chassis.errors import InvalidArgument, PermissionDenied, Unauthenticated
from propmubi.auth.v1 import auth_pb2 as pb
from services.auth.tests.conftest import PHONE, Auth, RunAuth, other_than


async def test_the_first_sign_in_makes_an_active_user_and_the_next_finds_her(auth: Auth) -> None:
    first = await auth.sign_in()
    assert (first.token_type, first.expires_in) == ("Bearer", 600)
    assert first.user.phone == PHONE
    assert first.user.status == pb.USER_STATUS_ACTIVE
    assert list(first.user.roles) == ["buyer"]
    assert (await auth.me(first.access_token)).id == first.user.id
    second = await auth.sign_in("9876543210")
    assert second.user.id == first.user.id
    assert await auth.events() == ["user.registered"]


async def test_the_session_knows_device_and_address(auth: Auth) -> None:
    await auth.sign_in(agent="x" * 1_000, x_client_address="203.0.113.9")
    [session] = await auth.rows("select user_agent, ip from sessions")
    assert (session["user_agent"], session["ip"]) == ("x" * 256, "203.0.113.9")


async def test_a_code_is_good_once_even_for_two_at_the_same_time(auth: Auth) -> None:
    challenge, code = await auth.request_otp()
    answers = await asyncio.gather(
        *(auth.verify(challenge, code) for _ in range(20)), return_exceptions=True
    )
    assert sum(isinstance(answer, pb.TokenResponse) for answer in answers) == 1
    assert len(await auth.rows("select from sessions")) == 1


async def test_of_a_hundred_guesses_at_once_at_most_five_are_compared(run_auth: RunAuth) -> None:
    async with run_auth(
        auth_limit_per_identifier="1000/15m", auth_failures_per_identifier="1000/1h"
    ) as auth:
        challenge, code = await auth.request_otp()
        guesses = [other_than(code, step) for step in range(1, 100)]
        answers = await asyncio.gather(
            *(auth.verify(challenge, guess) for guess in guesses), return_exceptions=True
        )
        reasons = [getattr(answer, "reason", "") for answer in answers]
        assert reasons == ["OTP_INVALID"] * 99
        with pytest.raises(Unauthenticated):
            await auth.verify(challenge, code)
        [row] = await auth.rows("select attempts, status from otp_challenges")
        assert (row["attempts"], row["status"]) == (5, "locked")


async def test_the_right_code_on_the_fifth_try_is_in_time(auth: Auth) -> None:
    challenge, code = await auth.request_otp()
    for step in range(1, 5):
        with pytest.raises(Unauthenticated):
            await auth.verify(challenge, other_than(code, step))
    assert (await auth.verify(challenge, code)).access_token


async def test_wrong_expired_replaced_and_unknown_are_one_answer(run_auth: RunAuth) -> None:
    async with run_auth() as auth:
        replaced, old_code = await auth.request_otp()
        challenge, code = await auth.request_otp()
        refusals = []
        for attempt in (
            (replaced, old_code),
            (challenge, other_than(code)),
            (str(uuid.uuid4()), code),
        ):
            with pytest.raises(Unauthenticated) as refused:
                await auth.verify(*attempt)
            refusals.append((refused.value.reason, refused.value.message))
        await auth.rows("update otp_challenges set expires_at = now() - interval '1 second'")
        with pytest.raises(Unauthenticated) as refused:
            await auth.verify(challenge, code)
        refusals.append((refused.value.reason, refused.value.message))
        assert len(set(refusals)) == 1
        assert refusals[0][0] == "OTP_INVALID"


async def test_asking_again_under_the_same_idempotency_key_sends_nothing_more(auth: Auth) -> None:
    stub = auth.stub(idempotency_key="k", x_client_address="203.0.113.9")
    request = pb.RequestOtpRequest(phone=PHONE)
    assert await stub.RequestOtp(request) == await stub.RequestOtp(request)
    assert len(await auth.rows("select from otp_challenges")) == 1


async def test_codes_are_sent_to_india_only_unless_the_settings_say_more(
    run_auth: RunAuth,
) -> None:
    abroad = pb.RequestOtpRequest(phone="+971501234567")
    async with run_auth() as auth:
        for request in (abroad, pb.RequestOtpRequest(phone="+91 12")):
            with pytest.raises(InvalidArgument) as refused:
                await auth.stub().RequestOtp(request)
            assert [violation.field for violation in refused.value.violations] == ["phone"]
    async with run_auth(otp_countries="IN,AE") as auth:
        assert (await auth.stub().RequestOtp(abroad)).expires_in == 300


async def test_nothing_but_a_keyed_hash_of_a_code_is_kept(auth: Auth) -> None:
    _, code = await auth.request_otp()
    [row] = await auth.rows("select otp_challenges::text as stored from otp_challenges")
    assert f"({code}" not in row["stored"]
    assert code.encode().hex() not in row["stored"]


async def test_a_suspended_person_is_told_so_and_gets_no_session(auth: Auth) -> None:
    signed_in = await auth.sign_in()
    async with auth.database.engine.begin() as connection:
        await connection.execute(text("update users set status = 'suspended'"))
    for attempt in (auth.sign_in(), auth.refresh(signed_in.refresh_token)):
        with pytest.raises(PermissionDenied) as refused:
            await attempt
        assert refused.value.reason == "ACCOUNT_SUSPENDED"
    assert len(await auth.rows("select from sessions")) == 1


async def test_the_audit_log_can_be_added_to_and_nothing_else(auth: Auth) -> None:
    await auth.sign_in()
    actions = [
        row["action"] for row in await auth.rows("select action from audit_events order by id")
    ]
    assert actions == ["user.registered", "session.started"]
    for statement in ("update audit_events set action = ''", "delete from audit_events"):
        with pytest.raises(Exception, match="permission denied"):
            await auth.rows(statement)
