"""The pytest plugin: a real Postgres and a real Valkey for every test that asks, empty and shared with no other.

One PostgreSQL serves a test run (all its xdist workers), on a free port, in a temporary folder, without fsync; it
starts when the first test asks and stops when the run ends, whatever ends it. Each worker has a Valkey of its own.

Fixtures
    free_port()                   a port to listen on
    postgres                      the run's server: `.url(database)` as superuser
    empty_database                URL (superuser) of a new, empty database, dropped after the test
    await service_database(name)  URL of service `name`'s own role on this worker's migrated database, emptied when a
                                  test first asks; asked again in the test, it is as the test left it
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
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
ROLE_PASSWORD = "only-for-tests-on-a-throw-away-server"  # noqa: S105

# A clone copies 400 files, TRUNCATE makes one for each index; deleting what a test wrote costs a hundredth of either,
# unless that was much, or much was deleted before.
EMPTY = """
do $$
declare
    named record;
begin
    perform pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid();
    set session_replication_role = replica;  -- No trigger, append-only or foreign key, is in the way.
    for named in select oid::regclass as name, pg_relation_size(oid) as size from pg_class
        where relkind = 'r' and relnamespace = '{service}'::regnamespace and relname <> 'alembic_version'
    loop
        if named.size > 1024 * 1024 then
            execute 'truncate ' || named.name || ' cascade';
        elsif named.size > 0 then
            execute 'delete from ' || named.name;
        end if;
    end loop;
    perform setval(seqrelid, seqstart, false) from pg_sequence;
end $$
"""

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
        # It outlives this worker and ends with the run: no warning that it still runs.
        started.returncode = 0


@asynccontextmanager
async def administration(
    postgres: Postgres, database: str = "postgres"
) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres.url(database))
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


@pytest.fixture
def service_database(postgres: Postgres, pytestconfig: pytest.Config) -> ServiceDatabase:
    asked: set[str] = set()

    async def prepared(service: str) -> str:
        name = f"{service}_{WORKER}"
        if service not in asked:
            asked.add(service)
            try:
                async with administration(postgres, name) as admin:
                    await admin.execute(EMPTY.format(service=service))
            except asyncpg.InvalidCatalogNameError:  # This worker has none yet.
                async with administration(postgres) as admin:
                    await ensure_template(admin, postgres, service, pytestconfig.stash[FOLDER])
                    # Its files are copied, for a tenth of the price of writing each page to the log.
                    await admin.execute(
                        f"create database {name} template template_{service} strategy file_copy"
                    )
        return role_url(postgres, f"{service}_app", name)

    return prepared


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
    folder = pytestconfig.stash[FOLDER]
    server = Valkey(
        folder / f"valkey-{WORKER}",
        folder / f"valkey-{WORKER}.log",
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
