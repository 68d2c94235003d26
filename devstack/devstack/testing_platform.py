"""The whole platform for a test: `make up` in small, on its own ports and data, beside any other that runs.

platform              a `RunningPlatform`, started once for each pytest worker that asks and stopped cleanly at its end
start_platform(**env) starts one more, for tests that break it, with these variables; stopped after the test
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from devstack.leaks import leaks_of_platform
from devstack.platform import PROCESSES, SERVICES
from devstack.process import await_ready, dies_with_us, free_port

STARTS_WITHIN = 90.0
STOPS_WITHIN = 12.0


class Scheduling(LoadScopeScheduling):
    """What is dear to start is started once: a worker runs a whole folder of tests/, which shares a platform, and
    elsewhere a whole file.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = PurePath(nodeid.partition("::")[0])
        return str(file.parent if file.parts[0] == "tests" else file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


@dataclass
class RunningPlatform:
    """Where everything is. `environment` is what it was started with, such as METRICS_PORT and ADMIN_PHONES."""

    url: str
    var: Path
    environment: dict[str, str]
    supervisor: subprocess.Popen[bytes] | None = None

    @property
    def outbox(self) -> Path:
        """Every SMS, as JSON lines {to, body, at}."""
        return self.var / "sms-outbox.jsonl"

    @property
    def output(self) -> Path:
        """What `make up` printed."""
        return self.var / "output"

    def log(self, process: str) -> Path:
        return self.var / "log" / f"{process}.log"

    def leaks(self, secrets: Collection[str] = ()) -> list[str]:
        """Lines of any log with a token, a code, a whole phone number or one of `secrets`, whoever the tests were."""
        return leaks_of_platform(self.var / "log", self.outbox, secrets)

    def start(self) -> None:
        """Start it, again if it ran before, and wait until it is ready."""
        with self.output.open("wb") as output:
            self.supervisor = subprocess.Popen(
                [sys.executable, "-m", "devstack", "--var", self.var, "up"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | self.environment,
                preexec_fn=dies_with_us(signal.SIGTERM),  # noqa: PLW1509 -- it outlives no test run
            )
        await_ready(
            self.supervisor,
            lambda: b"Ready in" in self.output.read_bytes(),
            name="The platform",
            log=self.output,
            within=STARTS_WITHIN + self._patience,
        )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        if self.supervisor is None:
            return 0
        self.supervisor.send_signal(how)
        return self.supervisor.wait(STOPS_WITHIN + self._patience)

    @property
    def _patience(self) -> float:
        """How many seconds longer demo listings may take to be loaded, and to be on disk in the end."""
        return int(self.environment["DEMO_LISTINGS"]) / 1_000


def own_ports() -> dict[str, str]:
    """Settings by which a platform stands beside any other."""
    return {
        "GATEWAY_PORT": str(free_port()),
        "POSTGRES_PORT": str(free_port()),
        "VALKEY_PORT": str(free_port()),
        "METRICS_PORT": str(free_port(len(PROCESSES))),
        **{f"{name.upper()}_TARGET": f"dns:///localhost:{free_port()}" for name in SERVICES},
    }


@contextmanager
def running(**environment: str) -> Iterator[RunningPlatform]:
    with tempfile.TemporaryDirectory(prefix="propmubi-platform-") as folder:
        told = {
            **own_ports(),
            "DEMO_LISTINGS": "0",
            "ADMIN_PHONES": "+919999900001",
            "DATABASE_URL": "",
            "REDIS_URL": "",
            **environment,
        }
        var = Path(folder) / "var"
        var.mkdir(mode=0o700)
        platform = RunningPlatform(f"http://127.0.0.1:{told['GATEWAY_PORT']}", var, told)
        try:
            platform.start()
            yield platform
            platform.stop()
            # All that the tests did is in there by now.
            assert platform.leaks() == []
        finally:
            platform.stop()
            subprocess.run([sys.executable, "-m", "devstack", "--var", var, "clean"], check=True)


@pytest.fixture(scope="session")
def platform() -> Iterator[RunningPlatform]:
    with running() as started:
        yield started


@pytest.fixture
def start_platform() -> Iterator[Callable[..., RunningPlatform]]:
    with ExitStack() as stack:
        yield lambda **environment: stack.enter_context(running(**environment))
