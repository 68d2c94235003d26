"""What tests of migrations share: where they begin, and how what they made differs from what the models say."""

import asyncio
from typing import Any

import asyncpg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from chassis import migrate, tables
from devstack.testing import ROLE_PASSWORD


async def provisioned(empty_database: str, service: str) -> str:
    """URL by which the owner of `service`'s schema reaches that database, to make her tables."""
    await asyncio.to_thread(
        migrate.provision, empty_database, service, ROLE_PASSWORD, ROLE_PASSWORD
    )
    return migrate.role_url(empty_database, f"{service}_owner", ROLE_PASSWORD)


async def differences(owner: str, metadata: MetaData) -> list[Any]:
    """What Alembic would change in the owner's schema to have the tables of `metadata` and the platform's."""
    everything = MetaData()
    for known in (tables.metadata, metadata):
        for table in known.tables.values():
            table.to_metadata(everything)
    options = {
        "include_name": lambda name, kind, _parents: (kind, name) != ("table", "alembic_version")
    }

    def compared(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, everything))

    engine = create_async_engine(make_url(owner).set(drivername="postgresql+asyncpg"))
    async with engine.connect() as connection:
        found = await connection.run_sync(compared)
    await engine.dispose()
    return found


async def tables_left(owner: str, service: str) -> list[str]:
    """The tables in the schema of `service`."""
    server = await asyncpg.connect(owner)
    left = await server.fetch("select tablename from pg_tables where schemaname = $1", service)
    await server.close()
    return [row["tablename"] for row in left]
