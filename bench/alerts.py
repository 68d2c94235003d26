"""`python -m bench.alerts`: how soon a listing that becomes active or cheaper reaches those who look for such a one.

An agent publishes over HTTP, among 100,000 saved searches: one listing after another, cheaper ones, and 500 by one
file. A search of our own wants all of hers; a listing's matches are noted together, so that it tells when all have it.
"""

import asyncio
import os
import random
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import orjson

from agents_service.saved_searches.domain import anchors, is_exact, stored
from bench.load import percentile
from bench.report import machine
from bench.searches import Towns, towns
from bench.sides import BUYER, Side, platform_side
from devstack.demo_homes import FURNISHINGS
from devstack.process import Problem
from devstack.supervisor import ROOT

LISTINGS, SEARCHES = 2_000, 100_000
SINGLES, BURST = 60, 500
BUDGET_SECONDS, PATIENCE_SECONDS = 5.0, 60.0
LOOK_AGAIN_SECONDS = 0.02
ADMIN = "+919999900001"
RESULTS = ROOT / "docs" / "benchmarks-alerts.md"
COLUMNS = (
    *("id", "user_id", "name", "filters", "wanted", "anchors", "exact", "price_max", "alert"),
)
INTRODUCTION = """\
# How soon alerts come

Written by `make bench-alerts`: an agent publishes over HTTP, among 100,000 saved searches of others (a locality or a city,
as popular as by Zipf's law; mostly a size and a budget; one in five the furnishing too). Counted is from the answer to
her, or, where a file published them, from the moment a listing became active, until the matches are there to be read.
The load generator, PostgreSQL and the whole platform share the machine.

"""


def saved(chance: random.Random, known: Towns) -> Iterator[tuple[Any, ...]]:
    """Rows of saved searches: mostly a locality or a city, a size and a budget."""
    for number in range(SEARCHES):
        place = known.pick(chance)
        rent = chance.random() < 1 / 3
        filters: dict[str, Any] = {"listing_type": ["rent" if rent else "sale"]}
        filters["city"] = [place.city.name.lower()]
        if chance.random() < 0.75:
            filters["subdivision_name"] = [place.name.lower()]
        if chance.random() < 0.8:
            filters["bhk"] = [float(chance.choice((1, 2, 2, 3)))]
        if chance.random() < 0.8:
            most = chance.choice((20, 40)) * 1_000 if rent else int(place.rate * 900)
            filters["price_max"] = most
        if chance.random() < 0.2:
            filters["furnishing"] = [chance.choice(FURNISHINGS)]
        wanted = stored(filters, ())
        id_, user_id = (uuid.UUID(int=chance.getrandbits(128), version=4) for _ in range(2))
        found_by = anchors(wanted), is_exact(wanted), wanted.get("price_max")
        alert = "instant" if number % 4 else "daily"
        yield id_, user_id, "A home", b"", orjson.dumps(wanted).decode(), *found_by, alert


def homes(chance: random.Random, known: Towns, count: int) -> list[dict[str, Any]]:
    """Flats for sale or for rent, where the demo data's are."""
    return [_home(chance, known) for _ in range(count)]


def _home(chance: random.Random, known: Towns) -> dict[str, Any]:
    place = known.pick(chance)
    rent, area = chance.random() < 1 / 3, chance.choice((450, 650, 900))
    return {
        "listing_type": "rent" if rent else "sale",
        "property_type": "apartment",
        "list_price": chance.choice((18, 30)) * 1_000 if rent else int(place.rate * area),
        "bhk": chance.choice((1, 2, 3)),
        "carpet_area": area,
        "furnishing": chance.choice(FURNISHINGS),
        "address": {
            "line": f"Flat {chance.randrange(100_000)}",
            "subdivision_name": place.name,
            "city": place.city.name,
            "state": place.city.state,
            "postal_code": place.postal_code,
        },
    }


class Agent:
    """An agent over HTTP, and her own saved search, which wants all that she publishes."""

    def __init__(self, side: Side, connection: asyncpg.Connection) -> None:
        self._side = side
        self._connection = connection
        self._http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{side.port}", timeout=30)
        self._search = uuid.UUID(int=0)

    async def begin(self) -> None:
        """Apply, be verified, and save the search."""
        await self._sign_in()
        agent = await self._call(
            "POST",
            "/v1/agents",
            {
                "member_full_name": "Asha Kulkarni",
                "member_mobile_phone": BUYER,
                "rera_agent_no": "A52100012345",
                "rera_state": "Maharashtra",
                "rera_valid_to": f"{datetime.now(UTC) + timedelta(days=900):%Y-%m-%d}",
            },
        )
        admin = {"Authorization": f"Bearer {await asyncio.to_thread(self._side.token, ADMIN)}"}
        verify = f"/v1/agents/{agent['id']}/verify"
        (await self._http.post(verify, json={}, headers=admin)).raise_for_status()
        search = {"name": "Hers", "alert": "instant", "filters": {"list_agent_id": agent["id"]}}
        self._search = uuid.UUID((await self._call("POST", "/v1/saved-searches", search))["id"])
        for _ in range(int(PATIENCE_SECONDS / LOOK_AGAIN_SECONDS)):
            await self._sign_in()
            listing = await self._http.post(
                "/v1/listings", json={"listing_type": "sale", "property_type": "plot"}
            )
            if listing.is_success:
                return
            await asyncio.sleep(LOOK_AGAIN_SECONDS)  # Until auth has heard of the role.
        raise Problem("The agent's role did not come.")

    async def publish(self, home: Mapping[str, Any]) -> tuple[str, float]:
        """Publish a listing: its id, and the seconds until it has reached all."""
        path = f"/v1/listings/{(await self._call('POST', '/v1/listings', home))['id']}"
        await self._call("POST", f"{path}/status", {"standard_status": "active"})
        return path.rpartition("/")[2], await self._reached(path, "new")

    async def cheapen(self, listing_id: str, price: int) -> float:
        """Make a listing cheaper: the seconds until that has reached all."""
        path = f"/v1/listings/{listing_id}"
        await self._call("PATCH", path, {"list_price": price})
        return await self._reached(path, "cheaper")

    async def publish_file(self, rows: Sequence[Mapping[str, Any]]) -> list[float]:
        """Publish listings by a file: of each the seconds from when it was active until it has reached all."""
        content = b"\n".join(
            orjson.dumps({**row, "external_id": str(at), "standard_status": "active"})
            for at, row in enumerate(rows)
        )
        headers = {"Content-Type": "application/jsonl"}
        (
            await self._http.post("/v1/listings/import", content=content, headers=headers)
        ).raise_for_status()
        known = {row[0] for row in await self._matches()}
        took: dict[uuid.UUID, float] = {}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(took) < len(rows):
            if time.monotonic() > deadline:
                raise Problem(f"{len(took)} of {len(rows)} listings of a file reached all.")
            found = await self._matches()
            now = datetime.now(UTC)
            for listing_id, published_at in found:
                if listing_id not in known:
                    took.setdefault(listing_id, (now - published_at).total_seconds())
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        return [*took.values()]

    async def _matches(self) -> list[Any]:
        """The listings that our own search found, each with the moment it became active."""
        return await self._connection.fetch(
            """
            select listing_id, occurred_at from agents.saved_search_matches join agents.outbox
                on aggregate_id = listing_id and outbox.name = 'listing.published'
            where saved_search_id = $1
            """,
            self._search,
        )

    async def _reached(self, path: str, reason: str) -> float:
        began = time.perf_counter()
        listing_id = path.rpartition("/")[2]
        while time.perf_counter() - began < PATIENCE_SECONDS:
            answer = await self._call(
                "GET", f"/v1/saved-searches/{self._search}/matches?page_size=1"
            )
            for match in answer["matches"]:
                if (match["listing"]["id"], match["reason"]) == (listing_id, reason):
                    return time.perf_counter() - began
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        raise Problem(f"{path} reached nobody.")

    async def _sign_in(self) -> None:
        token = await asyncio.to_thread(self._side.token)
        self._http.headers["Authorization"] = f"Bearer {token}"

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        answer = await self._http.request(method, path, json=body)
        if answer.is_error:
            raise Problem(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()


async def measure(side: Side) -> dict[str, list[float]]:
    """Seconds, by what was done; `matches` is how many searches want one listing."""
    chance, known = random.Random(5), towns()
    connection = await asyncpg.connect(side.database_url)
    try:
        await connection.copy_records_to_table(
            "saved_searches", schema_name="agents", columns=[*COLUMNS], records=saved(chance, known)
        )
        await connection.execute("vacuum (analyze) agents.saved_searches")
        agent = Agent(side, connection)
        await agent.begin()
        await agent.publish(_home(chance, known))  # The first is slower: statements are planned.
        found: dict[str, list[float]] = {"a listing becomes active": [], "its price falls": []}
        for home in homes(chance, known, SINGLES):
            listing_id, seconds = await agent.publish(home)
            found["a listing becomes active"].append(seconds)
            found["its price falls"].append(
                await agent.cheapen(listing_id, int(home["list_price"] * 0.9))
            )
        found[f"a file publishes {BURST}"] = await agent.publish_file(homes(chance, known, BURST))
        found["matches"] = [
            row["found"]
            for row in await connection.fetch(
                "select count(*) as found from agents.saved_search_matches group by listing_id"
            )
        ]
    finally:
        await connection.close()
    return found


def table(found: Mapping[str, Sequence[float]], head: str) -> str:
    lines = [head, "", "| | p50 s | p95 s | at most s |", "|---|---:|---:|---:|"]
    for name, took in found.items():
        if name != "matches":
            ordered = sorted(took)
            shares = " | ".join(f"{percentile(ordered, share):.2f}" for share in (0.5, 0.95))
            lines.append(f"| {name} | {shares} | {ordered[-1]:.2f} |")
    wanted = sorted(found["matches"])
    on_average = (
        f"{sum(wanted) / len(wanted):,.0f} saved searches on average, {wanted[-1]:,} at most"
    )
    in_all = f"{sum(wanted):,} matches in all. The budget is {BUDGET_SECONDS:.0f} s."
    lines += ["", f"A listing is wanted by {on_average}; {in_all}", ""]
    return "\n".join(lines)


def main() -> None:
    load = os.getloadavg()[0]
    print(f"Starting the platform with {LISTINGS:,} listings", file=sys.stderr, flush=True)
    try:
        with platform_side(LISTINGS) as side:
            found = asyncio.run(measure(side))
    except Problem as problem:
        sys.exit(f"✗ {problem}")
    head = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine()}, load average {load:.1f} before it began."
    written = table(found, head)
    RESULTS.write_text(INTRODUCTION + written)
    print(written)
    slow = [
        name for name, took in found.items() if name != "matches" and max(took) > BUDGET_SECONDS
    ]
    if slow:
        sys.exit(f"✗ More than {BUDGET_SECONDS:.0f} s: {', '.join(slow)}.")


if __name__ == "__main__":
    main()
