"""Starts the platform in order, watches it, and ends it in the opposite order, whatever ends it."""

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from devstack import secretfile
from devstack.platform import PROCESSES, SERVICES, Platform
from devstack.postgres import Postgres, home_in
from devstack.process import Problem, end_leftovers, last_line, port_is_free, spawn, stop
from devstack.valkey import Valkey, ask
from devstack.view import View, last_words

ROOT = Path(__file__).resolve().parents[2]
READY_WITHIN = 60.0
LONGEST_PAUSE = 30.0
STEADY = 60.0  # After so many seconds a process counts as healthy again.


@dataclass
class Child:
    """One of the five processes, and how often it has died of late."""

    name: str
    process: subprocess.Popen[bytes]
    started: float
    deaths: int = 0
    starts_again: float | None = None


class AlreadyRuns(Problem):
    """Another process holds this checkout's platform."""


@contextmanager
def only_one(var: Path) -> Iterator[None]:
    """Hold the checkout's lock, which the kernel frees even after kill -9; a second one is a Problem."""
    var.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (var / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise AlreadyRuns(
                f"The platform of this checkout already runs (process {lock.read().strip()})."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def answers_ready(gateway_port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", gateway_port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


class Supervisor:
    """The platform's life: `start`, then `watch` until a signal, then `stop`."""

    def __init__(self, var: Path, platform: Platform) -> None:
        self.var = var.resolve()
        self.platform = platform
        self.secrets = secretfile.ensure(self.var / "secrets.env")
        outbox = platform.environment.get("SMS_OUTBOX_FILE") or self.var / "sms-outbox.jsonl"
        self.view = View(self.var, Path(outbox))
        self.children: dict[str, Child] = {}
        self.postgres: Postgres | None = None
        self.valkey = Valkey(self.var / "valkey", self.log("valkey"), platform.valkey_port)
        self.redis_url = (
            self.valkey.url if platform.own_redis else platform.environment["REDIS_URL"]
        )

    def log(self, name: str) -> Path:
        return self.var / "log" / f"{name}.log"

    @property
    def admin_url(self) -> str:
        return self.platform.admin_url(self.secrets)

    def start(self) -> None:
        began = time.monotonic()
        self._clear_the_way()
        self.start_valkey()
        self.start_database()
        self.migrate()
        self.load_demo_data()
        self.view.step("Starting the gateway and the four services")
        for name in PROCESSES:
            self.children[name] = self._start_child(name)
        self._await_ready()
        self.view.forget_news()  # Warnings of a start that succeeded, such as waiting for each other's keys.
        self.view.ready(self.platform, time.monotonic() - began)

    def start_database(self) -> None:
        """PostgreSQL with our database in it, or the word that the given one lets us in."""
        from devstack import databases

        if self.platform.own_database:
            self.view.step("Starting PostgreSQL 18")
            password = self.secrets["POSTGRES_PASSWORD"]
            server = Postgres(
                home_in(self.var), self.log("postgres"), self.platform.postgres_port, password
            )
            self.postgres = server
            server.start()
            databases.reach(server.url(), "The data in var/postgres does not fit var/secrets.env")
            databases.ensure_exists(server.url())
        else:
            databases.reach(self.admin_url)

    def start_valkey(self) -> None:
        """Valkey, or the word that the given server answers."""
        if self.platform.own_redis:
            self.view.step("Starting Valkey 9")
            self.valkey.start()
        else:
            where = urlsplit(self.redis_url)
            # One that wants a password is there, too: the processes have it.
            if not ask(where.hostname or "", where.port or 6379, "PING").startswith(
                ("+PONG", "-NOAUTH")
            ):
                raise Problem(
                    f"REDIS_URL: nothing answers at {where.hostname}:{where.port or 6379}."
                )

    def migrate(self) -> None:
        from devstack import databases

        self.view.step("Migrating the four schemas")
        databases.bring_up_to_date(self.admin_url, self.secrets, SERVICES)

    def load_demo_data(self) -> None:
        from devstack import demo_data

        demo_data.load(self.admin_url, self.platform.environment, self.view.console)

    def watch(self) -> None:
        """Until a signal interrupts: show the news, and start again what has died."""
        wake, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.signal(
            signal.SIGCHLD, lambda *_: None
        )  # With the wake-up pipe a child's end is noticed at once.
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        while True:
            self.view.show_news()
            self._revive_servers()
            for child in self.children.values():
                self._revive(child)
            if select.select([wake], [], [], 0.25)[0]:
                os.read(wake, 4096)

    def stop(self) -> None:
        """The gateway first, so that what it has begun is answered; then the services; then what they store in."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if self.children or self.postgres or self.valkey.process:
            self.view.step("Stopping")
        for names in (["gateway"], SERVICES):
            running = [self.children[name].process for name in names if name in self.children]
            for process in running:
                with suppress(ProcessLookupError):
                    process.terminate()
            deadline = time.monotonic() + 3
            for process in running:
                stop(process, signal.SIGTERM, max(0.0, deadline - time.monotonic()))
        self.valkey.stop()
        if self.postgres is not None:
            self.postgres.stop()

    def _clear_the_way(self) -> None:
        run = self.var / "run"
        run.mkdir(parents=True, exist_ok=True)
        end_leftovers(run, signal.SIGTERM)
        end_leftovers((self.var / "postgres" / "data").resolve(), signal.SIGINT)
        end_leftovers(self.valkey.home, signal.SIGTERM)
        owners: dict[int, str] = {}
        for port in self.platform.ports():
            if (owner := owners.setdefault(port.number, port.owner)) is not port.owner:
                raise Problem(
                    f"Port {port.number} is meant for both {owner} and {port.owner}; "
                    f"move one with: make up {port.moved_by}"
                )
            if not port_is_free(port.number):
                raise Problem(
                    f"Port {port.number}, for {port.owner}, is taken; move it with: make up {port.moved_by}"
                )
        for log in (self.var / "log").glob("*.log"):
            log.replace(log.with_suffix(".log.before"))

    def _start_child(self, name: str) -> Child:
        module = "gateway" if name == "gateway" else f"{name}_service"
        told = self.platform.process_environment(
            name,
            secrets=self.secrets,
            database_url=self.admin_url,
            redis_url=self.redis_url,
            var=self.var,
        )
        process = spawn(
            [sys.executable, "-m", module], log=self.log(name), env=told, cwd=self.var / "run"
        )
        self.view.follow(name, self.log(name))
        return Child(name, process, time.monotonic())

    def _await_ready(self) -> None:
        """Every service SERVING by gRPC health, and the gateway's /readyz; a process that ends first is a Problem."""
        pairs = [f"{name}=localhost:{self.platform.grpc_port(name)}" for name in SERVICES]
        log = self.log("health")
        probe = spawn(
            [sys.executable, "-m", "devstack.health", *pairs], log=log, cwd=self.var / "run"
        )
        try:
            deadline = time.monotonic() + READY_WITHIN
            while probe.poll() is None or not answers_ready(self.platform.gateway_port):
                for child in self.children.values():
                    if child.process.poll() is not None:
                        raise Problem(
                            f"{child.name} ended while starting: {last_words(self.log(child.name))}"
                        )
                if time.monotonic() > deadline:
                    self.view.show_news()
                    serving = log.read_text().split()
                    late = [name for name in SERVICES if name not in serving] or ["gateway"]
                    raise Problem(
                        f"Not ready after {READY_WITHIN:.0f} s: {', '.join(late)}; see {self.var / 'log'}."
                    )
                time.sleep(0.05)
        finally:
            stop(probe, signal.SIGKILL)

    def _revive_servers(self) -> None:
        for name, server in (("PostgreSQL", self.postgres), ("Valkey", self.valkey)):
            if (
                server is not None
                and server.process is not None
                and server.process.poll() is not None
            ):
                self.view.trouble(f"{name} ended: {last_line(server.log)}; starting it again")
                server.start()

    def _revive(self, child: Child) -> None:
        """A process that died is started again, each time after a longer pause, and never silently."""
        now = time.monotonic()
        if child.starts_again is not None:
            if now >= child.starts_again:
                fresh = self._start_child(child.name)
                child.process, child.started, child.starts_again = (
                    fresh.process,
                    fresh.started,
                    None,
                )
        elif (code := child.process.poll()) is not None:
            child.deaths = 1 if now - child.started > STEADY else child.deaths + 1
            pause = min(LONGEST_PAUSE, 2.0 ** (child.deaths - 1))
            child.starts_again = now + pause
            how = (
                f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            )
            self.view.trouble(
                f"{child.name} ended {how}: {last_words(self.log(child.name))}; starting it again in {pause:.0f} s"
            )
