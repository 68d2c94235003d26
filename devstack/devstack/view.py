"""What the person at the terminal sees: steps, the table of addresses, every SMS, and what goes wrong in the logs."""

import json
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from devstack.platform import PROCESSES, SERVICES, Platform
from devstack.process import last_line

LOG_NAMES = {"PostgreSQL": "postgres", "Valkey": "valkey"}
LOUD = frozenset({"warning", "error", "critical"})
FATAL = frozenset({"error", "critical"})


@dataclass
class Tail:
    """The whole lines added to a file since it was last asked."""

    path: Path
    position: int = 0

    @classmethod
    def from_now(cls, path: Path) -> "Tail":
        return cls(path, path.stat().st_size if path.exists() else 0)

    def new_lines(self) -> list[str]:
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self.position)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self.position += len(whole)
        return whole.decode(errors="replace").splitlines()


class View:
    """Prints; keeps nothing but where in the files it has read to."""

    def __init__(self, var: Path, outbox: Path) -> None:
        self.console = Console(highlight=False)
        self.var = var
        self.outbox = Tail.from_now(outbox)
        self.logs: dict[str, Tail] = {}

    def step(self, words: str) -> None:
        self.console.print(f"[dim]·[/] {escape(words)}", soft_wrap=True)

    def trouble(self, words: str) -> None:
        self.console.print(f"[bold red]✗[/] {escape(words)}", soft_wrap=True)

    def follow(self, process: str, log: Path) -> None:
        self.logs[process] = Tail.from_now(log)

    def show_news(self) -> None:
        for line in self.outbox.new_lines():
            sms = json.loads(line)
            self.console.print(
                f"[bold green]✉ SMS to {sms['to']}:[/] {escape(sms['body'])}", soft_wrap=True
            )
        for process, tail in self.logs.items():
            for line in tail.new_lines():
                if told := loud(line):
                    self.console.print(f"[yellow]![/] {process}: {escape(told)}", soft_wrap=True)

    def forget_news(self) -> None:
        for tail in self.logs.values():
            tail.new_lines()

    def ready(self, platform: Platform, seconds: float) -> None:
        gateway = f"http://localhost:{platform.gateway_port}"
        addresses = {"gateway": gateway}
        addresses |= {name: f"localhost:{platform.grpc_port(name)} (gRPC)" for name in SERVICES}
        if platform.own_database:
            # Its password is in secrets.env, not on the screen.
            addresses["PostgreSQL"] = f"localhost:{platform.postgres_port}/propmubi"
        if platform.own_redis:
            addresses["Valkey"] = f"localhost:{platform.valkey_port}"
        table = Table("process", "address", "metrics", "log", header_style="bold")
        for name, address in addresses.items():
            metrics = f":{platform.metrics_port(name)}/metrics" if name in PROCESSES else ""
            table.add_row(
                name, address, metrics, f"{self.var.name}/log/{LOG_NAMES.get(name, name)}.log"
            )
        self.console.print()
        self.console.print(table)
        administrator = platform.environment.get("ADMIN_PHONES", "+919999900001").split(",")[0]
        self.console.print(
            "\n".join(
                [
                    "\n[bold]Try[/]",
                    f"  curl '{gateway}/v1/listings?city=Pune&page_size=3'",
                    f"  open {gateway}/docs",
                    f"""  curl {gateway}/v1/auth/otp --json '{{"phone": "{administrator}"}}'   # her code appears below""",
                    "  make demo   # from sign-in to a booked flat",
                    f"\n[bold green]Ready[/] in {seconds:.1f} s. Ctrl-C stops everything; data stays in {self.var}.\n",
                ]
            ),
            soft_wrap=True,
        )


def loud(line: str, levels: frozenset[str] = LOUD) -> str:
    """A log line worth the terminal: what a warning or worse says, or words that are no log line at all."""
    if not line.startswith("{"):
        return line.strip()
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    level = str(entry.get("level", "")).lower()
    if level not in levels:
        return ""
    cause = str(entry.get("exception") or entry.get("error") or "").strip().rsplit("\n", 1)[-1]
    return f"{level}: {entry.get('event')}{f': {cause}' if cause else ''}"


def last_words(log: Path) -> str:
    """Why a process ended: the last error in its log, or else its last line."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    told = (loud(line, FATAL) for line in reversed(lines))
    return next(filter(None, told), None) or last_line(log)
