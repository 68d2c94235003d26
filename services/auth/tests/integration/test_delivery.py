"""Codes are sent after the answer, whatever the provider does; Twilio's is its real client, before a stand-in."""

import asyncio
import re
import socket
from typing import Any

import pytest

from auth_service.otp.delivery import CODE_SECONDS, Delivery
from chassis import metrics, process, sms
from chassis.sms import SmsNotSent
from devstack.testing_sms import ACCOUNT, FROM, TOKEN, Twilio
from propmubi.auth.v1 import auth_pb2 as pb
from services.auth.tests.conftest import PHONE, Auth, RunAuth


class Provider:
    """A provider that can be held up, and fails on demand."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()
        self.error: Exception | None = None
        self.sent: list[str] = []

    async def send(self, to: str, body: str) -> None:
        await self.goes_on.wait()
        if self.error is not None:
            raise self.error
        self.sent.append(to)


def delivery_by(provider: Provider, **options: Any) -> Delivery:
    """One that sends codes: what limits notices is not asked."""
    nobody: Any = None
    return Delivery(provider, nobody, nobody, **options)


def count(provider: str, outcome: str) -> float:
    return float(metrics.SMS.labels(provider, outcome)._value.get())


async def ask(auth: Auth, phone: str = PHONE) -> str:
    answer = await auth.stub().RequestOtp(pb.RequestOtpRequest(phone=phone))
    return str(answer.challenge_id)


async def counted(provider: str, outcome: str, total: float) -> None:
    async with asyncio.timeout(5):
        while count(provider, outcome) < total:  # noqa: ASYNC110  A metric tells nobody.
            await asyncio.sleep(0.005)


async def test_a_code_goes_by_twilio_and_signs_in(run_auth: RunAuth, twilio: Twilio) -> None:
    before = count("twilio", "sent")
    async with run_auth(**twilio.settings) as auth:
        challenge = await ask(auth)
        await counted("twilio", "sent", before + 1)
        [received] = twilio.received
        assert received["form"]["To"] == PHONE
        found = re.match(r"\d{6}", received["form"]["Body"])
        assert found is not None
        assert (await auth.verify(challenge, found[0])).access_token


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [([400], "rejected"), ([500], "unknown"), ([None], "unknown"), ([429] * 3, "failed")],
)
async def test_a_provider_that_fails_fails_no_answer_and_is_counted(
    run_auth: RunAuth,
    twilio: Twilio,
    monkeypatch: pytest.MonkeyPatch,
    statuses: list[int | None],
    outcome: str,
) -> None:
    monkeypatch.setattr(sms, "PAUSES", (0.0, 0.0))
    asked, twilio.statuses = len(statuses), statuses
    before = count("twilio", outcome)
    async with run_auth(**twilio.settings) as auth:
        await ask(auth)
        await counted("twilio", outcome, before + 1)
    assert len(twilio.received) == asked


async def test_a_provider_that_stalls_holds_no_answer_up(run_auth: RunAuth, twilio: Twilio) -> None:
    """Far more are answered than there are senders, while not one message was taken."""
    twilio.answers.clear()
    before = count("twilio", "timeout")
    async with run_auth(**twilio.settings, sms_timeout_seconds=0.3) as auth:
        phones = [f"+91987{number:02}43210" for number in range(50)]
        assert len(set(await asyncio.gather(*(ask(auth, phone) for phone in phones)))) == 50
        await counted("twilio", "timeout", before + 16)
        twilio.answers.set()


async def test_a_provider_that_can_not_be_reached_neither_slows_nor_fails_the_answer(
    run_auth: RunAuth,
) -> None:
    settings: dict[str, Any] = {
        "sms_provider": "twilio",
        "twilio_account_sid": ACCOUNT,
        "twilio_auth_token": TOKEN,
        "twilio_from": FROM,
        # Longer than the caller waits.
        "sms_timeout_seconds": 60,
    }
    with socket.create_server(("127.0.0.1", 0)) as silent:  # Connects, and never answers.
        settings["twilio_base_url"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with run_auth(**settings) as auth:
            assert await ask(auth)


async def test_a_full_queue_drops_and_counts() -> None:
    delivery, before = delivery_by(Provider(), queue_length=3), count("queue", "dropped")
    for _ in range(5):
        delivery.post_code(PHONE, "body")
    assert count("queue", "dropped") == before + 2


async def test_what_waited_too_long_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("auth_service.otp.delivery.time.monotonic", lambda: now)
    provider, before = Provider(), count("queue", "expired")
    provider.goes_on.set()
    delivery = delivery_by(provider)
    delivery.post_code("+919876543211", "a code")
    now += CODE_SECONDS
    delivery.post_code("+919876543212", "a code")
    async with process.background(delivery.run()):
        await delivery._queue.join()
    assert provider.sent == ["+919876543212"]
    assert count("queue", "expired") == before + 1


async def test_failures_end_nothing() -> None:
    provider = Provider()
    provider.goes_on.set()
    delivery = delivery_by(provider)
    async with process.background(delivery.run()):
        for error in (SmsNotSent("failed"), RuntimeError("unexpected")):
            provider.error = error
            for _ in range(20):
                delivery.post_code(PHONE, "body")
            await delivery._queue.join()
        provider.error = None
        delivery.post_code(PHONE, "body")
        await delivery._queue.join()
    assert provider.sent == [PHONE]


async def test_what_waits_at_the_end_is_still_sent() -> None:
    provider = Provider()
    delivery = delivery_by(provider)
    async with process.background(delivery.run()):
        for _ in range(40):
            delivery.post_code(PHONE, "body")
        await asyncio.sleep(0)
        provider.goes_on.set()
    assert len(provider.sent) == 40
