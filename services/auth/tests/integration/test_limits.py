"""How often codes are sent and guessed: exact, whatever happens at once, and the same for phones nobody knows."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from sqlalchemy import event

from auth_service import metrics, texts
from auth_service.guesses import MOST_IN_A_ROW
from auth_service.otp import sends
from auth_service.otp.domain import MAX_ATTEMPTS
from chassis import india
from chassis.context import current_call_or_none
from chassis.errors import PermissionDenied, RateLimited, Unauthenticated
from chassis.quota import Quota
from propmubi.auth.v1 import auth_pb2 as pb
from services.auth.tests.conftest import ADMIN_PHONE, PHONE, Auth, RunAuth, other_than

UNKNOWN = "+919876500000"
PASSWORD = "monsoon tiffin lantern quartz"
DEFAULT: dict[str, Any] = {"otp_send_limit_per_phone": None}
UNLIMITED = {"auth_limit_per_identifier": "1000/15m", "auth_failures_per_identifier": "1000/1h"}


async def ask(auth: Auth, phone: str = PHONE) -> pb.RequestOtpResponse:
    answer: pb.RequestOtpResponse = await auth.stub().RequestOtp(pb.RequestOtpRequest(phone=phone))
    return answer


async def wait_to_ask(auth: Auth, phone: str = PHONE) -> float:
    with pytest.raises(RateLimited) as limited:
        await ask(auth, phone)
    return limited.value.retry_after


async def pass_time(auth: Auth, **time: float) -> None:
    """Have everything that was counted happen earlier."""
    await auth.rows(
        "update allowances set used = array(select t - $1::interval from unnest(used) t)",
        timedelta(**time),
    )


async def fail(auth: Auth, times: int) -> None:
    """Guess wrongly so often, with as many challenges as that takes."""
    for first in range(0, times, MAX_ATTEMPTS):
        challenge, code = await auth.request_otp()
        for step in range(1, min(MAX_ATTEMPTS, times - first) + 1):
            with pytest.raises(Unauthenticated):
                await auth.verify(challenge, other_than(code, step))


async def test_a_phone_is_sent_one_code_in_half_a_minute_three_in_ten_and_ten_a_day(
    run_auth: RunAuth,
) -> None:
    async with run_auth(**DEFAULT) as auth:
        answers = await asyncio.gather(*(ask(auth) for _ in range(20)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, RateLimited)]
        assert len(refused) == 19
        assert all(15 < answer.retry_after <= 30 for answer in refused)
        assert len(await auth.rows("select from otp_challenges where status = 'issued'")) == 1
        for _ in range(2):
            await pass_time(auth, seconds=30)
            await ask(auth)
        await pass_time(auth, seconds=30)
        assert 500 < await wait_to_ask(auth) <= 510
        for _ in range(7):
            await pass_time(auth, minutes=10)
            await ask(auth)
        await pass_time(auth, minutes=10)
        assert 22 * 3600 < await wait_to_ask(auth) < 23 * 3600
        await ask(auth, UNKNOWN)  # Others are not concerned.


async def test_neighbouring_numbers_are_sent_so_many_together(run_auth: RunAuth) -> None:
    async with run_auth(otp_send_limit_per_range="3/1h") as auth:
        phones = [f"+91987654{digits:04}" for digits in range(20)]
        answers = await asyncio.gather(
            *(ask(auth, phone) for phone in phones), return_exceptions=True
        )
        assert sum(isinstance(answer, pb.RequestOtpResponse) for answer in answers) == 3
        assert 3590 < await wait_to_ask(auth, "+919876549999") <= 3600
        await ask(auth, UNKNOWN)
        # Refused, a code does not count for its phone either.
        assert len(await auth.rows("select from allowances where name = 'otp phone'")) == 4


async def test_a_day_has_so_many_codes(run_auth: RunAuth, monkeypatch: pytest.MonkeyPatch) -> None:
    async with run_auth(otp_sends_per_day=3) as auth:
        assert share_of_the_day() == 0
        await ask(auth, UNKNOWN)
        assert share_of_the_day() == pytest.approx(1 / 3)
        phones = [f"+91987{digits:02}43210" for digits in range(20)]
        answers = await asyncio.gather(
            *(ask(auth, phone) for phone in phones), return_exceptions=True
        )
        assert sum(isinstance(answer, pb.RequestOtpResponse) for answer in answers) == 2
        assert 0 < await wait_to_ask(auth) <= 24 * 3600
        assert share_of_the_day() == 1
        tomorrow = india.today() + timedelta(days=1)
        monkeypatch.setattr(india, "today", lambda: tomorrow)
        assert share_of_the_day() == 0
        await ask(auth)


def share_of_the_day() -> float:
    """What Prometheus reads of it."""
    (family,) = metrics.OTP_DAY_USED.collect()
    return family.samples[0].value


def test_refusals_of_the_day_are_counted_from_nothing() -> None:
    """A counter that appears at 1 has not risen, for Prometheus."""
    (family,) = metrics.REFUSED.collect()
    assert {"allowance": "otp day"} in [sample.labels for sample in family.samples]


async def test_notices_are_of_the_days_messages_too_and_so_many_a_day_for_a_phone(
    run_auth: RunAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (Quota(10, 86_400),) == sends.NOTICES_PER_PHONE
    # A password costs a quarter of a second of a processor to hash and another to compare.
    monkeypatch.setattr(sends, "NOTICES_PER_PHONE", (Quota(2, 86_400),))
    refused = metrics.REFUSED.labels("notice phone")._value
    sent, kept_back = "set by somebody with a token", refused.get()
    monkeypatch.setattr(texts, "PASSWORD_SET", sent)
    async with run_auth(auth_limit_per_identifier="1000/1m") as auth:
        token = (await auth.sign_in()).access_token
        await auth.set_password(token, PASSWORD, confirmation=await auth.confirmation(token))
        for _ in range(3):
            await auth.set_password(token, PASSWORD, current_password=PASSWORD)
        async with asyncio.timeout(5):
            while refused.get() < kept_back + 2:  # noqa: ASYNC110  A metric tells nobody.
                await asyncio.sleep(0.005)
        assert [message["body"] for message in auth.messages(PHONE)].count(sent) == 2
        assert [row["sent"] for row in await auth.rows("select sent from otp_days")] == [4]


async def test_of_a_hundred_guesses_at_once_ten_count_and_five_are_compared(auth: Auth) -> None:
    challenge, code = await auth.request_otp()
    guesses = [other_than(code, step) for step in range(1, 101)]
    answers = await asyncio.gather(
        *(auth.verify(challenge, guess) for guess in guesses), return_exceptions=True
    )
    limited = [answer for answer in answers if isinstance(answer, RateLimited)]
    assert len(limited) == 90
    [row] = await auth.rows("select attempts, status from otp_challenges")
    assert (row["attempts"], row["status"]) == (5, "locked")


async def test_a_phone_fails_ten_times_in_an_hour_whatever_the_challenge(auth: Auth) -> None:
    await fail(auth, 10)
    challenge, code = await auth.request_otp()
    with pytest.raises(RateLimited) as limited:
        await auth.verify(challenge, code)
    assert 3500 < limited.value.retry_after <= 3600
    assert (await auth.sign_in("+919876543211")).access_token  # Others are not concerned.
    await pass_time(auth, hours=1)
    assert (await auth.verify(challenge, code)).access_token


async def test_signing_in_rightly_is_a_try_and_no_failure(run_auth: RunAuth) -> None:
    async with run_auth(
        auth_limit_per_identifier="3/15m", auth_failures_per_identifier="1/1h"
    ) as auth:
        for _ in range(3):
            await auth.sign_in()
        with pytest.raises(RateLimited):
            await auth.sign_in()


async def test_a_hundred_failures_in_a_row_lock_a_phone_until_an_administrator_unlocks_it(
    run_auth: RunAuth,
) -> None:
    async with run_auth(**UNLIMITED) as auth:
        user = (await auth.sign_in()).user
        challenge, code = await auth.request_otp()
        await auth.rows(
            "insert into failures_in_a_row values ($1, 'otp', $2, now())", PHONE, MOST_IN_A_ROW - 1
        )
        with pytest.raises(Unauthenticated):
            await auth.verify(challenge, other_than(code))
        for attempt in (auth.verify(challenge, code), ask(auth)):
            with pytest.raises(PermissionDenied) as locked:
                await attempt
            assert locked.value.reason == "SIGN_IN_LOCKED"
        admin = await auth.sign_in(ADMIN_PHONE)
        await auth.stub(admin.access_token).UnlockSignIn(pb.UnlockSignInRequest(phone="9876543210"))
        assert (await auth.sign_in()).user.id == user.id
        told = await auth.rows(
            "select action, actor, details->>'last_digits' as ends from audit_events"
            " where user_id = $1 and action like 'sign_in.%' order by id",
            user.id,
        )
        assert [tuple(row) for row in told] == [
            ("sign_in.locked", "system", "3210"),
            ("sign_in.unlocked", admin.user.id, "3210"),
        ]


async def test_a_try_at_a_code_that_is_over_is_a_try_and_no_failure(auth: Auth) -> None:
    challenge, code = await auth.request_otp()
    for step in range(1, 11):
        with pytest.raises(Unauthenticated):
            await auth.verify(challenge, other_than(code, step))
    with pytest.raises(RateLimited) as limited:
        await auth.verify(challenge, code)
    assert 890 < limited.value.retry_after <= 900
    [row] = await auth.rows("select failures from failures_in_a_row")
    assert row["failures"] == MAX_ATTEMPTS


async def test_an_administrator_who_unlocks_and_those_who_guess_never_block_each_other(
    run_auth: RunAuth,
) -> None:
    async with run_auth(**UNLIMITED) as auth:
        admin = auth.stub((await auth.sign_in(ADMIN_PHONE)).access_token)
        unlock = pb.UnlockSignInRequest(phone=PHONE)
        for _ in range(3):
            challenge, code = await auth.request_otp()
            answers = await asyncio.gather(
                *(auth.verify(challenge, other_than(code, step)) for step in range(1, 21)),
                *(admin.UnlockSignIn(unlock) for _ in range(20)),
                return_exceptions=True,
            )
            assert {type(answer) for answer in answers} == {Unauthenticated, Empty}


async def test_a_success_ends_the_failures_in_a_row(run_auth: RunAuth) -> None:
    async with run_auth(**UNLIMITED) as auth:
        for _ in range(2):
            await fail(auth, 3)
            assert await auth.rows("select from failures_in_a_row where failures = 3")
            await auth.sign_in()
            assert not await auth.rows("select from failures_in_a_row")


async def test_only_an_administrator_unlocks(auth: Auth) -> None:
    request = pb.UnlockSignInRequest(phone=PHONE)
    with pytest.raises(Unauthenticated):
        await auth.stub().UnlockSignIn(request)
    signed_in = await auth.sign_in()
    with pytest.raises(PermissionDenied):
        await auth.stub(signed_in.access_token).UnlockSignIn(request)


@contextmanager
def statements(auth: Auth) -> Iterator[list[str]]:
    """The SQL of codes asked for within the block, and of nothing that runs beside."""
    seen: list[str] = []
    engine = auth.database.engine.sync_engine

    def note(_connection: Any, _cursor: Any, statement: str, *_others: Any) -> None:
        call = current_call_or_none()
        if call is not None and call.rpc.endswith("/RequestOtp"):
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def test_a_known_and_an_unknown_phone_are_answered_alike(auth: Auth) -> None:
    """The same bytes but for the id, and the same work."""
    await auth.sign_in()
    await auth.rows("delete from allowances")
    answers, work = [], []
    for phone in (PHONE, UNKNOWN):
        with statements(auth) as seen:
            answer = await ask(auth, phone)
        answer.challenge_id = ""
        answers.append(answer.SerializeToString())
        work.append(seen)
    assert answers[0] == answers[1]
    assert work[0] == work[1] != []
    assert not any("users" in statement for statement in work[0])
