"""Migrations: they make what the models say, and go back to nothing."""

import asyncio
from typing import Any

import asyncpg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from auth_service import allowances, audit, guesses
from auth_service.consents.models import consents
from auth_service.metadata import metadata
from auth_service.otp.models import otp_challenges, otp_days
from auth_service.passwords.models import passwords
from auth_service.sessions.models import refresh_tokens, sessions
from auth_service.signing_keys.models import signing_keys
from auth_service.users.models import former_phones, role_grants, users
from chassis import migrate, tables
from devstack.testing import ROLE_PASSWORD

TABLES = [
    allowances.allowances,
    audit.audit_events,
    consents,
    former_phones,
    guesses.failures_in_a_row,
    otp_challenges,
    otp_days,
    passwords,
    refresh_tokens,
    role_grants,
    sessions,
    signing_keys,
    users,
]


def test_the_metadata_knows_every_table() -> None:
    assert set(metadata.tables.values()) == set(TABLES)


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
    await asyncio.to_thread(migrate.provision, empty_database, "auth", ROLE_PASSWORD, ROLE_PASSWORD)
    owner = migrate.role_url(empty_database, "auth_owner", ROLE_PASSWORD)
    await asyncio.to_thread(migrate.upgrade, owner, "auth")
    engine = create_async_engine(make_url(owner).set(drivername="postgresql+asyncpg"))
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()
    await asyncio.to_thread(migrate.downgrade, owner, "auth", "base")
    server = await asyncpg.connect(owner)
    left = await server.fetch("select tablename from pg_tables where schemaname = 'auth'")
    await server.close()
    assert [row["tablename"] for row in left] == ["alembic_version"]
