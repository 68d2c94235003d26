"""A rollout's middle: the schema is this checkout's already, and the processes are still the previous release's.

The previous release is the last tag before this commit. Until there is one, the commit before the newest migration
stands in for it: the code that no migration of today's may break. It is taken out of git, and runs its own journey.
"""

import os
import signal
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest

from devstack import databases, secretfile
from devstack.platform import PROCESSES, SERVICES, Platform
from devstack.process import await_ready, free_port, spawn, stop
from devstack.supervisor import answers_ready
from devstack.testing import ROLE_PASSWORD

ROOT = Path(__file__).resolve().parents[2]
# Without `site`, which would put this checkout's packages on the path beside those of the release.
PYTHON = [sys.executable, "-S"]
JOURNEY_SECONDS = 120
MIGRATIONS = ":(glob)services/*/migrations/versions/*.py"


def git(*arguments: str) -> bytes:
    """What git says; empty where it says no."""
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        return subprocess.run(command, check=False, capture_output=True).stdout
    except FileNotFoundError:
        return b""


def previous_release() -> str:
    """Its commit; the test says so and is skipped where history does not reach back to it."""
    tag = git("describe", "--tags", "--match", "v*", "--abbrev=0", "HEAD^").decode().strip()
    if tag:
        return tag
    newest = git("log", "-1", "--format=%H", "--diff-filter=A", "HEAD", "--", MIGRATIONS)
    before = f"{newest.decode().strip()}^"
    commit = git("rev-parse", "--verify", "--quiet", before).decode().strip() if newest else ""
    if not commit:
        pytest.skip("NOT TESTED: there is no previous release in this checkout (fetch its history)")
    return commit


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """The previous release's files."""
    release = previous_release()
    folder = tmp_path / "previous"
    with tarfile.open(fileobj=BytesIO(git("archive", "--format=tar", release))) as files:
        # Python before 3.11.4 has no filters, and no argument that names one.
        files.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
        files.extractall(folder)
    return folder


@pytest.fixture
def told(previous: Path) -> dict[str, str]:
    """An environment in which Python imports the previous release and nothing of this checkout."""
    members = ["protos/gen", "chassis", "gateway", "devstack", *(f"services/{s}" for s in SERVICES)]
    paths = [*(str(previous / member) for member in members), sysconfig.get_path("purelib")]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(paths),
        "ENVIRONMENT": "development",
        "GATEWAY_PORT": str(free_port()),
        **{f"{name.upper()}_TARGET": f"dns:///localhost:{free_port()}" for name in SERVICES},
    }
    asked = [
        *PYTHON,
        "-c",
        "import chassis, propmubi; print(*chassis.__path__, *propmubi.__path__)",
    ]
    found = subprocess.run(asked, env=environment, check=True, capture_output=True, text=True)
    assert all(path.startswith(str(previous)) for path in found.stdout.split())
    return environment


@pytest.fixture
def var(
    previous: Path, told: dict[str, str], empty_database: str, redis_url: str, tmp_path: Path
) -> Iterator[Path]:
    """Where the previous release's processes, started on this checkout's schema, keep logs, secrets and messages."""
    var, platform = tmp_path / "var", Platform(told)
    var.mkdir(mode=0o700)
    # Roles belong to the whole server, on which other tests know them by this password.
    roles = {f"{name.upper()}_{kind}_PASSWORD" for name in SERVICES for kind in ("OWNER", "APP")}
    secrets = secretfile.ensure(var / "secrets.env") | dict.fromkeys(roles, ROLE_PASSWORD)
    databases.bring_up_to_date(empty_database, secrets, SERVICES)
    with ExitStack() as stack:
        for name in reversed(PROCESSES):  # The gateway, which waits for all others, comes last.
            log = var / "log" / f"{name}.log"
            process = spawn(
                [*PYTHON, "-m", "gateway" if name == "gateway" else f"{name}_service"],
                log=log,
                env=platform.process_environment(
                    name, secrets=secrets, database_url=empty_database, redis_url=redis_url, var=var
                )
                | {"METRICS_PORT": "0"},
                cwd=previous,
            )
            stack.callback(stop, process, signal.SIGTERM)
            if name == "gateway":
                await_ready(
                    process,
                    partial(answers_ready, platform.gateway_port),
                    name="The release",
                    log=log,
                )
        yield var


def test_the_previous_release_works_on_this_schema(told: dict[str, str], var: Path) -> None:
    journey = [*PYTHON, "-m", "devstack", "--var", str(var), "demo"]
    ended = subprocess.run(
        journey, env=told, check=False, capture_output=True, text=True, timeout=JOURNEY_SECONDS
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "The whole journey" in ended.stdout
