"""bcrypt, in a thread of its own that steps back behind everything else.

One hash takes a quarter of a second of a core. bcrypt lets go of Python's lock while it works, so that a single thread
leaves the event loop its core; stepping back leaves it the other ones too. Nothing else runs in it: a thread that holds
the lock and isn't given the core stops the event loop. Who comes when the queue is full is told so at once. More
passwords per second are more replicas.
"""

import asyncio
import base64
import contextlib
import hmac
import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import bcrypt

from auth_service import metrics
from auth_service.passwords.domain import Stored, normalised
from auth_service.passwords.strength import check_new
from auth_service.sealing import Sealer
from chassis.errors import RateLimited

# Those who wait and the one being served: the last is served within a few seconds.
PLACES = 16
RETRY_SECONDS = 5.0

# The salt and digest of nobody's password. Comparing with it takes as long as comparing with any.
_NOBODY = "N6Yp0yQ6k2m0uYxkq7r9AOZ1m1Vw9hL7pZ5n8vN3bq2Jt6s4xW0eK"

ResultT = TypeVar("ResultT")


class PasswordHasher:
    """Hashes and compares passwords; what it gives out to be stored is encrypted with a key from the settings."""

    def __init__(self, cost: int, *from_secrets: str) -> None:
        self._cost = cost
        self._sealer = Sealer(b"propmubi auth password hashes", *from_secrets)
        self._bcrypt = ThreadPoolExecutor(1, "bcrypt", _step_back)
        # One, because zxcvbn keeps what it knows of a person where the next one's is put.
        self._judge = ThreadPoolExecutor(1, "zxcvbn")
        self._taken = 0

    def close(self) -> None:
        for pool in (self._bcrypt, self._judge):
            pool.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue, for as long as the block lasts; raises RateLimited when there is none."""
        if self._taken >= PLACES:
            metrics.PASSWORD.labels("turned_away").inc()
            raise RateLimited(
                "Too many people are signing in with passwords just now: wait, or sign in with a code.",
                retry_after=RETRY_SECONDS,
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def hash(self, password: str, user_id: uuid.UUID) -> bytes:
        """What to store of `password`: of this user's row and no other."""
        salt = bcrypt.gensalt(self._cost)
        work = partial(bcrypt.hashpw, _digest(password), salt)
        hashed = await self._run(self._bcrypt, work)
        return self._sealer.seal(hashed, user_id.bytes)

    async def matches(self, password: str, stored: Stored | None) -> bool:
        """Whether `password` is the one `stored`; with nothing stored it takes as long, and is not."""
        if stored is None:
            hashed = f"$2b${self._cost:02d}${_NOBODY}".encode()
        else:
            hashed = self._sealer.open(stored.encrypted_hash, stored.user_id.bytes)
        work = partial(bcrypt.checkpw, _digest(password), hashed)
        matched = await self._run(self._bcrypt, work)
        return matched and stored is not None

    def renewed(self, stored: Stored) -> bytes | None:
        """The same hash encrypted with the first secret; None when it is."""
        return self._sealer.renewed(stored.encrypted_hash, stored.user_id.bytes)

    async def check_new(self, password: str, about_her: Sequence[str | None]) -> None:
        """Raises what `strength.check_new` raises, beside the event loop and one after another."""
        await self._run(self._judge, partial(check_new, password, about_her))

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[[], ResultT]) -> ResultT:
        """`work`, in that thread. Whoever gives up waiting gives up the work, unless it has begun."""
        return await asyncio.get_running_loop().run_in_executor(pool, work)


def _digest(password: str) -> bytes:
    """64 characters of `password`, whatever its length: bcrypt sees no more than 72 bytes. The label makes it worth
    nothing to look for digests of the same password that were lost elsewhere.
    """
    mac = hmac.digest(b"propmubi password", normalised(password).encode(), "sha384")
    return base64.b64encode(mac)


def _step_back() -> None:
    # Idle, not merely nice: the next request has the core at once, not with the scheduler's next tick. On Linux the
    # policy is a thread's own; elsewhere there is none.
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))
