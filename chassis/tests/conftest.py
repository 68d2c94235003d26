"""A service's schema with one more table, `effect`, in which a test's handlers note what they applied."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from redis.asyncio import Redis
from sqlalchemy import text

from chassis import logs
from chassis.context import Call, IdempotencyKey, enter
from chassis.database import Database, open_database
from chassis.redis import open_redis, stream_of
from chassis.relay import Relay
from chassis.settings import ServiceSettings
from devstack.postgres import Postgres
from devstack.testing import ServiceDatabase
from devstack.testing_service import SECRET
from propmubi.agents.v1.events_pb2 import AgentVerified
from propmubi.common.v1.event_pb2 import Event


@dataclass
class Bench:
    """A database and a Redis, and a way to more replicas on the same."""

    settings: ServiceSettings
    database: Database
    redis: Redis
    exits: AsyncExitStack
    superuser_url: str

    async def replica(self) -> Database:
        return await self.exits.enter_async_context(open_database(self.settings))

    @asynccontextmanager
    async def superuser(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self.superuser_url)
        try:
            yield connection
        finally:
            await connection.close()

    async def end_connections(self) -> None:
        """What a restart of Postgres does to those who are connected."""
        others = "datname = current_database() and pid <> pg_backend_pid()"
        async with self.superuser() as server:
            await server.fetch(
                f"select pg_terminate_backend(pid, 5000) from pg_stat_activity where {others}"
            )

    async def rows(self, query: str, **parameters: Any) -> list[Any]:
        async with self.database.transaction() as tx:
            return list((await tx.execute(text(query), parameters)).all())

    async def publish(self, aggregate_id: uuid.UUID, *names: str) -> None:
        async with self.database.transaction() as tx:
            for name in names:
                tx.publish(AgentVerified(agent_id=str(aggregate_id), user_id=name), aggregate_id)

    def relay(self, database: Database | None = None, **options: Any) -> Relay:
        return Relay(database or self.database, self.redis, "agents", **options)

    async def relay_once(self, relay: Relay) -> None:
        """One round of a relay that holds the lease."""
        assert await relay._lease.take()
        await relay.publish_batch()

    async def streamed(self, aggregate_id: uuid.UUID | None = None) -> list[Event]:
        """What the stream holds, of one aggregate or of all."""
        entries: Any = await self.redis.xrange(stream_of("agents"))
        events = [Event.FromString(fields[b"event"]) for _, fields in entries]
        return [
            one for one in events if aggregate_id is None or one.aggregate_id == str(aggregate_id)
        ]

    async def effects(self, aggregate_id: uuid.UUID) -> list[str]:
        """What was applied to an aggregate, in the order of the commits."""
        rows = await self.rows(
            "select name from effect where aggregate_id = :id order by position", id=aggregate_id
        )
        return [row.name for row in rows]


@pytest_asyncio.fixture
async def bench(
    service_database: ServiceDatabase, redis_url: str, postgres: Postgres
) -> AsyncIterator[Bench]:
    settings = ServiceSettings(
        environment="development",
        redis_url=redis_url,
        metrics_port=0,
        grpc_port=0,
        grpc_host="127.0.0.1",
        database_url=await service_database("agents"),
        database_pool_size=8,
        service_id="agents",
        service_secret=SECRET,
        cursor_key=SECRET,
    )
    logs.configure(settings, "agents")
    async with AsyncExitStack() as exits:
        database = await exits.enter_async_context(open_database(settings))
        redis = await exits.enter_async_context(open_redis(settings))
        superuser_url = postgres.url(str(database.engine.url.database))
        bench = Bench(settings, database, redis, exits, superuser_url)
        async with bench.superuser() as server:
            await server.execute("""
                create table if not exists agents.effect (
                    position bigint generated always as identity, aggregate_id uuid, name text
                );
                grant select, insert on agents.effect to agents_app;
                """)
        yield bench


Until = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture
def until() -> Until:
    """Waits for a condition."""

    async def wait(condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(20):
            while not await condition():  # noqa: ASYNC110 -- A row or a stream tells no Event.
                await asyncio.sleep(0.02)

    return wait


Answering = Callable[..., Call]


@pytest.fixture
def answering() -> Answering:
    """Makes a call with an Idempotency-Key the current one of the task that asks."""

    def make(key: str, body: bytes = b"body", **fields: Any) -> Call:
        deadline = asyncio.get_running_loop().time() + 20
        call = Call("/propmubi.test/Do", "correlation-1", deadline, **fields)
        call.idempotency = IdempotencyKey(key, body)
        enter(call)
        return call

    return make
