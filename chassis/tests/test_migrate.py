"""The command line of migrations, as jobs and init containers use it: who may do what, and who waits for whom."""

import asyncio
import secrets
import sys

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from chassis import migrate
from devstack.postgres import Postgres
from devstack.testing import ROLE_PASSWORD, administration

SERVICE = "projects"


@pytest.fixture
def owner_url(empty_database: str) -> str:
    return migrate.role_url(empty_database, f"{SERVICE}_owner", ROLE_PASSWORD)


@pytest.fixture
def app_url(empty_database: str) -> str:
    return migrate.role_url(empty_database, f"{SERVICE}_app", ROLE_PASSWORD)


async def begin(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "chassis.migrate", *arguments, SERVICE),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
    )


async def test_replicas_wait_for_the_job_that_knows_only_the_schemas_owner(
    empty_database: str, owner_url: str, app_url: str
) -> None:
    waits = await begin("wait", DATABASE_URL=app_url)
    try:
        assert waits.stdout is not None
        # There is no table yet, and where no test came before, no role.
        assert b"waits for revision" in await waits.stdout.readline()
        await provisioned(empty_database, SERVICE)
        assert waits.returncode is None
        # Two jobs at once go one after the other.
        jobs = [await begin("upgrade", OWNER_DATABASE_URL=owner_url) for _ in range(2)]
        assert [await job.wait() for job in jobs] == [0, 0]
        assert await asyncio.wait_for(waits.wait(), 30) == 0
    finally:
        if waits.returncode is None:
            waits.kill()


async def provisioned(database: str, *services: str) -> None:
    for service in services:
        await asyncio.to_thread(migrate.provision, database, service, ROLE_PASSWORD, ROLE_PASSWORD)


async def test_databases_of_one_server_are_provisioned_at_once(postgres: Postgres) -> None:
    names = [f"provisioned_{secrets.token_hex(6)}" for _ in range(4)]
    async with administration(postgres) as admin:
        for name in names:
            await admin.execute(f"create database {name}")
        try:
            await asyncio.gather(*(provisioned(postgres.url(name), SERVICE) for name in names))
        finally:
            for name in names:
                await admin.execute(f"drop database {name} with (force)")


async def test_an_earlier_schema_is_waited_for_and_a_later_one_is_not(
    empty_database: str, owner_url: str, app_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "LOOK_SECONDS", 0.01)
    await provisioned(empty_database, SERVICE)
    await asyncio.to_thread(migrate.upgrade, owner_url, SERVICE)
    owner = await asyncpg.connect(owner_url)
    try:
        await owner.execute(f"delete from {SERVICE}.alembic_version")
        waiting = asyncio.create_task(asyncio.to_thread(migrate.wait, app_url, SERVICE))
        done, _ = await asyncio.wait([waiting], timeout=0.5)
        assert not done, "a schema that was taken down again is no migrated one"
        # What rolling back meets: the schema of the release after this one.
        await owner.execute(f"insert into {SERVICE}.alembic_version values ('9999')")
        await asyncio.wait_for(waiting, 30)
    finally:
        await owner.close()


async def test_a_migration_that_gets_no_lock_gives_up_and_begins_again_later(
    empty_database: str, owner_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", "50ms")
    await provisioned(empty_database, SERVICE)
    await asyncio.to_thread(migrate.upgrade, owner_url, SERVICE, "0001")
    owner = await asyncpg.connect(owner_url)
    try:
        async with owner.transaction():
            await owner.execute("lock table outbox")
            with pytest.raises(DBAPIError, match="lock timeout"):
                await asyncio.to_thread(migrate.downgrade, owner_url, SERVICE, "base")
        await asyncio.to_thread(migrate.downgrade, owner_url, SERVICE, "base")
    finally:
        await owner.close()


async def test_the_owner_of_one_schema_can_not_touch_another(
    empty_database: str, owner_url: str
) -> None:
    await provisioned(empty_database, SERVICE, "crm")
    owner = await asyncpg.connect(owner_url)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await owner.execute("create table crm.intruder ()")
    finally:
        await owner.close()
