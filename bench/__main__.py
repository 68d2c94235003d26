"""`make bench`: the platform against the monolith it replaces, measured side by side in one run.

Both are asked the same things, round by round in turns, by one load generator; what counts is the throughput per second
of processor time that all processes of a side use, PostgreSQL and Valkey included. Ends with 1 below the budget.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import report, storm
from bench.generator import active_homes, generator
from bench.report import BUDGET, Measured
from bench.scenarios import ROUTES, Script
from bench.sides import monolith_side, platform_side
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


def compare(plan: Plan) -> list[str]:
    """The platform beside the monolith; the routes below the budget."""
    load_before = os.getloadavg()[0]
    results = measure(plan)
    table = report.table(results, plan.listings, load_before)
    print(table)
    if plan is FULL:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(INTRODUCTION + table)
    return [
        f"{route} x {won:.2f}, below the budget of x {BUDGET}"
        for route, won in report.ratios(results).items()
        if won < BUDGET
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less data, fewer and shorter runs")
    parser.add_argument("--storm", action="store_true", help="only the login storm beside GETs")
    options = parser.parse_args()
    if not sys.platform.startswith("linux"):
        sys.exit("✗ make bench reads processor time from /proc: run it on Linux.")
    if os.getloadavg()[0] > BUSY:
        say("This machine is busy with other things: what is measured will be worse than it is.")
    try:
        missed = [] if options.storm else compare(QUICK if options.quick else FULL)
        missed += storm.compare(storm.QUICK if options.quick else storm.FULL)
    except Problem as problem:
        sys.exit(f"✗ {problem}")
    if missed:
        sys.exit(f"✗ {'; '.join(missed)}")


if __name__ == "__main__":
    main()
