"""`python -m bench.files`: files of listings in and out: how fast, and what they cost in memory.

One agent's homes, over HTTP and through the gateway: 100,000 that are published, the same file again, descriptions as
long as a file may be, and all of it out again as CSV and JSON Lines.
"""

import argparse
import asyncio
import csv
import io
import os
import random
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, islice
from typing import Any

import asyncpg
import httpx
import orjson
import psutil

from bench.cpu import POSTGRES, Meter
from bench.report import machine
from bench.sides import SETTINGS, all_published, processes_of
from devstack import secretfile
from devstack.platform import Platform
from devstack.process import Problem
from devstack.supervisor import ROOT
from devstack.testing_platform import RunningPlatform, running
from devstack.testing_town import Town

# Rows per second of a file whose rows are all published, from its first byte to its last row.
BUDGET = 1_000.0
# What a file may add to the memory of a process, in MiB, whatever its size.
GROWTH = 64.0
LOOK_SECONDS = 0.1
MIB = 1 << 20
RESULTS = ROOT / "docs" / "benchmarks-files.md"
PUBLISHED = "published"
CSV, JSON_LINES = "text/csv", "application/jsonl"
WATCHED = ("gateway", "agents")
INTRODUCTION = """\
# Files of listings

Written by `make bench-files`: one agent's homes, over HTTP and through the gateway, beside listings of others. Seconds
are counted from the first byte that is sent until it is known that the last row is committed, so the file's arrival is
part of them; "CPU" is user and system time of all the platform's processes, "later" how long after that the last event
was published. Homes that are published have each a history and two events, and are matched with saved searches meanwhile.
Memory is the resident set, looked at ten times a second. Budgets: 1,000 rows a second published; 64 MiB of growth,
whatever the size of the file.

"""


@dataclass(frozen=True)
class Plan:
    listings: int
    rows: int
    described: int  # Bytes.


FULL = Plan(listings=5_000, rows=100_000, described=250 * MIB)
QUICK = Plan(listings=2_000, rows=10_000, described=25 * MIB)


@dataclass(frozen=True)
class Memory:
    """Of a process, in MiB."""

    before: float
    first_half: float
    second_half: float

    @property
    def growth(self) -> float:
        return max(self.first_half, self.second_half) - self.before


@dataclass(frozen=True)
class Step:
    """What was done with a file."""

    name: str
    rows: int
    size: int
    seconds: float
    later: float
    cpu: Mapping[str, float]
    memory: Mapping[str, Memory]

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


class Bench:
    """The platform with an agent on it, and what was measured so far."""

    def __init__(
        self,
        platform: RunningPlatform,
        http: httpx.Client,
        processes: dict[str, int],
        postmaster: int,
    ) -> None:
        described = Platform(os.environ | platform.environment)
        self._database_url = described.admin_url(secretfile.read(platform.var / "secrets.env"))
        self._meter = Meter(processes, postmaster, "propmubi")
        self._processes = {name: psutil.Process(processes[name]) for name in WATCHED}
        self._http = http
        town = Town(platform, http)
        town.admin = town.new_person(platform.environment["ADMIN_PHONES"])
        self._agent = town.new_agent()
        self.steps: list[Step] = []

    def send(self, name: str, content_type: str, content: Iterable[bytes]) -> dict[str, Any]:
        """Have a file read to its end; what became of it."""
        with self._measured(name) as told:
            headers = {"content-type": content_type, **self._agent.headers}
            answer = self._http.post("/v1/listings/import", content=content, headers=headers)
            job = answer.raise_for_status().json()
            looked = time.monotonic()
            while job["status"] == "running":
                # Who sent a file asks what became of it: nobody tells her.
                time.sleep(LOOK_SECONDS)
                path = f"/v1/listings/imports/{job['id']}"
                answer = self._http.get(path, headers=self._agent.headers)
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    job = answer.raise_for_status().json()
                if time.monotonic() - looked > 10:
                    looked = time.monotonic()
                    say(f"  {job['rows']:,} rows")
            if job["status"] != "done":
                raise Problem(f"The import failed: {job}")
            told |= {"rows": job["rows"], "size": job["size"]}
        return dict(job)

    def fetch(self, name: str, content_type: str) -> int:
        """Have all listings sent; how many there were."""
        headers = {"accept": content_type, **self._agent.headers}
        with self._measured(name) as told:
            lines = size = 0
            with self._http.stream("GET", "/v1/listings/export", headers=headers) as answer:
                for chunk in answer.raise_for_status().iter_raw():
                    lines += chunk.count(b"\n")
                    size += len(chunk)
            told |= {"rows": lines - (content_type == CSV), "size": size}
        return int(told["rows"])

    async def rest(self) -> None:
        """Have PostgreSQL write down all this now, since it gets few seconds to stop."""
        connection = await asyncpg.connect(self._database_url)
        try:
            await connection.execute("checkpoint")
        finally:
            await connection.close()

    @contextmanager
    def _measured(self, name: str) -> Iterator[dict[str, int]]:
        told: dict[str, int] = {}
        say(name)
        used, began = self._meter.read(), time.monotonic()
        with watched(self._processes) as samples:
            yield told
        seconds = time.monotonic() - began
        asyncio.run(all_published(self._database_url, within=300))
        later = time.monotonic() - began - seconds
        cpu = {each: after - used[each] for each, after in self._meter.read().items()}
        memory = {each: _memory(found) for each, found in samples.items()}
        step = Step(name, told["rows"], told["size"], seconds, later, cpu, memory)
        self.steps.append(step)
        say(f"  {step.rows:,} rows in {seconds:.1f} s, {step.rate:,.0f} a second")


@contextmanager
def watched(processes: Mapping[str, psutil.Process]) -> Iterator[dict[str, list[float]]]:
    """The memory of processes as long as the block lasts, in MiB."""
    samples: dict[str, list[float]] = {name: [] for name in processes}
    over = threading.Event()

    def look() -> None:
        while True:
            for name, process in processes.items():
                samples[name].append(process.memory_info().rss / MIB)
            if over.wait(LOOK_SECONDS):
                return

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def _memory(samples: list[float]) -> Memory:
    middle = max(1, len(samples) // 2)
    return Memory(samples[0], max(samples[:middle]), max(samples[middle:] or samples))


def homes(seed: int) -> Iterator[dict[str, Any]]:
    """Rows without end, each of a home of its own."""
    chance = random.Random(seed)
    for number in count(1):
        carpet = chance.randrange(400, 2_000)
        yield {
            "external_id": f"{seed}-{number}",
            "listing_type": "sale",
            "property_type": "apartment",
            "property_sub_type": "flat",
            "list_price": carpet * chance.randrange(6_000, 20_000),
            "bhk": chance.choice((1, 2, 2.5, 3)),
            "bedrooms_total": 2,
            "bathrooms_total": 2,
            "carpet_area": carpet,
            "built_up_area": carpet + 150,
            "furnishing": "semi_furnished",
            "facing": "east",
            "floor": number % 20,
            "total_floors": 20,
            "possession_status": "ready_to_move",
            "address.line": f"Tower {number // 80}, Blue Ridge",
            "address.building_name": f"Blue Ridge {seed}-{number // 80}",
            "address.unit_number": str(number % 80),
            "address.subdivision_name": chance.choice(("Wakad", "Baner", "Hinjewadi", "Aundh")),
            "address.city": "Pune",
            "address.state": "Maharashtra",
            "address.postal_code": "411057",
            "latitude": 18.55 + chance.random() / 10,
            "longitude": 73.75 + chance.random() / 10,
            "amenities": ["lift", "gym", "parking"],
            "public_remarks": f"Home {number}: light from two sides, close to the school.",
            "media": [{"url": f"https://media.example.in/{seed}/{number}.jpg", "kind": "photo"}],
        }


def csv_file(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Rows that are published, with their names before them, some at a time."""
    names: list[str] = []
    rest = iter(rows)
    while some := list(islice(rest, 200)):
        text = io.StringIO()
        writer = csv.writer(text)
        if not names:
            names = [*some[0], "standard_status"]
            writer.writerow(names)
        for row in some:
            published = {
                **row,
                "amenities": ";".join(row["amenities"]),
                "media": row["media"][0]["url"],
                "standard_status": "active",
            }
            writer.writerow(published[name] for name in names)
        yield text.getvalue().encode()


def described_file(size: int) -> Iterator[bytes]:
    """Drafts with all that may be said of a home, `size` bytes of them."""
    remarks = "Light from two sides, close to the school. " * 116
    while size > 0:
        for row in homes(2):
            address = {
                name.removeprefix("address."): row.pop(name)
                for name in [*row]
                if name.startswith("address.")
            }
            line = orjson.dumps({**row, "address": address, "public_remarks": remarks}) + b"\n"
            size -= len(line)
            if size < 0:
                return
            yield line


def measure(plan: Plan) -> list[Step]:
    say(f"Starting the platform with {plan.listings:,} listings of others")
    with running(**SETTINGS, DEMO_LISTINGS=str(plan.listings)) as platform:
        processes = processes_of(platform)
        with httpx.Client(base_url=platform.url, timeout=600) as http:
            bench = Bench(platform, http, processes, processes.pop(POSTGRES))
            job = bench.send(PUBLISHED, CSV, csv_file(islice(homes(1), plan.rows)))
            check(job, created=plan.rows, failed=0)
            job = bench.send("the same again", CSV, csv_file(islice(homes(1), plan.rows)))
            check(job, unchanged=plan.rows, failed=0)
            job = bench.send("long drafts", JSON_LINES, described_file(plan.described))
            check(job, failed=0)
            for name, kind in (("out as CSV", CSV), ("out as JSON Lines", JSON_LINES)):
                sent = bench.fetch(name, kind)
                if sent != plan.rows + job["created"]:
                    raise Problem(f"{sent:,} listings came out, of {plan.rows + job['created']:,}.")
            asyncio.run(bench.rest())
            return bench.steps


def check(job: Mapping[str, Any], **expected: int) -> None:
    found = {name: job[name] for name in expected}
    if found != expected:
        raise Problem(f"The import has {found}, not {expected}.")


def table(steps: Sequence[Step]) -> str:
    lines = [
        "| file | MiB | rows | seconds | rows/s | CPU µs/row | of it agents | gateway | PostgreSQL | later s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for step in steps:
        cpu = {name: used / step.rows * 1e6 for name, used in step.cpu.items()}
        lines.append(
            f"| {step.name} | {step.size / MIB:.1f} | {step.rows:,} | {step.seconds:.1f} | {step.rate:,.0f}"
            f" | {sum(cpu.values()):,.0f} | {cpu['agents']:,.0f} | {cpu['gateway']:,.0f} | {cpu[POSTGRES]:,.0f}"
            f" | {step.later:.1f} |"
        )
    lines += [
        "",
        "| file | process | MiB before | greatest in the first half | in the second | growth |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for step in steps:
        for name, memory in step.memory.items():
            lines.append(
                f"| {step.name} | {name} | {memory.before:.0f} | {memory.first_half:.0f} | {memory.second_half:.0f}"
                f" | {memory.growth:+.0f} |"
            )
    return "\n".join([*lines, ""])


def judge(steps: Sequence[Step]) -> list[str]:
    """What is not as it should be."""
    faults = [
        f"{step.name}: {step.rate:,.0f} rows/s, below {BUDGET:,.0f}"
        for step in steps
        if step.name == PUBLISHED and step.rate < BUDGET
    ]
    return faults + [
        f"{step.name}: {name} grew by {memory.growth:.0f} MiB"
        for step in steps
        for name, memory in step.memory.items()
        if memory.growth > GROWTH
    ]


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.files", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller files")
    plan = QUICK if parser.parse_args().quick else FULL
    load = os.getloadavg()[0]
    head = f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC on {machine()}, {plan.listings:,} listings of others, load average {load:.1f} before it began."
    try:
        steps = measure(plan)
    except Problem as problem:
        sys.exit(f"✗ {problem}")
    found = f"{head}\n\n{table(steps)}"
    print(found)
    if plan is FULL:
        RESULTS.write_text(INTRODUCTION + found)
    if faults := judge(steps):
        sys.exit(f"✗ {'; '.join(faults)}")


if __name__ == "__main__":
    main()
