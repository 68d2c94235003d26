"""Migrations: roles, schemas and tables, made by people and jobs, never by a serving process.

`python -m chassis.migrate upgrade [service …]` provisions and migrates with the URL of the database's owner in
ADMIN_DATABASE_URL and the roles' passwords in <SERVICE>_OWNER_PASSWORD and <SERVICE>_APP_PASSWORD. A service's owner
role makes its tables; its app role, which the process uses, can only read and write rows. Where a job may know no more
than one service's owner, OWNER_DATABASE_URL is her URL: what was provisioned before is then only migrated.

`python -m chassis.migrate wait crm` returns once the schema, read with the process's own DATABASE_URL, is as new as
this code: new replicas wait for the migration that was begun with them.
"""

import argparse
import asyncio
import importlib.util
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import asyncpg
from alembic import command, context
from alembic.config import Config
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, pool, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from chassis import tables

SERVICES = ("auth", "agents", "crm", "projects")
EXTENSIONS = (
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "earthdistance",
    "pg_trgm",
    "unaccent",
    "pg_stat_statements",
)
# From what likeness on a word is taken for another (pg_trgm): 0.45 forgives a typing error in a word of six letters,
# and does not take two places for one because they begin alike.
WORD_SIMILARITY = 0.45
# A migration that can't get its lock gives up, so that it never queues every request behind itself.
LOCK_TIMEOUT = "5s"
# How often `wait` looks, and how long a server may take to let it in.
LOOK_SECONDS = 0.5
CONNECT_SECONDS = 10.0
# So often provisioning may run into another database's on the same server.
PROVISION_TRIES = 20
_MIGRATION_LOCK = 7_071_867


def provision(admin_url: str, service: str, owner_password: str, app_password: str) -> None:
    """Make the roles, the schema and the extensions of `service`; what exists is brought up to date."""
    asyncio.run(_provision(admin_url, service, owner_password, app_password))


def upgrade(owner_url: str, service: str, revision: str = "head") -> None:
    """Migrate the schema of `service` up to `revision`, as its owner role."""
    command.upgrade(_config(owner_url, service), revision)


def downgrade(owner_url: str, service: str, revision: str) -> None:
    """Migrate the schema of `service` down to `revision`, as its owner role."""
    command.downgrade(_config(owner_url, service), revision)


def role_url(admin_url: str, role: str, password: str) -> str:
    """`admin_url` with another role."""
    url = make_url(admin_url).set(drivername="postgresql", username=role, password=password)
    return url.render_as_string(hide_password=False)


def run_migrations() -> None:
    """What a service's migrations/env.py calls."""
    asyncio.run(_run_migrations(make_url(context.config.attributes["url"])))


def create_platform_tables(op: Operations) -> None:
    """The tables that every service has (chassis.tables), for its first revision."""
    tables.metadata.create_all(op.get_bind())


def drop_platform_tables(op: Operations) -> None:
    """The reverse of `create_platform_tables`."""
    tables.metadata.drop_all(op.get_bind())


async def _run_migrations(url: URL) -> None:
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    engine = create_async_engine(
        url.set(drivername="postgresql+asyncpg", query={}),
        poolclass=pool.NullPool,
        # What the address says behind a `?`, such as sslmode, is asyncpg's to read.
        connect_args={"async_creator_fn": partial(asyncpg.connect, dsn)},
    )
    async with engine.connect() as first, engine.connect() as connection:
        # Two jobs started at once go one after the other, however many transactions each takes.
        await first.execute(text(f"select pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        await connection.run_sync(_migrate)
        await connection.commit()
    await engine.dispose()


def _migrate(connection: Connection) -> None:
    event.listen(connection, "begin", _give_up_soon)
    # What a revision locks is free when it ends, or when it says so: many rows are written in small transactions.
    context.configure(connection=connection, target_metadata=None, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


def _give_up_soon(connection: Connection) -> None:
    connection.exec_driver_sql(f"set local lock_timeout = '{LOCK_TIMEOUT}'")


def _config(url: str, service: str) -> Config:
    spec = importlib.util.find_spec(f"{service}_service")
    if spec is None or spec.origin is None:
        raise SystemExit(f"{service}: no such service; there are {', '.join(SERVICES)}")
    config = Config()
    config.set_main_option("script_location", str(Path(spec.origin).parents[1] / "migrations"))
    config.attributes["url"] = url
    return config


async def _provision(admin_url: str, service: str, owner_password: str, app_password: str) -> None:
    url = make_url(admin_url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(url)
    try:
        # Roles belong to the whole cluster and advisory locks to one database: where two databases are provisioned at
        # once, one may run into the other's change to a role. Then it begins again.
        for left in reversed(range(PROVISION_TRIES)):
            try:
                async with connection.transaction():
                    await _make_schema(connection, service, owner_password, app_password)
                break
            except (asyncpg.UniqueViolationError, asyncpg.InternalServerError):
                if not left:
                    raise
    finally:
        await connection.close()


async def _make_schema(
    connection: "asyncpg.Connection[asyncpg.Record]",
    service: str,
    owner_password: str,
    app_password: str,
) -> None:
    owner, app = f"{service}_owner", f"{service}_app"
    await connection.execute(f"select pg_advisory_xact_lock({_MIGRATION_LOCK})")
    await connection.execute("create schema if not exists extensions")
    for extension in EXTENSIONS:
        await connection.execute(f"create extension if not exists {extension} schema extensions")
    # Loads pg_trgm, so that its setting is known and anybody may make it.
    await connection.execute("select extensions.show_limit()")
    for role, password in ((owner, owner_password), (app, app_password)):
        await _make_role(connection, role, password, service)
    await connection.execute(f"""
        create schema if not exists {service} authorization {owner};
        revoke all on schema public from public;
        grant usage on schema extensions to {owner}, {app};
        grant usage on schema {service} to {app};
        alter default privileges for role {owner} in schema {service}
            grant select, insert, update, delete on tables to {app};
        alter default privileges for role {owner} in schema {service}
            grant usage on sequences to {app};
        """)


async def _make_role(
    connection: "asyncpg.Connection[asyncpg.Record]", role: str, password: str, service: str
) -> None:
    if not await connection.fetchval("select 1 from pg_roles where rolname = $1", role):
        await connection.execute(f"create role {role} login")
    quoted = await connection.fetchval("select quote_literal($1::text)", password)
    await connection.execute(f"alter role {role} password {quoted}")
    await connection.execute(f"alter role {role} set search_path = {service}, extensions")
    await connection.execute(
        f"alter role {role} set pg_trgm.word_similarity_threshold = {WORD_SIMILARITY}"
    )
    await connection.execute(f"grant {role} to current_user")


def wait(app_url: str, service: str) -> None:
    """Return once the schema of `service` has the last revision that this code knows, or a later one."""
    asyncio.run(_wait(app_url, ScriptDirectory.from_config(_config(app_url, service)), service))


async def _wait(url: str, scripts: ScriptDirectory, service: str) -> None:
    head, said = scripts.get_current_head(), ""
    known = {script.revision for script in scripts.walk_revisions()}
    while True:
        try:
            found = await _revision(url)
            # A revision that this code does not have was made by later code, which went before.
            if found is not None and (found == head or found not in known):
                return
            seen = f"the schema is at {found or 'none'}"
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            seen = f"{type(error).__name__}: {error}"
        if seen != said:
            said = seen
            sys.stdout.write(f"{service}: waits for revision {head}; {seen}\n")
            sys.stdout.flush()
        await asyncio.sleep(LOOK_SECONDS)


async def _revision(url: str) -> str | None:
    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    try:
        found = await connection.fetchval("select version_num from alembic_version")
    finally:
        await connection.close()
    return cast("str | None", found)


def _environment(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise SystemExit(f"{name}: is not set")
    return value


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m chassis.migrate")
    parser.add_argument("command", choices=["provision", "upgrade", "downgrade", "wait"])
    parser.add_argument("services", nargs="*", help=f"default: {' '.join(SERVICES)}")
    parser.add_argument(
        "--revision", default="head", help="how far (downgrade: which, such as -1 or base)"
    )
    options = parser.parse_args(arguments)
    for service in options.services or SERVICES:
        _run(options.command, service, options.revision)
        sys.stdout.write(f"{service}: {options.command} done\n")


def _run(command: str, service: str, revision: str) -> None:
    if command == "wait":
        wait(_environment("DATABASE_URL"), service)
        return
    owner_url = "" if command == "provision" else os.environ.get("OWNER_DATABASE_URL", "")
    if not owner_url:
        admin_url = _environment("ADMIN_DATABASE_URL")
        owner_password = _environment(f"{service.upper()}_OWNER_PASSWORD")
        owner_url = role_url(admin_url, f"{service}_owner", owner_password)
        if command != "downgrade":
            app_password = _environment(f"{service.upper()}_APP_PASSWORD")
            provision(admin_url, service, owner_password, app_password)
    if command == "upgrade":
        upgrade(owner_url, service, revision)
    elif command == "downgrade":
        downgrade(owner_url, service, revision)


if __name__ == "__main__":
    main()
