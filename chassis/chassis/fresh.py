"""What a process keeps of what is elsewhere: read again now and then, at once when it is told of a change, and seldom
for those who miss something in it.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import grpc
import structlog

from chassis.context import background_call, enter
from chassis.errors import DomainError

RETRY_SECONDS = 1.0
# How long a read may take, and how long those who miss something wait for one.
READ_SECONDS = 5.0
PATIENCE_SECONDS = 2.0

log = structlog.get_logger()


class Fresh:
    """Calls `read` at the start, then every so many `seconds`, and soon again when it fails.

    Who misses something asks for a read earlier, but for all of them together not more often than every so many
    `seldom` seconds: anybody may ask for what was never there.
    """

    def __init__(
        self, name: str, read: Callable[[], Awaitable[None]], *, seconds: float, seldom: float
    ) -> None:
        self._name = name
        self._read = read
        self._seconds = seconds
        self._seldom = seldom
        self._wanted = asyncio.Event()
        self._missed_at = -seldom
        # The read that is under way and the next one, each done when it is over, whatever became of it.
        self._now: asyncio.Future[None] | None = None
        self._next: asyncio.Future[None] | None = None
        # Set once it was read.
        self.loaded = asyncio.Event()

    def renew(self) -> None:
        """Have it read again soon: it has changed."""
        self._next = self._next or asyncio.get_running_loop().create_future()
        self._wanted.set()

    async def renewed(self) -> None:
        """Have it read again and return once it was, or could not be."""
        self.renew()
        await self._wait()

    async def missed(self) -> None:
        """Return once it was read again, or at once when that was asked for too lately."""
        now = time.monotonic()
        if now - self._missed_at >= self._seldom:
            self._missed_at = now
            self.renew()
        await self._wait()

    async def _wait(self) -> None:
        read = self._next or self._now
        if read is not None:
            await asyncio.wait((read,), timeout=PATIENCE_SECONDS)

    async def run(self) -> None:
        """Keep it fresh until cancelled."""
        while True:
            enter(background_call(self._name, seconds=READ_SECONDS))
            self._wanted.clear()
            self._now = self._next or asyncio.get_running_loop().create_future()
            self._next = None
            pause = self._seconds
            try:
                await self._read()
                self.loaded.set()
            except (DomainError, grpc.aio.AioRpcError, OSError, TimeoutError, ValueError) as error:
                log.warning("can't be read", what=self._name, error=type(error).__name__)
                pause = RETRY_SECONDS
            finally:
                self._now.set_result(None)
                self._now = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wanted.wait()
