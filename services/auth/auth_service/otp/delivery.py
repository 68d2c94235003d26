"""Sends one-time passwords after the answer: a slow or failing provider neither delays nor fails who asked."""

import asyncio
import contextlib

import structlog

from chassis import metrics
from chassis.sms import SmsNotSent, SmsProvider

# Waiting messages; a provider so far behind delivers nothing in its five minutes anyway.
QUEUE_LENGTH = 1_000
SENDERS = 16
# For what waits when the process stops.
LAST_SECONDS = 2.0

log = structlog.get_logger()


class Delivery:
    """A bounded queue of text messages and those who send them."""

    def __init__(self, sms: SmsProvider, *, queue_length: int = QUEUE_LENGTH) -> None:
        self._sms = sms
        self._queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue(queue_length)

    def post(self, to: str, body: str) -> None:
        """Have `body` sent to `to` soon; never waits and never fails."""
        try:
            self._queue.put_nowait((to, body))
        except asyncio.QueueFull:
            metrics.SMS.labels("queue", "dropped").inc()
            log.warning("sms dropped: the queue is full", last_digits=to[-4:])

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
            to, body = await self._queue.get()
            try:
                await self._sms.send(to, body)
            except SmsNotSent:  # Counted and logged where it happened.
                pass
            except Exception:
                # A message that trips the provider's client must not end the sending of others.
                log.exception("sms failed", last_digits=to[-4:])
            finally:
                self._queue.task_done()
