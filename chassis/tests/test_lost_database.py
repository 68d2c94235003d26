"""A database that goes away: everybody is told so by one error, and the next connection is made without a restart."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
import pytest
from sqlalchemy import literal, select, text

from chassis import migrate
from chassis.database import Database, open_database
from chassis.errors import Unavailable
from chassis.lease import Lease
from chassis.settings import ServiceSettings
from devstack.postgres import Postgres
from devstack.process import free_port
from devstack.testing import ServiceDatabase
from devstack.testing_service import SECRET

ONE = select(literal(1).label("one"))
T = TypeVar("T")


def settings(url: str) -> ServiceSettings:
    return ServiceSettings(
        environment="development",
        redis_url="redis://127.0.0.1",
        metrics_port=0,
        grpc_port=0,
        database_url=url,
        service_id="projects",
        service_secret=SECRET,
        cursor_key=SECRET,
    )


async def end_connections(postgres: Postgres, database: Database) -> None:
    server = await asyncpg.connect(postgres.url())
    await server.fetch(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1",
        database.engine.url.database,
    )
    await server.close()


async def tried_again(work: Callable[[], Awaitable[T]]) -> T:
    """What `work` returns; whoever meets a connection between Postgres's goodbye and its end is told to try again."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await work()
            except Unavailable:
                await asyncio.sleep(0.01)


async def test_a_lease_or_transaction_on_a_lost_connection_may_be_tried_again(
    postgres: Postgres, service_database: ServiceDatabase
) -> None:
    async with open_database(settings(await service_database("projects"))) as database:
        lease = Lease(database, "test")
        assert await lease.take()
        await end_connections(postgres, database)
        assert await tried_again(
            lease.take
        )  # The pool has met the end of the connection that lay idle.

        async def interrupted() -> None:
            async with database.transaction() as tx:
                await tx.execute(text("select 1"))
                await end_connections(postgres, database)
                await tx.execute(text("select 1"))

        with pytest.raises(Unavailable):
            await interrupted()

        async def undisturbed() -> None:
            async with database.transaction() as tx:
                await tx.execute(text("select 1"))

        await tried_again(undisturbed)


async def test_reads_pass_over_connections_that_died_in_the_pool(
    postgres: Postgres, service_database: ServiceDatabase
) -> None:
    async with open_database(settings(await service_database("projects"))) as database:
        assert (await database.fetch(ONE))[0]["one"] == 1
        await end_connections(postgres, database)
        assert (await tried_again(lambda: database.fetch(ONE)))[0]["one"] == 1


async def test_no_database_at_all_is_the_same_error() -> None:
    url = f"postgresql://nobody:nothing@127.0.0.1:{free_port()}/none"
    async with open_database(settings(url)) as database:
        with pytest.raises(Unavailable):
            await database.fetch(ONE)
        with pytest.raises(Unavailable):
            await Lease(database, "test").take()
        with pytest.raises(Unavailable):
            async with database.transaction():
                pass


async def test_a_server_without_tls_is_refused_where_the_address_asks_for_it(
    service_database: ServiceDatabase,
) -> None:
    """The tests' server speaks none. By what was before, nothing but the environment could ask for it."""
    url = await service_database("projects")
    async with open_database(settings(f"{url}?sslmode=disable")) as database:
        assert await database.fetch(ONE)
    strict = f"{url}?sslmode=require"
    async with open_database(settings(strict)) as database:
        with pytest.raises(Unavailable):
            await database.fetch(ONE)
        with pytest.raises(Unavailable):
            async with database.transaction() as tx:
                await tx.execute(ONE)
    with pytest.raises(ConnectionError):
        await asyncio.to_thread(migrate.upgrade, strict, "projects")
