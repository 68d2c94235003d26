"""The plans of searches: an index for each shape."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from itertools import product
from typing import Any

import orjson
import pytest
from sqlalchemy import text

from agents_service.listings.conditions import FILTERS, ORDERS
from agents_service.listings.search import Shape, statement_of
from chassis.database import Transaction
from chassis.ids import new_id
from devstack.testing_service import Running
from services.agents.tests.integration.conftest import MONDAY, row

PLACES = ("", "city", "subdivision_name", "postal_code", "list_agent_id", "project_id")
MARKETS = tuple(product(("active", "pending"), ("rent", "sale")))
ALL_ACTIVE = (("active", "rent"), ("active", "sale"))
POINT = (28_000_000.0, 17_900_000.0)
PARAMETERS: dict[str, Any] = {
    "city": ["pune"],
    "subdivision_name": ["wakad", "baner"],
    "postal_code": ["411057"],
    "list_agent_id": [uuid.uuid4()],
    "list_office_id": [uuid.uuid4()],
    "project_id": [uuid.uuid4()],
    "bhk": [2.0],
    "price_min": 1,
    "price_max": 10**9,
    "carpet_area_min": 1,
    "carpet_area_max": 10**6,
    "price_per_sqft_min": 1,
    "price_per_sqft_max": 10**6,
    "floor_min": 0,
    "floor_max": 9,
    "property_type": ["villa"],
    "furnishing": ["furnished"],
    "facing": ["east"],
    "possession_status": "ready_to_move",
    "ready_by": date(2027, 1, 1),
    "posted_since": MONDAY,
    "price_dropped_since": MONDAY,
    "has_media": True,
    "rera_verified": True,
    "amenities": ["gym"],
    "bbox": (POINT, POINT),
    "near": (POINT, 1_000.0),
    "polygon": [POINT, (28_100_000.0, 17_900_000.0), (28_000_000.0, 17_950_000.0)],
    "centre": POINT,
    "after_key": 10**6,
    "after_id": uuid.uuid4(),
    "word0": "wakad",
    "limit": 21,
    "window": 2_000,
}


def nodes(plan: dict[str, Any], above: str = "") -> list[tuple[dict[str, Any], str]]:
    """The nodes of a plan, each with the kind of the one above it."""
    kind = plan["Node Type"]
    return [(plan, above), *(each for sub in plan.get("Plans", ()) for each in nodes(sub, kind))]


@asynccontextmanager
async def planning(agents: Running) -> AsyncIterator[Transaction]:
    async with agents.database.transaction() as tx:
        await tx.execute(text("set local enable_seqscan = off"))
        await tx.execute(text("set local plan_cache_mode = force_generic_plan"))
        yield tx


async def test_every_shape_has_an_index_for_its_order(
    agents: Running, fill: Any, asha: Any
) -> None:
    """No table is read from end to end, and what is sorted is at most a page of each status, type and place."""
    await fill(*(row(number, asha.agent_id, project_id=new_id()) for number in range(300)))
    sorts = [sort for sort in ORDERS if sort not in ("distance", "relevance")]
    every = tuple(sorted(FILTERS.keys() - set(PLACES)))
    async with planning(agents) as tx:
        # So few rows could as well be sorted.
        await tx.execute(text("set local enable_bitmapscan = off"))
        for place, one_place, sort, continued, filters in product(
            PLACES, (False, True), sorts, (False, True), ((), ("bhk",), every)
        ):
            asked = (*((place,) if place else ()), *filters)
            plan = await explain(tx, Shape(sort, continued, 0, asked, one_place, MARKETS, 21))
            read = [node for node, _ in nodes(plan) if node.get("Relation Name") == "listings"]
            scans = [node for node in read if node["Alias"].startswith("listings")]
            order = sort.removeprefix("-")
            # Of so few rows a planner may as well read those of all places in order, to look each up.
            whole = filters == every or place in ("list_agent_id", "project_id")
            places = {place, ""} if whole else {place}
            indexes = {"_".join(filter(None, ("listings", each, order))) for each in places}
            assert len(scans) == len(MARKETS)
            assert {scan["Index Name"] for scan in scans} <= indexes
            for node, above in nodes(plan):
                if "Sort" in node["Node Type"]:
                    assert above in ("Limit", "Result")
                    assert not any(
                        below.get("Relation Name") == "listings"
                        and over not in ("Limit", "WindowAgg")
                        for below, over in nodes(node)
                    )


async def test_the_nearest_are_read_from_the_index_of_locations(
    agents: Running, fill: Any, asha: Any
) -> None:
    await fill(*(row(number, asha.agent_id) for number in range(60)))
    async with planning(agents) as tx:
        for continued, filters in product((False, True), ((), ("bhk", "city"))):
            shape = Shape("distance", continued, 0, (*filters, "near"), True, ALL_ACTIVE, 21)
            read = [node for node, _ in nodes(await explain(tx, shape)) if "Index Name" in node]
            scans = [node for node in read if node["Alias"].startswith("listings")]
            assert [(scan["Node Type"], scan["Index Name"]) for scan in scans] == [
                ("Index Scan", "listings_location")
            ]
            assert "Order By" in scans[0]


@pytest.mark.parametrize("sort", ORDERS)
async def test_whatever_is_gathered_is_found_by_an_index(
    agents: Running, fill: Any, asha: Any, sort: str
) -> None:
    """Each filter by itself, and with a word."""
    await fill(*(row(number, asha.agent_id) for number in range(60)))
    async with planning(agents) as tx:
        for name, words, continued in product(FILTERS, (0, 1), (False, True)):
            if sort == "relevance" and not words:
                continue
            shape = Shape(sort, continued, words, (name,), False, ALL_ACTIVE, 21, gathered=True)
            kinds = {node["Node Type"] for node, _ in nodes(await explain(tx, shape))}
            assert "Seq Scan" not in kinds, (name, words)


async def explain(tx: Transaction, shape: Shape) -> Any:
    """The generic plan of the statement of `shape`."""
    compiled = statement_of(shape).compile(dialect=tx.connection.dialect)
    given = dict(PARAMETERS)
    if shape.sort == "newest":
        given["after_key"] = MONDAY
    given["place"] = given[shape.place][0] if shape.place else None
    values = [given.get(name, compiled.params[name]) for name in compiled.positiontup or ()]
    connection: Any = (await tx.connection.get_raw_connection()).driver_connection
    [answer] = await connection.fetch(f"explain (format json) {compiled}", *values)
    plan = answer[0]
    return (plan if isinstance(plan, list) else orjson.loads(plan))[0]["Plan"]
