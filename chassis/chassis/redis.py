"""Redis, or Valkey: streams of events and shared counters. Losing it loses nothing that was committed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from chassis.errors import Unavailable
from chassis.settings import Settings

# What background work meets when Redis or Postgres can't be reached: it waits, and goes on where it was.
AWAY = (RedisError, Unavailable, OSError)

# Longer than any blocking read asks for.
SOCKET_TIMEOUT_SECONDS = 5.0
BLOCK_MILLISECONDS = 1_000


@asynccontextmanager
async def open_redis(settings: Settings) -> AsyncIterator[Redis]:
    """A client with a pool of its own; it connects when first used."""
    client: Redis = Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=SOCKET_TIMEOUT_SECONDS,
        socket_connect_timeout=1.0,
        retry=Retry(NoBackoff(), 1),
        health_check_interval=30,
    )
    try:
        yield client
    finally:
        await client.aclose()


def stream_of(service: str) -> str:
    """The stream that carries the events of `service`."""
    return f"propmubi:{service}:events"


def marker_of(service: str) -> str:
    """The key whose absence tells that the stream was lost."""
    return f"propmubi:{service}:marker"
