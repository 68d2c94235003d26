"""Allowances of calls, shared by all replicas of the gateway through Redis and exact under concurrency.

Each is a sliding log: the times of the last calls, so that no window of its length ever holds more than the quota.
All requests that wait at one moment are decided by one script call. While Redis is away, calls that could be used to
guess or to spend are refused and the others are counted in this process alone; none waits longer than TIMEOUT_SECONDS.
"""

import asyncio
import hashlib
import math
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from prometheus_client import Counter, Gauge
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError

from chassis.quota import Quota
from chassis.redis import client_of
from gateway.errors import EdgeError, Headers, retry_after
from propmubi.options.v1.options_pb2 import RateLimit

# Long enough that a busy moment of ours is not taken for Redis's end, which would close the guarded routes.
TIMEOUT_SECONDS = 1.0
CONNECT_SECONDS = 2.0
# Redis is looked for again soon, since most absences are a restart, and ever less often until it is once in so long.
SOON_SECONDS = 0.05
RECOVERY_SECONDS = 1.0
LARGEST_BATCH = 128
# Callers that are counted while Redis is away; beyond it the longest unseen is forgotten.
LOCAL_CALLERS = 10_000
# What could be used to guess or to spend: counted by address or, on a device she signed in on, by person.
GUARDED = frozenset(
    {
        RateLimit.RATE_LIMIT_AUTH_ATTEMPT,
        RateLimit.RATE_LIMIT_OTP_SEND,
        RateLimit.RATE_LIMIT_AUTH_REFRESH,
    }
)

DECISIONS = Counter(
    "propmubi_rate_limit_decisions_total", "Decided calls.", ["allowance", "outcome"]
)
SHARED = Gauge("propmubi_rate_limit_shared", "1 while limits are counted in Redis, else 0.")

# For each key: drop what has left the window (a bounded number, the rest next time), then add the call if there is
# room. The log never outgrows the quota and its last entry is the oldest. All keys share a hash tag, so that the
# script works on a cluster too. Returns for each: allowed, remaining, microseconds until the oldest call leaves.
SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local out = {}
for i, key in ipairs(KEYS) do
  local quota, window = tonumber(ARGV[2 * i - 1]), ARGV[2 * i] * 1000000
  local used = redis.call('LLEN', key)
  local oldest = tonumber(redis.call('LINDEX', key, -1) or now)
  for _ = 1, 100 do
    if used == 0 or (oldest > now - window and used <= quota) then break end
    redis.call('RPOP', key)
    used = used - 1
    oldest = tonumber(redis.call('LINDEX', key, -1) or now)
  end
  local allowed = 0
  if used < quota then
    redis.call('LPUSH', key, string.format('%.0f', now))
    redis.call('PEXPIRE', key, window / 1000)
    used = used + 1
    allowed = 1
  end
  out[3 * i - 2], out[3 * i - 1], out[3 * i] = allowed, quota - used, oldest + window - now
end
return out
"""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Allowance:
    """A quota by its name. `guarded` ones are refused while they can't be shared."""

    name: str
    quota: Quota
    guarded: bool

    @property
    def policy(self) -> tuple[bytes, bytes]:
        policy = f'"{self.name}";q={self.quota.calls};w={self.quota.seconds}'
        return b"ratelimit-policy", policy.encode()


@dataclass(frozen=True, slots=True)
class Decision:
    """`seconds` until more is allowed than now."""

    allowed: bool
    remaining: int
    seconds: float


class _Script:
    """SCRIPT on a connection of its own: redis-py's client around it would cost as much again as the call."""

    def __init__(self, redis: Redis) -> None:
        self._connection = redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        self._sha = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()

    async def connect(self) -> None:
        await self._connection.connect()

    async def disconnect(self) -> None:
        await self._connection.disconnect()

    async def call(self, keys: list[str], arguments: list[int]) -> list[int]:
        """Run it. An error, and a timeout too, hangs up, so that no answer is taken for another's and the next call
        looks anew where Redis is.
        """
        used_before = self._connection.is_connected
        await self._connection.connect()
        try:
            return await self._evaluate(keys, arguments)
        except RedisConnectionError:
            if not used_before:
                raise
        # Redis hung up while nobody asked, as when it was restarted: that it is away would show when we call again. At
        # worst it had counted these calls, and counts them twice.
        await self._connection.connect()
        return await self._evaluate(keys, arguments)

    async def _evaluate(self, keys: list[str], arguments: list[int]) -> list[int]:
        try:
            try:
                return await self._run("EVALSHA", self._sha, keys, arguments)
            except NoScriptError:  # Redis was restarted.
                return await self._run("EVAL", SCRIPT, keys, arguments)
        except RedisError:
            await self._connection.disconnect(nowait=True)
            raise

    async def _run(
        self, command: str, script: str, keys: list[str], arguments: list[int]
    ) -> list[int]:
        await self._connection.send_command(command, script, len(keys), *keys, *arguments)
        answer: list[int] = await self._connection.read_response()
        return answer


class SharedLimits:
    """Decisions by Redis. Whoever asks while a batch is under way is decided in the next."""

    def __init__(self, redis: Redis) -> None:
        self._script = _Script(redis)
        self._waiting: deque[tuple[str, Quota, asyncio.Future[Decision | None]]] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._recovery: asyncio.Task[None] | None = None
        SHARED.set(1)

    async def connect(self) -> None:
        """Connect before the first call asks, and know whether Redis is there."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._script.connect()
        except (RedisError, OSError, TimeoutError) as error:
            self._lose(error)

    async def take(self, key: str, quota: Quota) -> Decision | None:
        """Decide a call of `key`; None while Redis is away."""
        if self._recovery is not None:
            return None
        decided: asyncio.Future[Decision | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, quota, decided))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        return await decided

    async def close(self) -> None:
        for task in (self._sender, self._recovery):
            if task is not None:
                task.cancel()
        await self._script.disconnect()

    async def _send(self) -> None:
        try:
            while self._waiting:
                batch = [
                    self._waiting.popleft() for _ in range(min(len(self._waiting), LARGEST_BATCH))
                ]
                await self._decide(batch)
        finally:
            self._sender = None
            while self._waiting:  # Only when cancelled.
                self._waiting.popleft()[2].cancel()

    async def _decide(
        self, batch: list[tuple[str, Quota, asyncio.Future[Decision | None]]]
    ) -> None:
        keys = [f"{{limits}}:{key}" for key, _, _ in batch]
        arguments = [number for _, quota, _ in batch for number in (quota.calls, quota.seconds)]
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answer = await self._script.call(keys, arguments)
        except (RedisError, OSError, TimeoutError) as error:
            self._lose(error)
            answer = None
        for i, (_, _, decided) in enumerate(batch):
            if decided.done():  # Its request was given up.
                continue
            if answer is None:
                decided.set_result(None)
            else:
                allowed, remaining, left = answer[3 * i : 3 * i + 3]
                decided.set_result(Decision(bool(allowed), remaining, left / 1_000_000))

    def _lose(self, error: Exception) -> None:
        log.error("rate limits are not shared: redis is away", error=repr(error))
        SHARED.set(0)
        self._recovery = asyncio.create_task(self._recover())
        while self._waiting:
            decided = self._waiting.popleft()[2]
            if not decided.done():
                decided.set_result(None)

    async def _recover(self) -> None:
        pause = SOON_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = min(2 * pause, RECOVERY_SECONDS)
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    await self._script.call([], [])
            except (RedisError, OSError, TimeoutError):
                continue
            SHARED.set(1)
            log.info("rate limits are shared again")
            self._recovery = None
            return


class LocalLimits:
    """Decisions by this process alone, by the same rule."""

    def __init__(self) -> None:
        self._calls: dict[str, deque[float]] = {}

    def take(self, key: str, quota: Quota) -> Decision:
        now = time.monotonic()
        calls = self._calls.pop(key, None) or deque()
        self._calls[key] = calls  # The latest seen stand last.
        if len(self._calls) > LOCAL_CALLERS:
            del self._calls[next(iter(self._calls))]
        while calls and calls[0] <= now - quota.seconds:
            calls.popleft()
        allowed = len(calls) < quota.calls
        if allowed:
            calls.append(now)
        return Decision(allowed, quota.calls - len(calls), calls[0] + quota.seconds - now)


class Limiter:
    """Decides whether a call may go on."""

    def __init__(self, shared: SharedLimits) -> None:
        self._shared = shared
        self._local = LocalLimits()
        self._counters: dict[tuple[str, str], Counter] = {}

    async def admit(self, allowance: Allowance, caller: str) -> Headers:
        """Draw one call of `caller` on `allowance`; returns the headers that tell what is left.

        Raises EdgeError: 429 when it is used up, 503 when a guarded one can't be counted.
        """
        key = f"{allowance.name}:{caller}"
        decision = await self._shared.take(key, allowance.quota)
        if decision is None:
            if allowance.guarded:
                self._count(allowance, "refused")
                raise EdgeError(503, headers=(retry_after(RECOVERY_SECONDS),))
            decision = self._local.take(key, allowance.quota)
            self._count(allowance, "local" if decision.allowed else "limited")
        else:
            self._count(allowance, "allowed" if decision.allowed else "limited")
        told = (
            allowance.policy,
            (
                b"ratelimit",
                f'"{allowance.name}";r={decision.remaining};t={math.ceil(decision.seconds)}'.encode(),
            ),
        )
        if not decision.allowed:
            raise EdgeError(429, headers=(*told, retry_after(decision.seconds)))
        return told

    def _count(self, allowance: Allowance, outcome: str) -> None:
        key = (allowance.name, outcome)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = DECISIONS.labels(*key)
        counter.inc()


@asynccontextmanager
async def open_limiter(redis_url: str) -> AsyncIterator[Limiter]:
    """A limiter with a Redis connection of its own, which never retries: a batch has one timeout."""
    redis = client_of(redis_url, retries=0)
    shared = SharedLimits(redis)
    await shared.connect()
    try:
        yield Limiter(shared)
    finally:
        await shared.close()
        await redis.aclose()
