"""A login storm beside GETs: what people who read listings notice of many who sign in with passwords at once.

The GETs come in an open loop at a rate far below what the platform can do, with and without the storm in turns; the
storm's logins come ten times as fast as bcrypt can compare them, so that most are turned away. What counts is the 99th
percentile of the GETs' times, medians of all rounds.
"""

import asyncio
import os
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import report
from bench.generator import active_homes, generator
from bench.scenarios import LOGIN, Script
from bench.sides import platform_side
from devstack.supervisor import ROOT

BUDGET = 1.5
GETS_PER_SECOND = 300.0
LOGINS_PER_SECOND = 40.0
CONNECTIONS = 32
RESULTS = ROOT / "docs" / "login-storm.md"
INTRODUCTION = """\
# A login storm beside GETs

Written by `make bench`. One replica of each service, on one machine with the load generators; bcrypt at its cost in
production. GETs of single listings are due at a fixed rate, whatever became of those before, and their time counts from
when they were due. In every second round logins with passwords, each of another phone, are due too, ten times as many
as one core can compare: the queue is full all the while, and who finds it full is told so (429, Retry-After).

"""


@dataclass(frozen=True)
class Plan:
    listings: int
    rounds: int
    seconds: float


FULL = Plan(listings=20_000, rounds=5, seconds=6.0)
QUICK = Plan(listings=2_000, rounds=3, seconds=4.0)


@dataclass(frozen=True)
class Round:
    """What the GETs of one run took, in seconds, and how many logins were answered beside them."""

    requests: int
    p50: float
    p99: float
    logins: int


def compare(plan: Plan) -> list[str]:
    """Measure, print and keep the results; what is over the budget, in words."""
    load_before = os.getloadavg()[0]
    calm, stormy = measure(plan)
    ratio = median(run.p99 for run in stormy) / median(run.p99 for run in calm)
    table = _table(calm, stormy, ratio, plan, load_before)
    print(table)
    if plan is FULL:
        RESULTS.write_text(INTRODUCTION + table)
    return [f"p99 of GETs in a login storm x {ratio:.2f}, above x {BUDGET}"] * (ratio > BUDGET)


def measure(plan: Plan) -> tuple[list[Round], list[Round]]:
    """The runs without the storm, and those with it."""
    found: dict[bool, list[Round]] = {False: [], True: []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="propmubi-storm-")))
        print(f"Starting the platform with {plan.listings:,} listings", file=sys.stderr)
        side = stack.enter_context(platform_side(plan.listings))
        homes = asyncio.run(active_homes(side.database_url))
        gets = stack.enter_context(generator(homes, folder))
        logins = stack.enter_context(generator(homes, folder))
        for number in range(plan.rounds + 1):  # The first warms up.
            token = side.token()
            for storm in (False, True)[:: 1 if number % 2 else -1]:
                read = Script(
                    "GET listing, any",
                    side.port,
                    token,
                    plan.seconds,
                    CONNECTIONS,
                    seed=number,
                    rate=GETS_PER_SECOND,
                )
                login = Script(
                    LOGIN,
                    side.port,
                    token,
                    plan.seconds,
                    CONNECTIONS,
                    seed=number,
                    rate=LOGINS_PER_SECOND,
                )
                if storm:
                    logins.begin(login)
                gets.begin(read)
                answered = gets.end()
                tried = logins.end()["requests"] if storm else 0
                if number:
                    found[storm].append(
                        Round(answered["requests"], answered["p50"], answered["p99"], tried)
                    )
                    print(
                        f"{number}/{plan.rounds} {'storm' if storm else 'calm '}: p99 {answered['p99'] * 1e3:.1f} ms",
                        file=sys.stderr,
                        flush=True,
                    )
    return found[False], found[True]


def _table(
    calm: list[Round], stormy: list[Round], ratio: float, plan: Plan, load_before: float
) -> str:
    circumstances = report.circumstances(plan.listings, load_before)
    lines = [
        f"{circumstances}; medians of {plan.rounds} interleaved runs of {plan.seconds:.0f} s.",
        "",
        "| | GETs/s | p50 ms | p99 ms | logins/s |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, runs in (("without the storm", calm), ("in the storm", stormy)):
        lines.append(
            f"| {name} | {median(run.requests for run in runs) / plan.seconds:,.0f}"
            f" | {median(run.p50 for run in runs) * 1e3:.1f} | {median(run.p99 for run in runs) * 1e3:.1f}"
            f" | {median(run.logins for run in runs) / plan.seconds:,.0f} |"
        )
    return "\n".join([*lines, "", f"p99 in the storm: **x {ratio:.2f}** (budget: x {BUDGET}).", ""])
