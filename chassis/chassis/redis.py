"""Redis, or Valkey: streams of events and shared counters. Losing it loses nothing that was committed."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as TimedOut

from chassis.errors import Unavailable
from chassis.settings import Settings

# What background work meets when Redis or Postgres can't be reached: it waits, and goes on where it was.
AWAY = (RedisError, Unavailable, OSError)

# Longer than any blocking read asks for.
SOCKET_TIMEOUT_SECONDS = 5.0
BLOCK_MILLISECONDS = 1_000

# For scripts: what XINFO answers, each name followed by its value, as a table.
FIELDS_OF = """
local function fields_of(answer)
    local fields = {}
    for field = 1, #answer, 2 do
        fields[answer[field]] = answer[field + 1]
    end
    return fields
end
"""


@asynccontextmanager
async def open_redis(settings: Settings) -> AsyncIterator[Redis]:
    """A client with a pool of its own; it connects when first used."""
    client = client_of(
        settings.redis_url.get_secret_value(),
        retries=1,
        socket_timeout=SOCKET_TIMEOUT_SECONDS,
        socket_connect_timeout=1.0,
        health_check_interval=30,
    )
    try:
        yield client
    finally:
        await client.aclose()


def client_of(url: str, *, retries: int, **options: Any) -> Redis:
    """A client of the Redis at `url` that asks again at once as often as `retries` says."""
    client: Redis = Redis.from_url(url, retry=Retry(NoBackoff(), retries), **options)
    pool = client.connection_pool
    pool.connection_class = type("Connection", (_Connection, pool.connection_class), {})
    return client


class _Connection(AbstractConnection):
    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        # Sent under a timeout of ours: redis-py's is `wait_for`, which costs a task for each command and, before
        # Python 3.12, forgets a cancellation that comes when all is sent.
        limit, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(limit):
                await super().send_packed_command(command, check_health)
        except TimeoutError as error:
            raise TimedOut("Nothing could be sent in time.") from error
        except RuntimeError as error:
            # uvloop's word for a transport that the other side has closed meanwhile; redis-py knows asyncio's alone.
            raise Disconnected("The connection was closed.") from error
        finally:
            self.socket_timeout = limit


def stream_of(service: str) -> str:
    """The stream that carries the events of `service`."""
    return f"propmubi:{service}:events"


def marker_of(service: str) -> str:
    """The key whose absence tells that the stream was lost."""
    return f"propmubi:{service}:marker"
