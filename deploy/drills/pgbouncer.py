"""`make drill-pgbouncer`: the platform behind PgBouncer in transaction mode, with pgbouncer.ini beside this.

The journey, then many more callers at once than there are connections to Postgres. A call that fails fails the drill.
"""

import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from chassis import migrate
from devstack import databases
from devstack.platform import SERVICES
from devstack.postgres import Postgres, hand_over, runnable_programs, unprivileged
from devstack.process import await_ready, free_port, port_is_free, spawn, stop
from devstack.testing_platform import running
from devstack.testing_town import Town, founded

SETTINGS = Path(__file__).with_suffix(".ini")
PASSWORD = "drill"  # noqa: S105 -- of servers that live for a minute
AT_ONCE = 64
REQUESTS = 3_000


@contextmanager
def pooled(folder: Path) -> Iterator[tuple[str, int]]:
    """A Postgres with our roles behind a PgBouncer: its database's address as superuser, and PgBouncer's port."""
    postgres = Postgres(folder / "postgres", folder / "postgres.log", free_port(), PASSWORD)
    postgres.start()
    try:
        databases.ensure_exists(postgres.url())
        for service in SERVICES:  # With passwords that the platform replaces by its own.
            migrate.provision(postgres.url(databases.NAME), service, PASSWORD, PASSWORD)
        asyncio.run(prepare_roles(postgres.url(databases.NAME)))
        port = free_port()
        users, settings = folder / "users", folder / "pgbouncer.ini"
        users.write_text(f'"postgres" "{PASSWORD}"\n')
        settings.write_text(
            f"[databases]\n{databases.NAME} = host=127.0.0.1 port={postgres.port}\n"
            + SETTINGS.read_text()
            + f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_file = {users}\nadmin_users = postgres\n"
        )
        for file in (users, settings):
            file.chmod(0o600)
            hand_over(file)
        log = folder / "pgbouncer.log"
        process = spawn(["pgbouncer", settings], log=log, account=unprivileged())
        try:
            await_ready(process, lambda: not port_is_free(port), name="PgBouncer", log=log)
            yield f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/{databases.NAME}", port
        finally:
            stop(process, signal.SIGINT)
    finally:
        postgres.stop()


async def prepare_roles(url: str) -> None:
    """What docs/operations.md has the operator do: give the roles what PgBouncer ignores."""
    connection = await asyncpg.connect(url)
    for service in SERVICES:
        for setting in (
            "statement_timeout = '15s'",
            "plan_cache_mode = 'force_generic_plan'",
            "jit = off",
        ):
            await connection.execute(f"alter role {service}_app set {setting}")
    await connection.close()


async def crowd(town: Town) -> Counter[int]:
    """The statuses of REQUESTS requests, reads and writes of three services, AT_ONCE at a time."""
    statuses: Counter[int] = Counter()
    async with town.client(AT_ONCE) as http:

        async def ask(number: int) -> None:
            match number % 4:
                case 0:
                    answer = await http.post("/v1/enquiries", json=town.enquiry())
                case 1:
                    answer = await http.get("/v1/leads", headers=town.asha.headers)
                case 2:
                    answer = await http.get("/v1/projects")
                case _:
                    answer = await http.get("/v1/listings", params={"q": town.locality})
            statuses[answer.status_code] += 1

        numbers = iter(range(REQUESTS))

        async def caller() -> None:
            for number in numbers:
                await ask(number)

        await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    return statuses


def pools(port: int) -> Counter[str]:
    """PgBouncer's connections of the services' roles: those of clients, and those to Postgres."""
    psql = runnable_programs(unprivileged()) / "psql"
    address = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/pgbouncer"
    # Its console knows the simple protocol alone, which asyncpg does not speak.
    found: Counter[str] = Counter()
    for what in ("servers", "clients"):
        told = subprocess.run(
            [psql, address, "--no-align", "--tuples-only", "--command", f"show {what}"],
            check=True,
            capture_output=True,
            text=True,
        )
        found[what] = sum("_app|" in line for line in told.stdout.splitlines())
    return found


def main() -> int:
    if shutil.which("pgbouncer") is None:
        print("make drill-pgbouncer needs pgbouncer (Debian: apt-get install pgbouncer).")
        return 1
    with tempfile.TemporaryDirectory(prefix="propmubi-pgbouncer-", dir="/var/tmp") as name:
        folder = Path(name)
        hand_over(folder)
        with (
            pooled(folder) as (url, port),
            running(DATABASE_URL=url, DATABASE_STATEMENT_CACHE_SIZE="0") as platform,
            founded(platform) as town,
        ):
            print(
                "the journey, from sign-in to a booked flat, through PgBouncer in transaction mode"
            )
            statuses = asyncio.run(crowd(town))
            found = pools(port)
    print(
        f"{statuses.total()} requests, {AT_ONCE} at a time, by {found['clients']} connections of the services on"
        f" {found['servers']} to Postgres: {dict(statuses)}"
    )
    return sum(count for status, count in statuses.items() if status >= 400)


if __name__ == "__main__":
    sys.exit(main() != 0)
