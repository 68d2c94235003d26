"""`make drill-restore`: Postgres goes back to a moment before now, as in docs/operations.md, and the platform goes on.

While enquiries come in a base backup is taken and WAL is archived; a moment is noted, more come in, and then Postgres
and Valkey are lost. What was acknowledged before the moment must be there, once, what came after it must not, every
event must be published, and another journey must pass.
"""

import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from devstack import secretfile
from devstack.platform import SERVICES, Platform
from devstack.postgres import Postgres, hand_over, home_in, runnable_programs, unprivileged
from devstack.process import await_ready, spawn, stop
from devstack.testing_platform import RunningPlatform, running
from devstack.testing_town import Town, founded

ENQUIRIES_PER_SECOND = 20.0
SECONDS = 3.0
PATIENCE_SECONDS = 60.0


class Failure(Exception):
    """The platform is not what it was at that moment."""


class Enquiries:
    """Somebody enquires again and again; what was acknowledged is remembered."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._http = httpx.Client(base_url=town.platform.url, timeout=20.0)
        self._stopping = threading.Event()
        self.leads: list[str] = []

    @contextmanager
    def coming_in(self) -> Iterator[None]:
        self._stopping.clear()
        caller = threading.Thread(target=self._call)
        caller.start()
        try:
            yield
        finally:
            self._stopping.set()
            caller.join()

    def _call(self) -> None:
        while not self._stopping.wait(1 / ENQUIRIES_PER_SECOND):
            answer = self._http.post("/v1/enquiries", json=self._town.enquiry())
            self.leads.append(answer.raise_for_status().json()["id"])


def sql(platform: RunningPlatform, query: str, *arguments: Any) -> Any:
    """The one value that `query` finds, asked as superuser."""

    async def ask() -> Any:
        secrets = secretfile.read(platform.var / "secrets.env")
        connection = await asyncpg.connect(Platform(platform.environment).admin_url(secrets))
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    return asyncio.run(ask())


@contextmanager
def archived(platform: RunningPlatform, folder: Path) -> Iterator[None]:
    """WAL is copied into `folder` as it is written, by pg_receivewal; at the end all of it is there."""
    account = unprivileged()
    command: list[str | Path] = [runnable_programs(account) / "pg_receivewal"]
    command += ["--directory", folder, "--dbname", server(platform)]
    log = platform.log("pg_receivewal")
    process = spawn(command, log=log, account=account)
    try:
        await_ready(process, lambda: any(folder.iterdir()), name="pg_receivewal", log=log)
        yield
        last = sql(platform, "select pg_walfile_name(pg_switch_wal())")
        await_ready(process, (folder / last).exists, name="the last segment", log=log)
    finally:
        stop(process, signal.SIGINT)


def server(platform: RunningPlatform) -> str:
    """The server's address as superuser, without a database."""
    secrets = secretfile.read(platform.var / "secrets.env")
    return Platform(platform.environment).admin_url(secrets).rpartition("/")[0]


def back_up(platform: RunningPlatform, folder: Path) -> None:
    """pg_basebackup of the running server, checked by pg_verifybackup."""
    account = unprivileged()
    programs = runnable_programs(account)
    secrets = secretfile.read(platform.var / "secrets.env")
    address = Platform(platform.environment).admin_url(secrets).rpartition("/")[0]
    base = [
        programs / "pg_basebackup",
        "--pgdata",
        folder,
        "--checkpoint=fast",
        "--dbname",
        address,
    ]
    for command in (base, [programs / "pg_verifybackup", "--no-parse-wal", folder]):
        subprocess.run(command, check=True, capture_output=True, cwd="/", **account)  # type: ignore[call-overload]  # account: user, group


def restore(platform: RunningPlatform, base: Path, segments: Path, moment: str) -> None:
    """The base backup in place of what was lost, and where Postgres finds the rest, up to `moment`."""
    data = home_in(platform.var) / "data"
    shutil.rmtree(data)
    shutil.rmtree(platform.var / "valkey")
    base.rename(data)
    (data / "recovery.signal").touch()
    hand_over(data / "recovery.signal")
    with (data / "postgresql.auto.conf").open("a") as file:
        file.write(
            f"restore_command = 'cp {segments}/%f %p'\nrecovery_target_time = '{moment}'\n"
            "recovery_target_action = promote\n"
        )
    with postgres_alone(platform):
        # It answers while it recovers, but takes nothing: no migration, no process may start before.
        while sql(platform, "select pg_is_in_recovery()"):
            time.sleep(0.1)


@contextmanager
def postgres_alone(platform: RunningPlatform) -> Iterator[None]:
    """A stopped platform's Postgres, and nothing else."""
    secrets = secretfile.read(platform.var / "secrets.env")
    postgres = Postgres(
        home_in(platform.var),
        platform.log("postgres"),
        Platform(platform.environment).postgres_port,
        secrets["POSTGRES_PASSWORD"],
    )
    postgres.start()
    try:
        yield
    finally:
        postgres.stop()


def go_on(platform: RunningPlatform, before: list[str], after: list[str]) -> None:
    """Start the restored platform: it must hold the leads `before`, none of those `after`, and work."""
    with timed("all processes ready"):
        platform.start()
    check(platform, before, after)
    print(
        f"all {len(before)} enquiries acknowledged before are there, none of the {len(after)} after;"
        " every event is published"
    )
    with timed("another journey"), founded(platform):
        pass


def check(platform: RunningPlatform, before: list[str], after: list[str]) -> None:
    found = "select count(*) from crm.leads where id = any($1::uuid[])"
    there, gone = sql(platform, found, before), sql(platform, found, after)
    if there != len(before) or gone != 0:
        raise Failure(f"{there} of {len(before)} enquiries are there, and {gone} of {len(after)}")
    give_up = time.monotonic() + PATIENCE_SECONDS
    waiting = " + ".join(
        f"(select count(*) from {name}.outbox where published_at is null)"  # noqa: S608 -- our own names
        f" + (select count(*) from {name}.dead_letter)"
        for name in SERVICES
    )
    while number := sql(platform, f"select {waiting}"):
        if time.monotonic() > give_up:
            raise Failure(f"{number} events are not published, or set aside")
        time.sleep(0.1)  # Nothing tells us when another process is done.


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"{what:<62}{time.monotonic() - began:6.1f} s", flush=True)


def drill(platform: RunningPlatform, folder: Path) -> None:
    base, segments = folder / "base", folder / "segments"
    segments.mkdir(mode=0o700)
    hand_over(segments)
    with founded(platform) as town, archived(platform, segments):
        enquiries = Enquiries(town)
        with enquiries.coming_in():
            with timed("pg_basebackup and pg_verifybackup, while enquiries come in"):
                back_up(platform, base)
            time.sleep(SECONDS)  # Some that are in WAL alone.
        moment = sql(platform, "select clock_timestamp()::text")
        before = list(enquiries.leads)
        with enquiries.coming_in():
            time.sleep(SECONDS)  # Some that must be gone.
        after = enquiries.leads[len(before) :]
    platform.stop(signal.SIGTERM)
    size = sum(file.stat().st_size for file in base.rglob("*") if file.is_file())
    print(f"base backup {size / 1e6:.0f} MB, {len(list(segments.iterdir()))} segments of WAL")
    with timed("restored and recovered to the moment"):
        restore(platform, base, segments, moment)
    go_on(platform, before, after)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="propmubi-restore-", dir="/var/tmp") as name:
        hand_over(Path(name))
        with running() as platform:
            drill(platform, Path(name))


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"✗ {failure}")
