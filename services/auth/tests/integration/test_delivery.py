"""One-time passwords are sent after the answer, whatever the provider does."""

import asyncio
import socket
from typing import Any

from auth_service.otp.delivery import Delivery
from chassis import metrics, process
from chassis.sms import SmsNotSent
from propmubi.auth.v1 import auth_pb2 as pb
from services.auth.tests.conftest import PHONE, RunAuth


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


def dropped() -> float:
    return float(metrics.SMS.labels("queue", "dropped")._value.get())


async def test_a_provider_that_can_not_be_reached_neither_slows_nor_fails_the_answer(
    run_auth: RunAuth,
) -> None:
    settings: dict[str, Any] = {
        "sms_provider": "twilio",
        "twilio_account_sid": "AC0123",
        "twilio_auth_token": "token",
        "twilio_from": "+15005550006",
        # Longer than the caller waits.
        "sms_timeout_seconds": 60,
    }
    with socket.create_server(("127.0.0.1", 0)) as silent:  # Connects, and never answers.
        settings["twilio_base_url"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with run_auth(**settings) as auth:
            answer = await auth.stub().RequestOtp(pb.RequestOtpRequest(phone=PHONE))
            assert answer.expires_in == 300


async def test_a_full_queue_drops_and_counts() -> None:
    delivery, before = Delivery(Provider(), queue_length=3), dropped()
    for _ in range(5):
        delivery.post(PHONE, "body")
    assert dropped() == before + 2


async def test_failures_end_nothing() -> None:
    provider = Provider()
    provider.goes_on.set()
    delivery = Delivery(provider)
    async with process.background(delivery.run()):
        for error in (SmsNotSent("failed"), RuntimeError("unexpected")):
            provider.error = error
            for _ in range(20):
                delivery.post(PHONE, "body")
            await delivery._queue.join()
        provider.error = None
        delivery.post(PHONE, "body")
        await delivery._queue.join()
    assert provider.sent == [PHONE]


async def test_what_waits_at_the_end_is_still_sent() -> None:
    provider = Provider()
    delivery = Delivery(provider)
    async with process.background(delivery.run()):
        for _ in range(40):
            delivery.post(PHONE, "body")
        await asyncio.sleep(0)
        provider.goes_on.set()
    assert len(provider.sent) == 40
