"""`python -m bench.search`: how search holds up as listings grow: 200,000 of the demo data, then six times as many.

The whole platform is asked over HTTP: by one client, whose answers tell what a search costs, and by 16 at once, who keep
both processors busy. `--size small` or `--size large` measures one of the two; the table has what was measured last.
"""

import argparse
import asyncio
import os
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from statistics import median
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx
import orjson
import uvloop

from bench.load import Connection, Run, percentile
from bench.report import machine
from bench.scenarios import Request, Script
from bench.searches import Ask, asks, url
from bench.sides import Side, platform_side
from devstack.process import Problem
from devstack.supervisor import ROOT

SMALL, TIMES = 200_000, 6
SIZES = {"small": SMALL, "large": SMALL * TIMES}
SECONDS = 5.0
CLIENTS = (1, 16)
PAGES, PAGE_SIZE = 1_000, 20
BUDGET_MS, KEYSET_BUDGET = 50.0, 1.25
MEASURED = ROOT / "var" / "bench-search.json"
RESULTS = ROOT / "docs" / "benchmarks-search.md"
TABLES = ("listings", "places")
# Some thousand names, which are read faster than their index.
SHORT = ("places",)
INTRODUCTION = """\
# Search benchmarks

Written by `python -m bench.search`: the platform with 200,000 listings of the demo data (localities by Zipf's law), and
with six times as many, made from those with other prices, places and days. Each kind of search is asked in 200 random
mixes over HTTP, through the gateway; every answer is read. One client shows what a search costs, 16 at once keep both
processors busy, on which PostgreSQL, the services and the load generator run together. The first round warms up.

"""


class Stream(Iterator[Request]):
    """An endless stream of random requests out of some."""

    def __init__(self, urls: Sequence[str], port: int) -> None:
        chance = random.Random(3)
        head = f"Host: 127.0.0.1:{port}\r\n\r\n"
        self._requests = [
            Request(f"GET {each} HTTP/1.1\r\n{head}".encode(), self.accepts) for each in urls
        ]
        self._order = (chance.choice(self._requests) for _ in count())
        self.empty = self.answered = 0

    def __next__(self) -> Request:
        return next(self._order)

    def accepts(self, status: int, body: Any) -> bool:
        self.answered += 1
        self.empty += not next((value for value in body.values() if isinstance(value, list)), [1])
        return status == 200


async def ask(port: int, stream: Stream, clients: int, seconds: float) -> dict[str, float]:
    """The latencies of `stream`, in milliseconds; raises Problem for a wrong answer."""
    run = Run(Script("search", port, "", seconds, clients, 0), stream)
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(lambda: Connection(run), "127.0.0.1", port))[1]
        for _ in range(clients)
    ]
    await asyncio.gather(*(connection.ended for connection in connections))
    if run.wrong:
        raise Problem(f"{run.wrong} answers were wrong, such as {'; '.join(run.faults)}")
    found = sorted(run.latencies)
    return {
        "p50": percentile(found, 0.5) * 1e3,
        "p95": percentile(found, 0.95) * 1e3,
        "rate": len(found) / seconds,
        "empty": stream.empty / max(1, stream.answered),
    }


def measure(side: Side, kinds: Mapping[str, list[Ask]]) -> dict[str, Any]:
    searches: dict[str, Any] = {}
    scans = asyncio.run(sequential_scans(side))
    for kind, asked in kinds.items():
        urls = [*map(url, asked)]
        searches[kind] = {}
        uvloop.run(ask(side.port, Stream(urls, side.port), 16, SECONDS / 2))
        for clients in CLIENTS:
            found = uvloop.run(ask(side.port, Stream(urls, side.port), clients, SECONDS))
            searches[kind][str(clients)] = found
            say(f"  {kind}, {clients}: p50 {found['p50']:.1f} ms, p95 {found['p95']:.1f} ms")
    after = asyncio.run(sequential_scans(side))
    read = {name: after[name] - scans[name] for name in TABLES}
    say(f"  sequential scans meanwhile: {read}")
    return {"searches": searches, "scans": read, "pages": pages(side.port)}


async def sequential_scans(side: Side) -> dict[str, int]:
    """How often each table was read from end to end, the agents service's own counting of places apart."""
    connection = await asyncpg.connect(side.database_url)
    try:
        rows = await connection.fetch(
            "select relname, seq_scan from pg_stat_user_tables where schemaname = 'agents'"
        )
    finally:
        await connection.close()
    return {row["relname"]: row["seq_scan"] for row in rows}


def pages(port: int) -> dict[str, dict[str, float]]:
    """Milliseconds of page 1 and page 1,000, in turns, by sort."""
    found = {}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        for sort in ("newest", "price", "price_per_sqft"):
            path = f"/v1/listings?city=Mumbai&listing_type=sale&sort={sort}"
            token = ""
            for _ in range((PAGES - 1) * PAGE_SIZE // 100):
                token = _get(client, f"{path}&page_size=100&page_token={quote(token)}")[
                    "next_page_token"
                ]
            # What is left of the way to the page in the steps of its size.
            for _ in range((PAGES - 1) * PAGE_SIZE % 100 // PAGE_SIZE):
                token = _get(client, f"{path}&page_token={quote(token)}")["next_page_token"]
            took: dict[str, list[float]] = {"1": [], str(PAGES): []}
            for _ in range(200):
                for page, at in (("1", ""), (str(PAGES), quote(token))):
                    started = time.perf_counter()
                    assert len(_get(client, f"{path}&page_token={at}")["listings"]) == PAGE_SIZE
                    took[page].append((time.perf_counter() - started) * 1e3)
            found[sort] = {page: median(times[20:]) for page, times in took.items()}
            say(f"  pages by {sort}: {found[sort]}")
    return found


def _get(client: httpx.Client, path: str) -> Any:
    return (
        client.get(path.replace("&page_token=&", "&").removesuffix("&page_token="))
        .raise_for_status()
        .json()
    )


async def grow(side: Side) -> None:
    """Make each listing TIMES: at other prices, places and days, as a locality has them."""
    connection = await asyncpg.connect(side.database_url)
    try:
        await connection.execute(
            "set search_path = agents, extensions; set maintenance_work_mem = '512MB'"
        )
        columns = [
            row[0]
            for row in await connection.fetch(
                "select column_name from information_schema.columns where table_schema = 'agents' and"
                " table_name = 'listings' and is_generated = 'NEVER' and column_name <> 'listing_number'"
            )
        ]
        made = {
            "id": "gen_random_uuid()",
            "list_price": "(list_price * (0.9 + random() * 0.2))::bigint",
            "latitude": "latitude + (random() - 0.5) * 0.008",
            "longitude": "longitude + (random() - 0.5) * 0.008",
            "on_market_date": "on_market_date - random() * interval '20 days'",
            "unit_number": "null",
            "unit_id": "null",
        }
        indexes = await connection.fetch(
            "select indexname, indexdef from pg_indexes where schemaname = 'agents' and"
            " tablename = 'listings' and indexdef not like 'CREATE UNIQUE%'"
        )
        await connection.execute("create temp table base as select * from listings")
        async with connection.transaction():
            for index in indexes:
                await connection.execute(f"drop index agents.{index['indexname']}")
            for _ in range(TIMES - 1):
                await connection.execute(
                    f"insert into listings ({', '.join(columns)})"
                    f" select {', '.join(made.get(name, name) for name in columns)} from base"
                )
            for index in indexes:
                await connection.execute(index["indexdef"])
        await connection.execute("vacuum (analyze) agents.listings")
    finally:
        await connection.close()


def table(measured: Mapping[str, Any]) -> str:
    lines = []
    for size, found in measured.items():
        lines += [f"- {SIZES[size]:,} listings: {found['head']}"]
    lines += [
        "",
        "| search | listings | p50 ms, 1 client | p95 | p50 ms, 16 clients | p95 | requests/s | found nothing |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for kind in next(iter(measured.values()))["searches"]:
        for size, found in measured.items():
            one, many = (found["searches"][kind][str(clients)] for clients in CLIENTS)
            lines.append(
                f"| {kind} | {SIZES[size]:,} | {one['p50']:.1f} | {one['p95']:.1f} | {many['p50']:.1f}"
                f" | {many['p95']:.1f} | {many['rate']:,.0f} | {many['empty']:.0%} |"
            )
        if len(measured) == 2:
            small, large = (found["searches"][kind] for found in measured.values())
            ratios = " | ".join(
                f"x {large[clients][share] / small[clients][share]:.2f}"
                for clients in ("1", "16")
                for share in ("p50", "p95")
            )
            lines.append(f"| {kind} | ratio | {ratios} | | |")
    lines += ["", "Pages in the order of an index, one client, medians in ms:", ""]
    lines += ["| sort | listings | page 1 | page 1,000 | ratio |", "|---|---:|---:|---:|---:|"]
    for size, found in measured.items():
        for sort, took in found["pages"].items():
            first, last = took["1"], took[str(PAGES)]
            lines.append(
                f"| {sort} | {SIZES[size]:,} | {first:.2f} | {last:.2f} | x {last / first:.2f} |"
            )
    lines.append("")
    for size, found in measured.items():
        scans = ", ".join(f"{name} {times}" for name, times in found["scans"].items())
        lines.append(f"Sequential scans while {SIZES[size]:,} listings were searched: {scans}.")
    return "\n".join([*lines, ""])


def judge(measured: Mapping[str, Any]) -> list[str]:
    """What is not as it should be."""
    faults = []
    for size, found in measured.items():
        faults += [
            f"{size}: {name} was read from end to end" for name, n in found["scans"].items() if n
        ]
        for sort, took in found["pages"].items():
            if took[str(PAGES)] > KEYSET_BUDGET * took["1"]:
                faults.append(f"{size}: page 1,000 by {sort} costs more than x {KEYSET_BUDGET}")
        if (p95 := found["searches"]["filter"]["16"]["p95"]) > BUDGET_MS:
            faults.append(f"{size}: p95 of filtered searches is {p95:.0f} ms")
    return faults


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.search", description=__doc__)
    parser.add_argument("--size", choices=[*SIZES], help="one of the two alone")
    size = parser.parse_args().size
    kinds = asks()
    load = os.getloadavg()[0]
    head = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine()}, load average {load:.1f} before it began."
    found: dict[str, Any] = {}
    try:
        say(f"Starting the platform with {SMALL:,} listings")
        with platform_side(SMALL) as side:
            for name in [size] if size else SIZES:
                if name == "large":
                    say(f"Making them {SIZES[name]:,}")
                    asyncio.run(grow(side))
                found[name] = {"head": head, **measure(side, kinds)}
    except Problem as problem:
        sys.exit(f"✗ {problem}")
    known = orjson.loads(MEASURED.read_bytes()) if MEASURED.exists() else {}
    measured = {name: each for name in SIZES if (each := {**known, **found}.get(name))}
    MEASURED.parent.mkdir(exist_ok=True)
    MEASURED.write_bytes(orjson.dumps(measured))
    RESULTS.write_text(INTRODUCTION + table(measured))
    print(table(measured))
    if faults := judge(found):
        sys.exit(f"✗ {'; '.join(faults)}")


if __name__ == "__main__":
    main()
