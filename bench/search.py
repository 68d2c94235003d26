"""`python -m bench.search`: how search holds up as listings grow: 200,000 of the demo data, then six times as many.

The whole platform is asked over HTTP: by one client, whose answers tell what a search costs, and by 16 at once, who
keep both processors busy. `--size 200000` or `--size 1200000` measures one of the two. What was measured is kept in
var/ at once, piece by piece, and the table is made of what is kept: a run that is cut off loses nothing but its last
piece.

Ends with 1 when listings are read from end to end, or when pages cost more the later they come or the more listings
there are.
"""

import argparse
import asyncio
import os
import random
import subprocess
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
SIZES = (SMALL, SMALL * TIMES)
SECONDS = 5.0
CLIENTS = (1, 16)
PAGES, PAGE_SIZE = 1_000, 20
SORTS = ("newest", "price", "price_per_sqft")
BUDGET_MS, KEYSET_BUDGET = 50.0, 1.25
MEASURED = ROOT / "var" / "bench-search.json"
RESULTS = ROOT / "docs" / "benchmarks-search.md"
SCANNED = """
    select max(seq_scan) filter (where relname = 'listings') as listings,
        max(seq_scan) filter (where relname = 'places') as places,
        (select coalesce(sum(calls), 0) from extensions.pg_stat_statements where query ilike '%counted as materialized%') as counts
    from pg_stat_user_tables where schemaname = 'agents'
    """
PLACES_ARE_FEW = """\
- Places are some thousand names, however many listings there are. Where words may be nearly any of them the planner reads
  all, which is as cheap as their index; that it takes the index where there are more, `test_listing_plans.py` shows."""
Kept = dict[str, Any]
INTRODUCTION = """\
# Search benchmarks

Written by `make bench-search`: the platform with 200,000 listings of the demo data (localities by Zipf's law), and
with six times as many, made from those with other prices, places and days. Each kind of search is asked in 200 random
mixes over HTTP, through the gateway, which keeps no answers here (CACHE_BYTES=0); every answer is read. One client shows
what a search costs, 16 at once keep both processors busy, on which PostgreSQL, the services and the load generator run
together. The first round warms up. CPU is that of the whole platform for one search, PostgreSQL included and the load
generator not, while 16 ask.

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


def measure(side: Side, kinds: Mapping[str, list[Ask]], kept: Kept) -> None:
    """Measure all, and keep each piece at once."""
    for kind, asked in kinds.items():
        urls = [*map(url, asked)]
        uvloop.run(ask(side.port, Stream(urls, side.port), 16, SECONDS))
        found: dict[str, Any] = {}
        for clients in CLIENTS:
            before = sum(side.meter.read().values())
            answers = uvloop.run(ask(side.port, Stream(urls, side.port), clients, SECONDS))
            cpu = sum(side.meter.read().values()) - before
            found[str(clients)] = answers | {"cpu": cpu / (answers["rate"] * SECONDS) * 1e3}
            say(f"  {kind}, {clients}: p50 {answers['p50']:.1f} ms, p95 {answers['p95']:.1f} ms")
        kept["searches"][kind] = found
        keep(kept)
    for sort in SORTS:
        kept["pages"][sort] = page_times(side.port, sort)
        say(f"  pages by {sort}: {kept['pages'][sort]}")
        keep(kept)
    kept["scans"] = asyncio.run(sequential_scans(side, kinds))
    say(f"  sequential scans: {kept['scans']}")
    keep(kept)


async def sequential_scans(side: Side, kinds: Mapping[str, list[Ask]]) -> dict[str, int]:
    """How often each table was read from end to end while every mix was asked once."""
    connection = await asyncpg.connect(side.database_url)
    try:
        while True:
            [before] = await connection.fetch(SCANNED)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{side.port}") as client:
                for asked in kinds.values():
                    for each in asked:
                        (await client.get(url(each), timeout=30)).raise_for_status()
            # What each process counted is told a second later at most.
            await asyncio.sleep(2)
            [after] = await connection.fetch(SCANNED)
            # The agents service counts places of all listings every five minutes: then we ask again.
            if before["counts"] == after["counts"]:
                return {name: after[name] - before[name] for name in ("listings", "places")}
    finally:
        await connection.close()


def page_times(port: int, sort: str) -> dict[str, float]:
    """Milliseconds of page 1 and page 1,000, asked in turns."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
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
    return {page: median(times[20:]) for page, times in took.items()}


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
            for more in range(1, TIMES):
                say(f"  {SMALL * more:,}")
                await connection.execute(
                    f"insert into listings ({', '.join(columns)})"
                    f" select {', '.join(made.get(name, name) for name in columns)} from base"
                )
            for index in indexes:
                say(f"  {index['indexname']}")
                await connection.execute(index["indexdef"])
        await connection.execute("vacuum (analyze) agents.listings")
        # What is written to disk now is not written while it is measured.
        await connection.execute("checkpoint")
    finally:
        await connection.close()


def table(measured: Sequence[Kept]) -> str:
    lines = [
        f"- {kept['listings']:,} listings: version {kept['version']}, {kept['head']} {kept['loaded']}"
        for kept in measured
    ]
    lines += [
        "",
        "| search | listings | p50 ms, 1 client | p95 | p50 ms, 16 clients | p95 | requests/s | CPU ms | found nothing |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for kind in dict.fromkeys(kind for kept in measured for kind in kept["searches"]):
        found = [kept["searches"].get(kind) for kept in measured]
        for kept, times in zip(measured, found, strict=True):
            if times:
                one, many = (times[str(clients)] for clients in CLIENTS)
                lines.append(
                    f"| {kind} | {kept['listings']:,} | {one['p50']:.1f} | {one['p95']:.1f} | {many['p50']:.1f}"
                    f" | {many['p95']:.1f} | {many['rate']:,.0f} | {many['cpu']:.2f} | {many['empty']:.0%} |"
                )
        if len(found) == 2 and all(found):
            small, large = found
            ratios = [
                f"x {large[str(clients)][share] / small[str(clients)][share]:.2f}"
                for clients in CLIENTS
                for share in ("p50", "p95")
            ]
            ratios += [
                f"x {large['16'][share] / small['16'][share]:.2f}" for share in ("rate", "cpu")
            ]
            lines.append(f"| {kind} | ratio | {' | '.join(ratios)} | |")
    lines += ["", "Pages in the order of an index, one client, medians in ms:", ""]
    lines += ["| sort | listings | page 1 | page 1,000 | ratio |", "|---|---:|---:|---:|---:|"]
    for kept in measured:
        for sort, took in kept["pages"].items():
            first, last = took["1"], took[str(PAGES)]
            lines.append(
                f"| {sort} | {kept['listings']:,} | {first:.2f} | {last:.2f} | x {last / first:.2f} |"
            )
    if len(measured) == 2:
        small, large = (kept["pages"] for kept in measured)
        for sort in (sort for sort in SORTS if sort in small and sort in large):
            ratios = [f"x {large[sort][page] / small[sort][page]:.2f}" for page in small[sort]]
            lines.append(f"| {sort} | ratio | {' | '.join(ratios)} | |")
    lines.append("")
    for kept in measured:
        if "scans" in kept:
            scans = kept["scans"]
            lines.append(
                f"- Sequential scans while each mix was asked once of {kept['listings']:,} listings: {scans['listings']} of"
                f" listings, {scans['places']} of places."
            )
    lines.append(PLACES_ARE_FEW)
    lines += [f"- {line}" for line in (*budgets(measured), *judge(measured))]
    return "\n".join([*lines, ""])


def judge(measured: Sequence[Kept]) -> list[str]:
    """What is not as it should be, whatever the machine."""
    faults = []
    for kept in measured:
        size = f"{kept['listings']:,} listings"
        if kept.get("scans", {}).get("listings"):
            faults.append(f"{size}: read from end to end {kept['scans']['listings']} times.")
        for sort, took in kept["pages"].items():
            if took[str(PAGES)] > KEYSET_BUDGET * took["1"]:
                faults.append(f"{size}: page 1,000 by {sort} costs more than x {KEYSET_BUDGET}.")
    if len(measured) == 2:
        small, large = (kept["pages"] for kept in measured)
        faults += [
            f"Page {page} by {sort} costs more than x {KEYSET_BUDGET} of what it does with fewer listings."
            for sort in SORTS
            if sort in small and sort in large
            for page in small[sort]
            if large[sort][page] > KEYSET_BUDGET * small[sort][page]
        ]
    if len({kept["version"] for kept in measured}) > 1:
        faults.append("The two sizes were measured with different versions.")
    return faults


def budgets(measured: Sequence[Kept]) -> list[str]:
    """What filtered searches take, against what they may: a figure and no fault, since it depends on the machine."""
    found = {
        kept["listings"]: kept["searches"]["filter"]["16"]["p95"]
        for kept in measured
        if "filter" in kept["searches"]
    }
    return [
        f"p95 of filtered searches, 16 clients, {size:,} listings: {p95:.0f} ms,"
        f" {'within' if p95 < BUDGET_MS else 'above'} {BUDGET_MS:.0f}."
        for size, p95 in found.items()
    ]


def recall() -> dict[int, Kept]:
    """What was kept, by size."""
    known = orjson.loads(MEASURED.read_bytes()) if MEASURED.exists() else []
    return {kept["listings"]: kept for kept in known}


def keep(kept: Kept) -> None:
    known = recall() | {kept["listings"]: kept}
    measured = [known[size] for size in SIZES if size in known]
    MEASURED.parent.mkdir(exist_ok=True)
    MEASURED.write_bytes(orjson.dumps(measured))
    RESULTS.write_text(INTRODUCTION + table(measured))


def say(what: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {what}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.search", description=__doc__)
    parser.add_argument("--size", type=int, choices=SIZES, help="one of the two alone")
    size = parser.parse_args().size
    kinds = asks()
    load = os.getloadavg()[0]
    head = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine()}, load average {load:.1f} before it began."
    version = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if not size:
        MEASURED.unlink(missing_ok=True)
    try:
        say(f"Starting the platform with {SMALL:,} listings")
        started = time.monotonic()
        with platform_side(SMALL, CACHE_BYTES="0") as side:
            loaded = f"Started with them loaded in {time.monotonic() - started:.0f} s."
            for listings in [size] if size else SIZES:
                if listings != SMALL:
                    say(f"Making them {listings:,}")
                    started = time.monotonic()
                    asyncio.run(grow(side))
                    loaded = f"Made of {SMALL:,} by SQL in {time.monotonic() - started:.0f} s."
                say(f"Measuring {listings:,} listings")
                kept = {"listings": listings, "version": version, "head": head, "loaded": loaded}
                measure(side, kinds, kept | {"searches": {}, "pages": {}})
    except Problem as problem:
        sys.exit(f"✗ {problem}")
    print(RESULTS.read_text())
    known = recall()
    if faults := judge([known[each] for each in SIZES if each in known]):
        sys.exit("\n".join(f"✗ {fault}" for fault in faults))


if __name__ == "__main__":
    main()
