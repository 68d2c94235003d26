"""The database a platform runs on: reached, made if it is ours, provisioned and migrated."""

import asyncio
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

import asyncpg

from chassis import migrate
from devstack.platform import role_url
from devstack.process import Problem

NAME = "propmubi"
OLDEST = 16


def reach(url: str, named: str = "DATABASE_URL") -> None:
    """A Problem unless the server answers and is new enough; never quotes the password."""
    asyncio.run(_reach(url, named))


async def _reach(url: str, named: str) -> None:
    parts = urlsplit(url)
    where = f"{parts.hostname}:{parts.port or 5432}{parts.path}"
    try:
        connection = await asyncpg.connect(url, timeout=5)
    except (
        OSError,
        TimeoutError,
        ValueError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
    ) as error:
        raise Problem(
            f"{named}: no PostgreSQL at {where} lets us in: {str(error) or 'no answer in 5 s'}"
        ) from error
    try:
        if (major := connection.get_server_version().major) < OLDEST:
            raise Problem(f"{named}: PostgreSQL {OLDEST} or newer is needed, {where} is {major}.")
    finally:
        await connection.close()


def ensure_exists(server_url: str) -> None:
    asyncio.run(_ensure_exists(server_url))


async def _ensure_exists(server_url: str) -> None:
    connection = await asyncpg.connect(server_url)
    try:
        if not await connection.fetchval("select true from pg_database where datname = $1", NAME):
            await connection.execute(f"create database {NAME}")
    finally:
        await connection.close()


def bring_up_to_date(
    admin_url: str, secrets: Mapping[str, str], services: Iterable[str], down_to: str | None = None
) -> None:
    """Roles, schema and extensions of each service, then its migrations, forward to the last or back to `down_to`."""
    for service in services:
        owner, app = f"{service}_owner", f"{service}_app"
        passwords = (secrets[f"{role.upper()}_PASSWORD"] for role in (owner, app))
        migrate.provision(admin_url, service, *passwords)
        owner_url = role_url(admin_url, owner, secrets)
        if down_to is None:
            migrate.upgrade(owner_url, service)
        else:
            migrate.downgrade(owner_url, service, down_to)
