"""The containers of one smoke test, by way of the docker command."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ROOT / "deploy" / "compose"
PROCESSES = ("auth", "agents", "crm", "projects", "gateway")
PATIENCE_SECONDS = 180.0
LOOK_AGAIN_SECONDS = 0.1

# In our lines and in those of Postgres and Valkey.
TROUBLE = re.compile(r'"level":"(warning|error|critical)"|ERROR|FATAL|PANIC|Traceback|# ')

# In the machine's own process namespace: the container ends as in a crash, and Docker does not take it for our wish.
KILL = "import os, sys; os.kill(int(sys.argv[1]), 9)"


class Failure(Exception):
    """The containers did something else than compose.yaml promises."""


def docker(*arguments: object, quiet: bool = True) -> str:
    """What `docker` prints; where it fails, what it says is the Failure. BuildKit builds."""
    finished = subprocess.run(
        ["docker", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"DOCKER_BUILDKIT": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        check=False,
    )
    if finished.returncode:
        said = f"{finished.stdout or ''}{finished.stderr or ''}".strip()
        raise Failure(f"docker {arguments[0]}: {said[-2_000:]}")
    return finished.stdout.strip()


@dataclass
class Containers:
    """A project of its own beside any other, with secrets and data of its own."""

    project: str
    environment: Path
    gateway_port: int
    version: str
    _ids: dict[str, str] = field(default_factory=dict)

    def compose(self, *arguments: object) -> str:
        return docker(
            *("compose", "--project-name", self.project, "--env-file", self.environment),
            *("--project-directory", COMPOSE),
            *("--file", COMPOSE / "compose.yaml", "--file", COMPOSE / "smoke" / "compose.yaml"),
            *arguments,
        )

    def build(self, process: str) -> str:
        """Build the image of one process; its id."""
        tag = f"propmubi/{process}:{self.version}"
        return docker("build", "--quiet", "--build-arg", f"SERVICE={process}", "--tag", tag, ".")

    def up(self, *services: str) -> None:
        """Start `services`, or all that is in no profile, and wait until they are well."""
        patience = int(PATIENCE_SECONDS)
        self.compose("up", "--detach", "--wait", "--wait-timeout", patience, *services)
        lines = self.compose("ps", "--all", "--format", "{{.Service}} {{.ID}}").splitlines()
        self._ids = dict(line.split() for line in lines)

    def down(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", 30)

    def troubles(self) -> str:
        """What the containers said that was no good news."""
        lines = self.compose("logs", "--no-color", "--tail", 1_000).splitlines()
        return "\n".join(line for line in lines if TROUBLE.search(line))[-8_000:]

    def inspect(self, service: str) -> dict[str, Any]:
        (found,) = json.loads(docker("inspect", self._ids[service]))
        return dict(found)

    def inside(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a service's container."""
        return subprocess.run(
            ["docker", "exec", self._ids[service], *command],
            capture_output=True,
            text=True,
            check=False,
        )

    def ask_database(self, query: str) -> str:
        """The answer of Postgres, as its superuser."""
        script = (
            'PGPASSWORD=$POSTGRES_PASSWORD psql -h 127.0.0.1 -U postgres -d propmubi -XAtc "$0"'
        )
        finished = self.inside("postgres", "sh", "-c", script, query)
        if finished.returncode:
            raise Failure(f"psql: {finished.stderr.strip()}")
        return finished.stdout.strip()

    def crash(self, service: str) -> float:
        """SIGKILL from outside; seconds until Docker has started it again and it is healthy."""
        before = self.inspect(service)["State"]
        image = f"propmubi/auth:{self.version}"
        docker(
            *("run", "--rm", "--pid=host", "--user=0", "--cap-drop=ALL", "--cap-add=KILL"),
            *("--network=none", "--security-opt=apparmor=unconfined", image),
            *("python", "-c", KILL, before["Pid"]),
        )
        began = time.monotonic()
        while True:
            state = self.inspect(service)["State"]
            again = state["Running"] and state["StartedAt"] != before["StartedAt"]
            if again and state["Health"]["Status"] == "healthy":
                return time.monotonic() - began
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise Failure(f"{service} does not come back: {state}")
            time.sleep(LOOK_AGAIN_SECONDS)  # Docker tells of no health that is waited for.

    def cut_power(self) -> None:
        """Everything dies at once, Postgres and Valkey too."""
        self.compose("kill", "--signal", "KILL")

    @contextmanager
    def output_in(self, files: dict[str, Path]) -> Iterator[None]:
        """What each service prints while the block lasts is in its file."""
        since = f"--since={time.time():.9f}"
        followers = []
        try:
            for service, path in files.items():
                with path.open("wb") as file:
                    command = ["docker", "logs", "--follow", since, self._ids[service]]
                    followers.append(
                        subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)
                    )
            yield
        finally:
            for follower in followers:
                follower.terminate()
                follower.wait()


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
