"""The load generator's handle: it runs in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from bench.report import Measured
from bench.scenarios import Home, Script
from bench.sides import Side
from devstack.process import Problem
from devstack.supervisor import ROOT


class Generator:
    """The load generator, in a process of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._route = ""

    def run(self, side: Side, script: Script) -> Measured:
        before = side.meter.read()
        self.begin(script)
        found = self.end()
        side.rest()  # What an enquiry causes later is part of its price.
        after = side.meter.read()
        return Measured(
            found["requests"],
            found["seconds"],
            found["p50"],
            found["p99"],
            {name: after[name] - before[name] for name in after},
        )

    def begin(self, script: Script) -> None:
        """Start with `script`; `end` waits for it."""
        assert self._process.stdin is not None
        self._route = script.route
        self._process.stdin.write(script.to_json() + b"\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, Any]:
        """What came of the script that was begun; raises Problem when an answer was wrong."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Problem("The load generator ended; see above.")
        found: dict[str, Any] = orjson.loads(line)
        if found["wrong"]:
            raise Problem(
                f"{self._route}: {found['wrong']} of {found['requests']} answers were wrong, such as"
                f" {'; '.join(found['faults'])}"
            )
        return found


@contextmanager
def generator(homes: list[Home], folder: Path) -> Iterator[Generator]:
    known = folder / "homes.json"
    known.write_bytes(orjson.dumps(homes))
    with subprocess.Popen(
        [sys.executable, "-m", "bench.load", known],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        try:
            yield Generator(process)
        finally:
            process.kill()


async def active_homes(database_url: str) -> list[Home]:
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "select id::text, city, bhk, list_price from agents.listings where standard_status = 'active' order by id"
        )
    finally:
        await connection.close()
    return [Home(**row) for row in rows]
