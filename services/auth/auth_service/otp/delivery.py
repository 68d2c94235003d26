"""Sends text messages after the answer: a slow or failing provider neither delays nor fails who asked."""

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass

import structlog

from auth_service import metrics
from auth_service.otp.sends import Sends
from chassis.database import Database
from chassis.errors import RateLimited
from chassis.metrics import SMS
from chassis.sms import SmsNotSent, SmsProvider

# Waiting messages of a provider that is far behind.
QUEUE_LENGTH = 1_000
SENDERS = 16
# A code that comes in the last of its five minutes helps nobody.
CODE_SECONDS = 240.0
# For what waits when the process stops.
LAST_SECONDS = 2.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Message:
    to: str
    body: str
    # By the monotonic clock.
    good_until: float
    is_notice: bool = False


class Delivery:
    """A bounded queue of text messages and those who send them."""

    def __init__(
        self,
        sms: SmsProvider,
        database: Database,
        sends: Sends,
        *,
        queue_length: int = QUEUE_LENGTH,
    ) -> None:
        self._sms = sms
        self._database = database
        self._sends = sends
        self._queue: asyncio.Queue[_Message] = asyncio.Queue(queue_length)

    def post_code(self, to: str, body: str) -> None:
        """Have a one-time password sent, which was just asked for and counted; never waits and never fails."""
        metrics.OTP.labels("requested").inc()
        self._post(_Message(to, body, time.monotonic() + CODE_SECONDS))

    def post_notice(self, to: str, body: str) -> None:
        """Have somebody told of what was done to her account, as far as she may be sent anything; never waits and never
        fails.
        """
        self._post(_Message(to, body, math.inf, is_notice=True))

    def _post(self, message: _Message) -> None:
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            SMS.labels("queue", "dropped").inc()
            log.warning("sms dropped: the queue is full", last_digits=message.to[-4:])

    async def run(self) -> None:
        """Send until cancelled, then for a moment what still waits."""
        senders = [asyncio.create_task(self._send_forever()) for _ in range(SENDERS)]
        try:
            ended, _ = await asyncio.wait(senders, return_when=asyncio.FIRST_EXCEPTION)
            for sender in ended:
                sender.result()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await self._queue.join()
            for sender in senders:
                sender.cancel()
            await asyncio.gather(*senders, return_exceptions=True)

    async def _send_forever(self) -> None:
        while True:
            message = await self._queue.get()
            try:
                await self._send(message)
            except (SmsNotSent, RateLimited):  # Counted and logged where it happened.
                pass
            except Exception:
                # A message that trips the provider's client must not end the sending of others.
                log.exception("sms failed", last_digits=message.to[-4:])
            finally:
                self._queue.task_done()

    async def _send(self, message: _Message) -> None:
        if message.is_notice:
            async with self._database.transaction() as tx:
                await self._sends.take_notice(tx, message.to)
        if time.monotonic() < message.good_until:
            await self._sms.send(message.to, message.body)
        else:
            SMS.labels("queue", "expired").inc()
