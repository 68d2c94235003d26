"""The plans of searches: an index for each shape, and a shape for each index."""

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date
from itertools import product
from typing import Any, NamedTuple

import asyncpg
import orjson
import pytest
import pytest_asyncio
from sqlalchemy.engine import make_url

from agents_service.listings.conditions import AREAS, FILTERS, ORDERS
from agents_service.listings.gathering import is_held, is_held_by_area
from agents_service.listings.models import ORDER_KEYS, listings
from agents_service.listings.search import Shape, statement_of
from agents_service.search.models import places
from agents_service.search.repository import SearchRepository
from agents_service.search.service import SearchService
from agents_service.search.timers import SearchTimers
from chassis.database import Database
from chassis.reads import Reads
from devstack.postgres import Postgres
from devstack.testing import ServiceDatabase, role_url
from devstack.testing_service import Running
from propmubi.agents.v1 import listings_pb2 as pb
from propmubi.agents.v1 import search_pb2
from propmubi.agents.v1.search_pb2_grpc import SearchServiceStub
from services.agents.tests.integration.conftest import MONDAY, searching

PLACES = ("", "city", "subdivision_name", "postal_code", "list_agent_id", "project_id")
MARKETS = tuple(product(("active", "pending"), ("rent", "sale")))
ALL_ACTIVE = (("active", "rent"), ("active", "sale"))
# So many that an index pays: of a few any index has all. Each trait goes its own way.
HOMES = """
    with seed as materialized (select setseed(0.5)), numbers as materialized (
        select number, (random() * 1000)::int as one, (random() * 1000)::int as other,
            (random() * 1000)::int as third from seed, generate_series(1, 8000) number
    )
    insert into listings (id, list_agent_id, list_office_id, project_id, listing_type, property_type,
        standard_status, list_price, bhk, carpet_area, furnishing, facing, floor, rera_project_no,
        address_line, subdivision_name, city, state, postal_code, latitude, longitude, on_market_date)
    select gen_random_uuid(), ($1::uuid[])[1 + number % 20], ($2::uuid[])[1 + number % 20],
        case when number % 50 = 0 then ($3::uuid[])[1 + number % 20] end,
        (array['sale', 'rent'])[1 + one % 2], (array['apartment', 'villa', 'plot', 'shop'])[1 + other % 4],
        case when third % 10 = 0 then 'pending' else 'active' end,
        1000000 + 9000 * one + number, 1 + third % 4, 400 + other,
        (array['furnished', 'unfurnished'])[1 + third % 2], (array['east', 'west', 'north'])[1 + one % 3],
        other % 20, case when third % 3 = 0 then 'P52100012345' end,
        case when number % 500 = 0 then 'Blue Ridge' else 'Tower ' || number end,
        'Sector ' || other % 60, (array['Pune', 'Nashik', 'Thane'] || array(select 'Town ' || town from generate_series(1, 17) town))[1 + other % 20], 'Maharashtra',
        (411001 + third % 60)::text, 18 + one / 1000.0, 73 + other / 1000.0,
        timestamptz '2026-11-16Z' - number * interval '10 minutes'
    from numbers
    """
POINT = (28_000_000.0, 17_900_000.0)
OTHER_PLACES = """
    insert into places (kind, folded, name, city, listings)
    select 'locality', md5(number::text), md5(number::text), 'Pune', 0 from generate_series(1, 20000) number
    """
PARAMETERS: dict[str, Any] = {
    "city": ["pune"],
    "subdivision_name": ["sector 7", "sector 8"],
    "postal_code": ["411007"],
    "list_agent_id": [uuid.uuid4()],
    "list_office_id": [uuid.uuid4()],
    "project_id": [uuid.uuid4()],
    "bhk": [2.0],
    "bhk_min": 2.0,
    "bhk_max": 2.0,
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
    "amenity_bits": 8,
    "word0": "blue",
    "limit": 21,
    "window": 2_000,
}
# By which index each filter is found alone, and with a word: its name, or what it begins with where any order will do.
_HELD = ("listings_", "listings_search_text")
_MIXTURE = ("listings_mixture", "listings_search_text")
_AREA = ("listings_location", "listings_location")
FOUND_BY = {
    **dict.fromkeys(FILTERS, _HELD),
    **dict.fromkeys(("city", "property_type", "furnishing", "facing", "rera_verified"), _MIXTURE),
    **dict.fromkeys(AREAS, _AREA),
    "posted_since": ("listings_newest", "listings_newest"),
    "project_id": ("listings_project_id_", "listings_project_id_"),
    "list_agent_id": ("listings_list_agent_id_id", "listings_list_agent_id_id"),
    "list_office_id": ("listings_list_office_id_id", "listings_list_office_id_id"),
    # With a word, whichever of the two seems rarer.
    "postal_code": ("listings_postal_code_", "listings_"),
    "subdivision_name": ("listings_subdivision_name_", "listings_"),
}
NEAR = "73.715,18.5,73.745,18.6"
ASKED: list[tuple[str, dict[str, Any], set[str]]] = [
    ("ListListings", {"q": "sector 7"}, {"places_folded", "listings_subdivision_name_newest"}),
    (
        "ListListings",
        {"q": "blue ridge"},
        {"places_folded", "places_trigrams", "listings_newest", "listings_search_text"},
    ),
    ("ListListings", {"q": "blue ridge", "sort": "relevance"}, {"listings_search_text"}),
    (
        "ListListings",
        {"price_max": 1_100_000, "floor_max": 1},
        {"listings_newest", "listings_price"},
    ),
    (
        "ListListings",
        {
            "rera_verified": True,
            "facing": [pb.FACING_EAST],
            "furnishing": [pb.FURNISHING_FURNISHED],
            "bhk": [2],
        },
        {"listings_newest", "listings_mixture"},
    ),
    ("ListListings", {"bbox": NEAR, "bhk": [2]}, {"listings_newest", "listings_location"}),
    ("GetListingFacets", {"city": "pune"}, {"listings_city_newest"}),
    (
        "GetListingFacets",
        {"price_max": 1_100_000, "floor_max": 1},
        {"listings_newest", "listings_price"},
    ),
    ("GetListingMap", {"bbox": NEAR, "zoom": 12}, {"listings_newest", "listings_location"}),
    ("Suggest", {"q": "sec"}, {"places_trigrams"}),
    ("Suggest", {"q": "sector 1", "city": "pune"}, {"places_trigrams"}),
    ("ListSimilarListings", {}, {"listings_location", "listings_subdivision_name_newest"}),
]
REQUESTS: dict[str, Any] = {
    "ListListings": pb.ListListingsRequest,
    "GetListingFacets": search_pb2.GetListingFacetsRequest,
    "GetListingMap": search_pb2.GetListingMapRequest,
    "Suggest": search_pb2.SuggestRequest,
    "ListSimilarListings": search_pb2.ListSimilarListingsRequest,
}
# What keeps a home from being listed twice, what the clock has to do, and whose project a place is.
NOT_FOR_SEARCHES = {
    *("listings_live_unit", "listings_alike", "listings_external_id", "listings_unit_id"),
    *("listings_activation_date", "listings_expiration_date"),
    *("places_reference_id", "places_builder_id"),
}


class Read(NamedTuple):
    """A statement, and how it is planned: anew for its values, or once for any."""

    sql: str
    values: Sequence[Any]
    planned_anew: bool = False
    bitmaps: bool = True


Explain = Callable[[Read], Any]


@pytest_asyncio.fixture
async def owner(
    agents: Running, postgres: Postgres, service_database: ServiceDatabase
) -> AsyncIterator[Any]:
    """A connection to the database of `agents` that may change its indexes."""
    database = make_url(await service_database("agents")).database
    assert database is not None
    connection = await asyncpg.connect(role_url(postgres, "agents_owner", database))
    await connection.execute("set plan_cache_mode = force_generic_plan; set jit = off")
    await connection.execute("set enable_seqscan = off")
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def homes(agents: Running, owner: Any, make_lister: Any) -> None:
    people = [(await make_lister()).agent_id for _ in range(20)]
    firms, projects = ([uuid.uuid4() for _ in range(20)] for _ in range(2))
    await owner.execute(HOMES, people, firms, projects)
    await SearchTimers(
        agents.database, SearchService(SearchRepository(agents.database))
    ).count_places()
    # Rows that somebody may not see yet, who began before, are read besides their index. So are those on a page with
    # dead ones, whose few entries VACUUM leaves in the indexes unless it is asked not to.
    unseen = "select relallvisible < relpages from pg_class where oid = 'listings'::regclass"
    await owner.execute("vacuum (analyze, index_cleanup on) listings")
    while await owner.fetchval(unseen):
        await owner.execute("vacuum (index_cleanup on) listings")
    await owner.execute(OTHER_PLACES)
    await owner.execute("analyze places")


@pytest.fixture
def explain(owner: Any) -> Explain:
    async def plan(read: Read) -> dict[str, Any]:
        if read.planned_anew:
            await owner.execute(f"set enable_bitmapscan = {read.bitmaps}")
            answer = await owner.fetchval(f"explain (format json) {read.sql}", *read.values)
        else:
            # To explain a statement with its values is to plan it for them.
            await owner.execute("reset enable_bitmapscan")
            prepared = await owner.prepare(read.sql)
            unknown = f"({', '.join('null' for _ in read.values)})" if read.values else ""
            answer = await owner.fetchval(
                f'explain (format json) execute "{prepared.get_name()}" {unknown}'
            )
        found: dict[str, Any] = orjson.loads(answer)[0]["Plan"]
        return found

    return plan


def read_of(database: Database, shape: Shape) -> Read:
    given = dict(PARAMETERS)
    if shape.sort == "newest":
        given["after_key"] = MONDAY
    given["place"] = given[shape.place][0] if shape.place else None
    sql, values = database.prepared(statement_of(shape), given)
    return Read(sql, values, planned_anew=shape.gathered)


def nodes(plan: dict[str, Any], above: str = "") -> list[tuple[dict[str, Any], str]]:
    """The nodes of a plan, each with the kind of the one above it."""
    kind = plan["Node Type"]
    return [(plan, above), *(each for sub in plan.get("Plans", ()) for each in nodes(sub, kind))]


def sources(plan: dict[str, Any]) -> set[str]:
    """The indexes that a plan reads, but for rows by their id; a table that it reads from end to end."""
    found = {
        node.get("Index Name") or node["Relation Name"]
        for node, _ in nodes(plan)
        if "Index Name" in node or node["Node Type"] == "Seq Scan"
    }
    return {name for name in found if not name.endswith("_pkey")}


async def test_every_shape_has_an_index_for_its_order(
    agents: Running, homes: None, explain: Explain, owner: Any
) -> None:
    """No table is read from end to end, and what is sorted is at most a page of each status, type and place."""
    # So few homes of a place could as well be sorted.
    await owner.execute("set enable_sort = off")
    sorts = [sort for sort in ORDERS if sort not in ("distance", "relevance")]
    every = tuple(sorted(FILTERS.keys() - set(PLACES)))
    for place, one_place, sort, continued, filters, words in product(
        PLACES, (False, True), sorts, (False, True), ((), ("bhk",), every), (0, 2)
    ):
        asked = (*((place,) if place else ()), *filters)
        shape = Shape(sort, continued, words, asked, one_place, MARKETS, 21)
        plan = await explain(read_of(agents.database, shape))
        order = sort.removeprefix("-")
        # To look so much up in each, a planner may as well read those of all places.
        allowed = {place, ""} if filters == every else {place}
        indexes = {"_".join(filter(None, ("listings", each, order))) for each in allowed}
        assert sources(plan) <= indexes, shape
        for node, above in nodes(plan):
            if "Sort" in node["Node Type"]:
                assert above in ("Limit", "Result")
                assert not any(
                    below.get("Relation Name") == "listings" and over not in ("Limit", "WindowAgg")
                    for below, over in nodes(node)
                )


async def test_the_nearest_are_read_from_the_index_of_locations(
    agents: Running, homes: None, explain: Explain
) -> None:
    for continued, filters, words in product((False, True), ((), ("bhk", "city")), (0, 1)):
        shape = Shape("distance", continued, words, (*filters, "near"), True, ALL_ACTIVE, 21)
        plan = await explain(read_of(agents.database, shape))
        assert sources(plan) == {"listings_location"}
        [scan] = [n for n, _ in nodes(plan) if n.get("Index Name") == "listings_location"]
        assert "Order By" in scan


async def test_whatever_is_gathered_is_found_by_the_index_that_is_for_it(
    agents: Running, homes: None, explain: Explain
) -> None:
    """Each filter by itself, and with a word. What an index holds is read from it alone."""
    for name, words, continued in product(FILTERS, (0, 1), (False, True)):
        shape = Shape("newest", continued, words, (name,), False, ALL_ACTIVE, 21, gathered=True)
        bitmaps = bool(words) or not (is_held((name,)) or is_held_by_area((name,)))
        plan = await explain(read_of(agents.database, shape)._replace(bitmaps=bitmaps))
        [source] = sources(plan)
        assert source.startswith(FOUND_BY[name][words]), (name, words)
        if source in ("listings_mixture", "listings_location") and not bitmaps:
            [scan] = [node for node, _ in nodes(plan) if node.get("Index Name") == source]
            assert scan["Node Type"] == "Index Only Scan", name


async def test_what_is_asked_is_found_by_the_indexes_that_are_for_it(
    homes: None,
    agents: Running,
    owner: Any,
    public: Any,
    explain: Explain,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every statement of a call, as it is planned, where windows are so small that pages are gathered, too."""
    for name, rows in (("WINDOW", 30), ("HELD_WINDOW", 30), ("LEAST_WINDOW", 1)):
        monkeypatch.setattr(f"agents_service.listings.search.{name}", rows)
    made: list[Read] = []
    fetch = Reads.fetch

    async def noted(self: Reads, sql: str, values: Sequence[Any], **how: Any) -> Any:
        # The relay looks for events all the time.
        if "outbox" not in sql:
            made.append(Read(sql, values, **how))
        return await fetch(self, sql, values, **how)

    monkeypatch.setattr(Reads, "fetch", noted)
    some = "select id::text from listings where standard_status = 'active' limit 1"
    known = {"ListSimilarListings": {"listing_id": await owner.fetchval(some)}}
    for method, asked, expected in ASKED:
        made.clear()
        stub = public if method == "ListListings" else SearchServiceStub(agents.caller())
        request, given = REQUESTS[method], known.get(method, asked)
        filtered = "filters" in request.DESCRIPTOR.fields_by_name
        await getattr(stub, method)(searching(request, **given) if filtered else request(**given))
        found = [sources(await explain(read)) for read in made]
        assert set[str]().union(*found) == expected, (method, asked)


def test_every_index_is_for_something() -> None:
    """No index costs each write its price for nothing: one of these tests, or what is said here, needs it."""
    orders = {
        "_".join(filter(None, ("listings", place, order)))
        for place, order in product(PLACES, ORDER_KEYS)
    }
    asked = {index for _, _, expected in ASKED for index in expected}
    gathered = {index for found in FOUND_BY.values() for index in found}
    known = {index.name for table in (listings, places) for index in table.indexes}
    assert known == orders | asked | gathered & known | NOT_FOR_SEARCHES
