"""`make bench`: the platform against the monolith it replaces, measured side by side in one run.

Both are asked the same things, round by round in turns, by one load generator; what counts is the throughput per second
of processor time that all processes of a side use, PostgreSQL and Valkey included. Ends with 1 below the budget.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import orjson

from bench import report
from bench.report import BUDGET, Measured
from bench.scenarios import ROUTES, Home, Script
from bench.sides import Side, monolith_side, platform_side
from devstack.process import Problem
from devstack.supervisor import ROOT

CONNECTIONS = 16
BUSY = 0.5
RESULTS = ROOT / "docs" / "benchmarks.md"
INTRODUCTION = """\
# Benchmarks

Written by `make bench`: the platform against the monolith it replaces, which is rebuilt in
[bench/peers/monolith](../bench/peers/monolith) as a competent FastAPI developer would have written it: pydantic
responses, SQLAlchemy's ORM with a pool of 20, an HS256 token on every request, a request log in JSON by
`BaseHTTPMiddleware`, one uvicorn worker on uvloop and httptools, and an index made for the list that is measured.

- Both have the same listings, the same PostgreSQL with the same durability, and are asked the same random requests by
  one load generator over 16 connections, in turns; every answer is read and checked, and a wrong one fails the run.
- The platform runs as in production, all five processes: tokens checked, limits counted in Valkey, constraints, INFO
  logs, metrics, 1 % of traces. Its enquiries also write their events, which are published before the clock stops.
- What counts is processor time: user and system time of every process of a side, PostgreSQL's backends for its
  database, PostgreSQL's own processes and Valkey included. "x" is requests per second of it, platform over monolith.

"""


@dataclass(frozen=True)
class Plan:
    listings: int
    rounds: int
    seconds: float
    warm_up: float


FULL = Plan(listings=20_000, rounds=5, seconds=4.0, warm_up=2.0)
QUICK = Plan(listings=2_000, rounds=2, seconds=1.5, warm_up=1.0)


class Generator:
    """The load generator, in a process of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def run(self, side: Side, script: Script) -> Measured:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        before = side.meter.read()
        self._process.stdin.write(script.to_json() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise Problem("The load generator ended; see above.")
        side.rest()  # What an enquiry causes later is part of its price.
        after = side.meter.read()
        found = orjson.loads(line)
        if found["wrong"]:
            raise Problem(
                f"{side.name}, {script.route}: {found['wrong']} of {found['requests']} answers were wrong, such as"
                f" {'; '.join(found['faults'])}"
            )
        return Measured(
            found["requests"],
            found["seconds"],
            found["p50"],
            found["p99"],
            {name: after[name] - before[name] for name in after},
        )


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


def measure(plan: Plan) -> report.Results:
    results: dict[tuple[str, str], list[Measured]] = defaultdict(list)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="propmubi-bench-")))
        say(f"Starting the platform with {plan.listings:,} listings")
        platform = stack.enter_context(platform_side(plan.listings))
        say("Starting the monolith with the same")
        monolith = stack.enter_context(monolith_side(platform, folder / "monolith.log"))
        homes = asyncio.run(active_homes(platform.database_url))
        load = stack.enter_context(generator(homes, folder))
        sides = [platform, monolith]
        for number in range(plan.rounds + 1):  # The first warms up.
            seconds = plan.seconds if number else plan.warm_up
            tokens = {side.name: side.token() for side in sides}
            for route in ROUTES:
                for side in sides[:: 1 if number % 2 else -1]:
                    script = Script(
                        route, side.port, tokens[side.name], seconds, CONNECTIONS, seed=number
                    )
                    found = load.run(side, script)
                    if number:
                        results[route, side.name].append(found)
                        say(
                            f"{number}/{plan.rounds} {route}, {side.name}: {found.rate:,.0f}/s,"
                            f" {found.total_microseconds:,.0f} µs of CPU each"
                        )
    return results


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less data, fewer and shorter runs")
    plan = QUICK if parser.parse_args().quick else FULL
    if not sys.platform.startswith("linux"):
        sys.exit("✗ make bench reads processor time from /proc: run it on Linux.")
    if (load_before := os.getloadavg()[0]) > BUSY:
        say("This machine is busy with other things: what is measured will be worse than it is.")
    try:
        results = measure(plan)
    except Problem as problem:
        sys.exit(f"✗ {problem}")
    table = report.table(results, plan.listings, load_before)
    print(table)
    if plan is FULL:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(INTRODUCTION + table)
    late = [f"{route} x {won:.2f}" for route, won in report.ratios(results).items() if won < BUDGET]
    if late:
        sys.exit(f"✗ Below the budget of x {BUDGET}: {', '.join(late)}")


if __name__ == "__main__":
    main()
