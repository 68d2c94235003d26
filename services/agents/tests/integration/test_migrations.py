"""Migrations: they go back to nothing."""

import asyncio

import asyncpg

from chassis import migrate
from devstack.testing import ROLE_PASSWORD


async def test_migrations_go_back(empty_database: str) -> None:
    await asyncio.to_thread(
        migrate.provision, empty_database, "agents", ROLE_PASSWORD, ROLE_PASSWORD
    )
    owner = migrate.role_url(empty_database, "agents_owner", ROLE_PASSWORD)
    await asyncio.to_thread(migrate.upgrade, owner, "agents")
    await asyncio.to_thread(migrate.downgrade, owner, "agents", "base")
    server = await asyncpg.connect(owner)
    left = await server.fetch("select tablename from pg_tables where schemaname = 'agents'")
    await server.close()
    assert [row["tablename"] for row in left] == ["alembic_version"]
