"""The pytest plugin: a real Postgres and a real Valkey for every test that asks, shared with nobody else.

One PostgreSQL serves a test run (all its xdist workers), on a free port, in a temporary folder, without fsync; it
starts when the first test asks and stops when the run ends, whatever ends it. Each worker has a Valkey of its own.

Fixtures
    free_port()                   a port to listen on
    postgres                      the run's server: `.url(database)` as superuser
    empty_database                URL (superuser) of a new, empty database, dropped after the test
    await service_database(name)  URL of service `name`'s own role on a database of this test alone, cloned from a
                                  migrated template; asked twice in a test, it is the same database
    redis_url                     URL of this worker's Valkey, emptied before the test
    valkey                        that Valkey itself, to stop and start it: `devstack.valkey.Valkey`
"""

import asyncio
import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import asyncpg
import pytest
import pytest_asyncio

from devstack import guardian, process
from devstack.postgres import Postgres, hand_over
from devstack.process import await_ready
from devstack.valkey import Valkey, ask

FOLDER = pytest.StashKey[Path]()
LOCK = pytest.StashKey[IO[str]]()
ROLE_PASSWORD = "only-for-tests-on-a-throw-away-server"  # noqa: S105

ServiceDatabase = Callable[[str], Awaitable[str]]


def pytest_configure(config: pytest.Config) -> None:
    worker: dict[str, str] | None = getattr(config, "workerinput", None)
    if worker is not None:
        config.stash[FOLDER] = Path(worker["propmubi_folder"])
        return
    # As root, PostgreSQL runs as another user, who may not enter a TMPDIR of root's.
    root = os.geteuid() == 0
    folder = Path(tempfile.mkdtemp(prefix="propmubi-test-", dir="/var/tmp" if root else None))
    hand_over(folder)
    config.stash[FOLDER] = folder
    config.stash[LOCK] = (folder / guardian.RUNS).open("w")
    fcntl.flock(config.stash[LOCK], fcntl.LOCK_EX)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    node.workerinput["propmubi_folder"] = str(node.config.stash[FOLDER])  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    if LOCK not in config.stash:
        return
    folder = config.stash[FOLDER]
    config.stash[LOCK].close()
    if (folder / guardian.SERVES).exists():
        with (folder / guardian.SERVES).open() as serves:
            fcntl.flock(serves, fcntl.LOCK_EX)  # Until the server is gone.
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    return process.free_port


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[Postgres]:
    folder = pytestconfig.stash[FOLDER]
    started: subprocess.Popen[bytes] | None = None
    with (folder / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / guardian.SERVER).exists():
            log = folder / "guardian.log"
            with log.open("wb") as output:
                started = subprocess.Popen(
                    [sys.executable, "-m", "devstack.guardian", folder],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            await_ready(
                started, (folder / guardian.SERVER).exists, name="PostgreSQL's guardian", log=log
            )
    where = json.loads((folder / guardian.SERVER).read_text())
    yield Postgres(folder, folder / "postgres.log", where["port"], where["password"], durable=False)
    if started is not None:
        started.returncode = (
            0  # It outlives this worker and ends with the run: no warning that it still runs.
        )


@asynccontextmanager
async def administration(postgres: Postgres) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres.url())
    try:
        yield connection
    finally:
        await connection.close()


@pytest_asyncio.fixture
async def empty_database(postgres: Postgres) -> AsyncIterator[str]:
    name = f"empty_{secrets.token_hex(6)}"
    async with administration(postgres) as admin:
        await admin.execute(f"create database {name}")
        yield postgres.url(name)
        await admin.execute(f"drop database {name} with (force)")


@pytest_asyncio.fixture
async def service_database(
    postgres: Postgres, pytestconfig: pytest.Config
) -> AsyncIterator[ServiceDatabase]:
    clones: dict[str, str] = {}

    async def clone(service: str) -> str:
        if service not in clones:
            name = f"{service}_{secrets.token_hex(6)}"
            async with administration(postgres) as admin:
                await ensure_template(admin, postgres, service, pytestconfig.stash[FOLDER])
                await admin.execute(
                    # Its files are copied, for a third of the price of writing each page to the log.
                    f"create database {name} template template_{service} strategy file_copy"
                )
            clones[service] = name
        return role_url(postgres, f"{service}_app", clones[service])

    yield clone
    if clones:
        async with administration(postgres) as admin:
            for name in clones.values():
                await admin.execute(f"drop database {name} with (force)")


async def ensure_template(
    admin: asyncpg.Connection, postgres: Postgres, service: str, folder: Path
) -> None:
    """Provision and migrate `service` once a run; what is half made has another name, and is no template."""
    template = f"template_{service}"
    if await _exists(admin, template):
        return
    with (folder / "template.lock").open("w") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        if not await _exists(admin, template):
            making = f"making_{service}"
            await admin.execute(f"drop database if exists {making}")
            await admin.execute(f"create database {making}")
            await asyncio.to_thread(_migrate, postgres, service, making)
            await admin.execute(f"alter database {making} rename to {template}")


def _migrate(postgres: Postgres, service: str, database: str) -> None:
    from chassis import migrate

    migrate.provision(postgres.url(database), service, ROLE_PASSWORD, ROLE_PASSWORD)
    migrate.upgrade(role_url(postgres, f"{service}_owner", database), service)


async def _exists(admin: asyncpg.Connection, database: str) -> bool:
    return bool(await admin.fetchval("select true from pg_database where datname = $1", database))


def role_url(postgres: Postgres, role: str, database: str) -> str:
    return f"postgresql://{role}:{ROLE_PASSWORD}@127.0.0.1:{postgres.port}/{database}"


@pytest.fixture(scope="session")
def valkey(pytestconfig: pytest.Config) -> Iterator[Valkey]:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    folder = pytestconfig.stash[FOLDER]
    server = Valkey(
        folder / f"valkey-{worker}",
        folder / f"valkey-{worker}.log",
        process.free_port(),
        durable=False,
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(valkey: Valkey) -> str:
    assert ask("127.0.0.1", valkey.port, "FLUSHALL SYNC") == "+OK\r\n"
    return valkey.url
