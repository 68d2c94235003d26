"""Migrations: they make what the models say, and go back to nothing."""

import asyncio
from typing import Any

import asyncpg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from chassis import migrate, tables
from crm_service.activities import models as _activities  # noqa: F401  Known by being imported.
from crm_service.leads import models as _leads  # noqa: F401
from crm_service.metadata import metadata
from crm_service.notices import models as _notices  # noqa: F401
from devstack.testing import ROLE_PASSWORD


def differences(connection: Connection) -> list[Any]:
    everything = MetaData()
    for known in (tables.metadata, metadata):
        for table in known.tables.values():
            table.to_metadata(everything)
    options = {
        "include_name": lambda name, kind, _parents: (kind, name) != ("table", "alembic_version")
    }
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), everything))


async def test_migrations_make_what_the_models_say_and_go_back(empty_database: str) -> None:
    await asyncio.to_thread(migrate.provision, empty_database, "crm", ROLE_PASSWORD, ROLE_PASSWORD)
    owner = migrate.role_url(empty_database, "crm_owner", ROLE_PASSWORD)
    await asyncio.to_thread(migrate.upgrade, owner, "crm")
    engine = create_async_engine(make_url(owner).set(drivername="postgresql+asyncpg"))
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()
    await asyncio.to_thread(migrate.downgrade, owner, "crm", "base")
    server = await asyncpg.connect(owner)
    left = await server.fetch("select tablename from pg_tables where schemaname = 'crm'")
    await server.close()
    assert [row["tablename"] for row in left] == ["alembic_version"]
