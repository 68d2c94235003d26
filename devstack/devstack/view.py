"""What the person at the terminal sees: steps, the table of addresses, every SMS, and what goes wrong in the logs."""

import json
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from devstack.platform import SERVICES, Platform

LOUD = {"warning", "error", "critical"}


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

    def ready(self, platform: Platform, seconds: float, database_url: str) -> None:
        gateway = f"http://localhost:{platform.gateway_port}"
        table = Table(
            "process", "address", "metrics", "log", header_style="bold", title_justify="left"
        )
        metrics = "http://localhost:{}/metrics"
        table.add_row(
            "gateway",
            gateway,
            metrics.format(platform.metrics_port("gateway")),
            str(self.var / "log" / "gateway.log"),
        )
        for name in SERVICES:
            address = f"gRPC localhost:{platform.grpc_port(name)}"
            log = str(self.var / "log" / f"{name}.log")
            table.add_row(name, address, metrics.format(platform.metrics_port(name)), log)
        if platform.own_database:
            table.add_row("PostgreSQL 18", database_url, "", str(self.var / "log" / "postgres.log"))
        if platform.own_redis:
            table.add_row(
                "Valkey 9",
                f"localhost:{platform.valkey_port}",
                "",
                str(self.var / "log" / "valkey.log"),
            )
        self.console.print()
        self.console.print(table)
        administrator = platform.environment.get("ADMIN_PHONES", "+919999900001").split(",")[0]
        self.console.print(
            "\n".join(
                [
                    "\n[bold]Try[/]",
                    f"  curl '{gateway}/v1/listings?city=Pune&limit=3'",
                    f"  open {gateway}/docs",
                    f"""  curl {gateway}/v1/auth/otp --json '{{"phone": "{administrator}"}}'   # her code appears below""",
                    "  make demo   # from sign-in to a booked flat",
                    f"\n[bold green]Ready[/] in {seconds:.1f} s. Ctrl-C stops everything; data stays in {self.var}.\n",
                ]
            ),
            soft_wrap=True,
        )


def loud(line: str) -> str:
    """A log line worth the terminal: level and message of a warning or worse, or words that are no log line at all."""
    if not line.startswith("{"):
        return line.strip()
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    level = str(entry.get("level", "")).lower()
    return f"{level}: {entry.get('event') or entry.get('message') or line}" if level in LOUD else ""
