"""Finding listings: filters, text, pages that stay as they are, one query each, and an index for each shape."""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, product
from typing import Any

import orjson
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import insert, text

from agents_service.listings.conditions import FILTERS, ORDERS
from agents_service.listings.models import listings
from agents_service.listings.pages import Pages
from agents_service.listings.repository import ListingRepository
from agents_service.listings.search import Search, Shape, statement_of
from chassis.database import Transaction
from chassis.errors import InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from chassis.ids import new_id
from chassis.protobuf import timestamp
from devstack.testing_service import Running, Tokens
from propmubi.agents.v1 import listings_pb2 as pb
from propmubi.agents.v1.listings_pb2_grpc import ListingServiceStub
from services.agents.tests.integration.conftest import searching

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
OFFICE = uuid.uuid4()


def row(number: int, agent_id: uuid.UUID, **changes: Any) -> dict[str, Any]:
    """An active flat; the higher its number the newer and dearer."""
    return {
        "id": new_id(),
        "list_agent_id": agent_id,
        "listing_type": "sale",
        "property_type": "apartment",
        "standard_status": "active",
        "list_price": 1_000_000 * (number + 1),
        "bhk": 1 + number % 4,
        "carpet_area": 400 + 100 * number,
        "subdivision_name": ("Wakad", "Baner", "Hinjewadi")[number % 3],
        "city": "Pune",
        "state": "Maharashtra",
        "postal_code": f"41105{number % 3}",
        "latitude": 18.5 + number / 100,
        "longitude": 73.7 + number / 100,
        "on_market_date": MONDAY + timedelta(minutes=number),
        **changes,
    }


@pytest_asyncio.fixture
async def fill(agents: Running, asha: Any) -> Any:
    """Puts rows into the table, all of one set of columns."""

    async def put(*rows: dict[str, Any]) -> list[str]:
        async with agents.database.transaction() as tx:
            for _, alike in groupby(rows, dict.keys):
                await tx.execute(insert(listings), [*alike])
        return [str(each["id"]) for each in rows]

    return put


async def found(stub: Any, **asked: Any) -> list[str]:
    """The ids of all that is found, over all pages."""
    request, ids = searching(pb.ListListingsRequest, **asked), []
    while True:
        page = await stub.ListListings(request)
        ids += [listing.id for listing in page.listings]
        if not page.next_page_token:
            return ids
        request.page_token = page.next_page_token


ASKED: list[tuple[dict[str, Any], Any]] = [
    ({}, range(12)),
    ({"listing_type": pb.LISTING_TYPE_RENT}, ()),
    ({"city": "pune"}, range(12)),
    ({"city": "Mumbai"}, ()),
    ({"subdivision_name": ["wakad"]}, (0, 3, 6, 9)),
    ({"subdivision_name": ["Wakad", "BANER", "baner"]}, (0, 1, 3, 4, 6, 7, 9, 10)),
    ({"subdivision_name": ["Wakad", "Baner"], "price_max": 5_000_000}, (0, 1, 3, 4)),
    ({"subdivision_name": ["Wakad"], "city": "Nagpur"}, ()),
    ({"postal_code": ["411051", "411051"]}, (1, 4, 7, 10)),
    ({"postal_code": ["411051"], "subdivision_name": ["Wakad"]}, ()),
    ({"bhk": [2, 3.5]}, (1, 5, 9)),
    ({"price_min": 3_000_000, "price_max": 5_000_000}, (2, 3, 4)),
    ({"price_min": 5_000_000, "price_max": 5_000_000}, (4,)),
    ({"carpet_area_min": 600, "carpet_area_max": 800}, (2, 3, 4)),
    ({"property_type": [pb.PROPERTY_TYPE_VILLA, pb.PROPERTY_TYPE_PLOT]}, ()),
    ({"furnishing": [pb.FURNISHING_FURNISHED]}, (11,)),
    ({"facing": [pb.FACING_EAST, pb.FACING_NORTH_EAST]}, (11,)),
    ({"possession_status": pb.POSSESSION_STATUS_READY_TO_MOVE}, (11,)),
    ({"amenities": ["Gym", "lift"]}, (11,)),
    ({"amenities": ["gym", "pool"]}, ()),
    ({"standard_status": [pb.STANDARD_STATUS_PENDING]}, ()),
    (
        {"standard_status": [pb.STANDARD_STATUS_PENDING, pb.STANDARD_STATUS_ACTIVE]},
        range(12),
    ),
    ({"q": "wakad"}, (0, 3, 6, 9)),
    ({"q": "Hinjwadi pune"}, (2, 5, 8, 11)),
    ({"q": "blue riidge"}, (11,)),
    ({"q": "wákad", "bhk": [2]}, (9,)),
    ({"q": "kothrud"}, ()),
    ({"price_per_sqft_min": 4_000, "price_per_sqft_max": 5_000}, (1, 2)),
    ({"floor_min": 3, "floor_max": 3}, (11,)),
    ({"floor_max": 2}, ()),
    ({"ready_by": "2027-01-31"}, (10, 11)),
    ({"ready_by": "2027-01-30"}, (11,)),
    ({"posted_since": timestamp(MONDAY + timedelta(minutes=9))}, (9, 10, 11)),
    ({"price_dropped_since": timestamp(MONDAY)}, (11,)),
    ({"price_dropped_since": timestamp(MONDAY + timedelta.resolution)}, ()),
    ({"has_media": True}, (11,)),
    ({"has_media": False, "bhk": [4]}, (3, 7)),
    ({"rera_verified": True}, (11,)),
    ({"rera_verified": False, "price_max": 2_000_000}, (0, 1)),
    ({"list_office_id": str(OFFICE)}, (11,)),
    ({"bbox": "73.715,18.5,73.745,18.6"}, (2, 3, 4)),
    ({"bbox": "73.715,18.5,73.745,18.6", "bhk": [3], "price_max": 9_000_000}, (2,)),
    ({"near": "18.55,73.75", "radius_m": 100}, (5,)),
    ({"near": "18.55,73.75", "radius_m": 1_600}, (4, 5, 6)),
    ({"near": "18.55,73.75", "radius_m": 1_600, "subdivision_name": ["Wakad"]}, (6,)),
    ({"polygon": "73.69,18.49;73.725,18.49;73.725,18.53;73.69,18.53"}, (0, 1, 2)),
    ({"polygon": "73.69,18.50;73.73,18.54;73.69,18.54;73.69,18.50"}, ()),
    ({"bbox": "10,10,11,11"}, ()),
]


@pytest.mark.parametrize("window", [2_000, 3])
@pytest.mark.parametrize("sort", ["newest", "price", "-price", "price_per_sqft"])
async def test_filters(
    fill: Any, asha: Any, public: Any, sort: str, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether pages are found in order, or gathered because a window ends before they are full."""
    monkeypatch.setattr("agents_service.listings.search.WINDOW", window)
    monkeypatch.setattr("agents_service.listings.search.HELD_WINDOW", window)
    monkeypatch.setattr("agents_service.listings.search.LEAST_WINDOW", 1)
    ids = await fill(*(row(number, asha.agent_id) for number in range(10)))
    ids += await fill(
        row(
            10,
            asha.agent_id,
            possession_status="under_construction",
            possession_date=date(2027, 1, 31),
        )
    )
    ids += await fill(
        row(
            11,
            asha.agent_id,
            address_line="Tower 3, Blue Ridge",
            furnishing="furnished",
            facing="east",
            floor=3,
            possession_status="ready_to_move",
            amenities=["lift", "gym", "garden"],
            media='[{"url": "https://media.example.in/1.jpg", "kind": "photo"}]',
            rera_project_no="P52100012345",
            price_dropped_at=MONDAY,
            list_office_id=OFFICE,
        )
    )
    for asked, numbers in ASKED:
        expected = [ids[number] for number in sorted(numbers, reverse=ORDERS[sort].descending)]
        for page_size in (2, 100):
            answer = await found(public, **asked, sort=sort, page_size=page_size)
            assert answer == expected, (asked, page_size)


async def test_by_agent_and_project(fill: Any, asha: Any, make_lister: Any, public: Any) -> None:
    other = await make_lister()
    project_id = new_id()
    mine, hers = await fill(row(0, asha.agent_id), row(1, other.agent_id, project_id=project_id))
    assert await found(public, list_agent_id=str(asha.agent_id)) == [mine]
    assert await found(public, project_id=str(project_id)) == [hers]
    assert await found(public, project_id=str(project_id), list_agent_id=str(asha.agent_id)) == []


async def test_equal_keys_are_told_apart_by_their_ids(fill: Any, asha: Any, public: Any) -> None:
    ids = await fill(
        *(row(0, asha.agent_id, subdivision_name=name) for name in ("Wakad", "Baner") * 6)
    )
    around = {"near": "18.5,73.7", "q": "pune"}
    for sort, order in ORDERS.items():
        seen = await found(public, sort=sort, page_size=5, **around)
        assert seen == sorted(ids, reverse=order.descending)


async def test_the_nearest_come_first_and_the_likest(fill: Any, asha: Any, public: Any) -> None:
    lines = ("Blue Ridge", None, "Lagoon", "Blue Ridgs", "Blue Ridge Annexe", None)
    ids = await fill(
        *(row(number, asha.agent_id, address_line=line) for number, line in enumerate(lines)),
        row(9, asha.agent_id, latitude=None, longitude=None),
    )
    nearest = [ids[number] for number in (3, 4, 2, 5, 1, 0)]
    near = {"near": "18.5305,73.7305", "radius_m": 20_000}
    assert await found(public, **near, sort="distance", page_size=2) == nearest
    assert await found(public, **near, sort="distance", bhk=[4, 3], page_size=1) == nearest[:3:2]
    likest = await found(public, q="blue ridge", sort="relevance", page_size=1)
    assert set(likest[:2]) == {ids[0], ids[4]}
    assert likest[2:] == [ids[3]]


async def test_pages_are_stable_under_inserts(fill: Any, asha: Any, public: Any) -> None:
    ids = await fill(*(row(number, asha.agent_id) for number in range(30)))
    request, seen = searching(pb.ListListingsRequest, page_size=7, city="Pune"), []
    while True:
        page = await public.ListListings(request)
        seen += [listing.id for listing in page.listings]
        await fill(*(row(100 + number, asha.agent_id) for number in range(3)))
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == ids[::-1]


async def test_a_page_token_is_of_its_own_query_alone(fill: Any, asha: Any, public: Any) -> None:
    await fill(*(row(number, asha.agent_id) for number in range(3)))
    page = await public.ListListings(pb.ListListingsRequest(page_size=1))
    token = page.next_page_token
    for request in (
        searching(pb.ListListingsRequest, page_size=1, city="Pune", page_token=token),
        pb.ListListingsRequest(page_size=1, sort="price", page_token=token),
        searching(pb.ListListingsRequest, page_size=1, bbox="73,18,74,19", page_token=token),
        pb.ListListingsRequest(page_size=1, page_token="A" + token[1:]),
        pb.ListListingsRequest(page_size=1, page_token="x"),
    ):
        with pytest.raises(InvalidArgument) as refused:
            await public.ListListings(request)
        assert refused.value.reason == "PAGE_TOKEN_INVALID"


async def test_what_is_not_public_is_listed_for_its_own_alone(
    agents: Running,
    tokens: Tokens,
    fill: Any,
    asha: Any,
    broker: Any,
    make_lister: Any,
    public: Any,
) -> None:
    other = await make_lister()
    office = {"list_office_id": asha.office_id}
    draft, withdrawn, hers = await fill(
        row(0, asha.agent_id, standard_status="incomplete", list_price=None, on_market_date=None)
        | office,
        row(1, asha.agent_id, standard_status="withdrawn") | office,
        row(2, other.agent_id, standard_status="withdrawn"),
    )
    statuses = [pb.STANDARD_STATUS_INCOMPLETE, pb.STANDARD_STATUS_WITHDRAWN]
    everything = {"standard_status": statuses}
    own = {**everything, "list_agent_id": str(asha.agent_id)}
    with pytest.raises(Unauthenticated):
        await found(public, **own)
    for asked in (everything, {**everything, "list_agent_id": str(other.agent_id)}):
        with pytest.raises(PermissionDenied):
            await found(asha.listings, **asked)
    assert set(await found(asha.listings, **own)) == {draft, withdrawn}
    assert await found(asha.listings, **own, sort="price") == [draft, withdrawn]
    assert set(await found(broker, **own)) == {draft, withdrawn}
    assert await found(broker, **everything, list_agent_id=str(other.agent_id)) == []
    admin = ListingServiceStub(agents.caller(tokens.admin()))
    assert set(await found(admin, **everything)) == {draft, withdrawn, hers}
    assert await found(public) == []


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"price_min": 2, "price_max": 1}, "filters.price_max"),
    ({"carpet_area_min": 2, "carpet_area_max": 1}, "filters.carpet_area_max"),
    ({"q": "-- !"}, "filters.q"),
    ({"q": "x" * 10_000}, "filters.q"),
    ({"q": "a b c d e f g h i j"}, "filters.q"),
    ({"q": "a " * 21}, "filters.q"),
    ({"price_per_sqft_min": 2, "price_per_sqft_max": 1}, "filters.price_per_sqft_max"),
    ({"floor_min": 2, "floor_max": 1}, "filters.floor_max"),
    ({"floor_max": 201}, "filters.floor_max"),
    ({"ready_by": "2026-02-30"}, "filters.ready_by"),
    ({"bbox": "73.7,18.5,73.8"}, "filters.bbox"),
    ({"bbox": "73.8,18.5,73.7,18.6"}, "filters.bbox"),
    ({"bbox": "73.7,18.6,73.8,18.5"}, "filters.bbox"),
    ({"bbox": "73.7,18.6,73.8,nan"}, "filters.bbox"),
    ({"bbox": "73.7,18.6,190,19"}, "filters.bbox"),
    ({"near": "99,73"}, "filters.near"),
    ({"near": "18.5;73.7"}, "filters.near"),
    ({"near": "18.5,73.7", "radius_m": 5}, "filters.radius_m"),
    ({"radius_m": 500}, "filters.near"),
    ({"sort": "distance"}, "filters.near"),
    ({"polygon": "73,18;74,18"}, "filters.polygon"),
    ({"polygon": "73,18;74,19;74,18;73,19"}, "filters.polygon"),
    ({"polygon": "73,18;74,18;73,18;73,19"}, "filters.polygon"),
    ({"polygon": "73,18;75,18;74,18"}, "filters.polygon"),
    ({"polygon": "73,18;74,18;73,100"}, "filters.polygon"),
    ({"polygon": "73,18;" * 1_000}, "filters.polygon"),
    ({"posted_since": Timestamp(seconds=10**12)}, "news.posted_since"),
    ({"page_size": 101}, "page_size"),
    ({"page_size": -1}, "page_size"),
    ({"sort": "random"}, "sort"),
    ({"bhk": [0.3]}, "filters.bhk[0]"),
    ({"standard_status": [0]}, "standard_status[0]"),
    ({"standard_status": [77]}, "standard_status[0]"),
    ({"facing": [pb.FACING_EAST] * 9}, "filters.facing"),
    ({"postal_code": ["4110"]}, "filters.postal_code[0]"),
    ({"list_agent_id": "7"}, "filters.list_agent_id"),
    ({"city": "P"}, "filters.city"),
]


async def test_bad_input_names_its_field(public: Any) -> None:
    for asked, field in WRONG:
        with pytest.raises(InvalidArgument) as refused:
            await public.ListListings(searching(pb.ListListingsRequest, **asked))
        assert [violation.field for violation in refused.value.violations] == [field], asked


@asynccontextmanager
async def counted(agents: Running) -> AsyncIterator[list[str]]:
    """The statements that the service sends to Postgres, but for those of its relay and leases."""
    sent: list[str] = []
    reads = agents.database._reads
    fetch = reads.fetch

    async def noting(sql: str, values: Any, **how: Any) -> Any:
        if "FROM listings" in sql:
            sent.append(sql)
        return await fetch(sql, values, **how)

    reads.fetch = noting  # type: ignore[method-assign]
    yield sent
    reads.fetch = fetch  # type: ignore[method-assign]


async def test_each_read_is_one_query(
    agents: Running, fill: Any, asha: Any, public: Any, tokens: Tokens
) -> None:
    ids = await fill(*(row(number, asha.agent_id) for number in range(30)))
    crm = ListingServiceStub(agents.caller(tokens.service("crm")))
    reads: list[Callable[[], Any]] = [
        lambda: public.GetListing(pb.GetListingRequest(listing_id=ids[0])),
        lambda: public.ListListingHistory(pb.ListListingHistoryRequest(listing_id=ids[0])),
        lambda: crm.BatchGetListingOwners(pb.BatchGetListingOwnersRequest(listing_ids=ids)),
    ]
    for read in reads:
        async with counted(agents) as sent:
            await read()
        assert len(sent) == 1


async def test_a_page_is_one_query_and_another_for_listings_that_are_new_or_changed(
    agents: Running, fill: Any, asha: Any, public: Any
) -> None:
    ids = await fill(*(row(number, asha.agent_id) for number in range(30)))
    page = pb.ListListingsRequest()
    by_words = searching(pb.ListListingsRequest, q="wakad", sort="-price", page_size=5)
    for request, queries in ((page, 2), (page, 1), (by_words, 1)):
        async with counted(agents) as sent:
            await public.ListListings(request)
        assert len(sent) == queries
    change = pb.UpdateListingRequest(listing_id=ids[29], listing=pb.Listing(list_price=7))
    change.update_mask.paths.append("list_price")
    await asha.listings.UpdateListing(change)
    for queries in (2, 1):
        async with counted(agents) as sent:
            first = (await public.ListListings(page)).listings[0]
        assert (first.id, first.list_price, first.version) == (ids[29], 7, 2)
        assert len(sent) == queries


@pytest.fixture
def pages(agents: Running) -> Pages:
    return Pages(ListingRepository(agents.database))


ACTIVE = Search(standard_status=["active"], listing_type=["sale"], filters={}, limit=21)


async def test_what_changed_since_it_was_found_is_shown_as_it_is_or_not_at_all(
    pages: Pages, fill: Any, asha: Any, public: Any
) -> None:
    sold, dearer, same = await fill(*(row(number, asha.agent_id) for number in (3, 2, 1)))
    found = await pages.find(ACTIVE)
    await pages.show(["active"], found, MONDAY)
    found = [each._replace(version=0) for each in found]
    await asha.move(pb.Listing(id=sold), "hold")
    change = pb.UpdateListingRequest(listing_id=dearer, listing=pb.Listing(list_price=7))
    change.update_mask.paths.append("list_price")
    await asha.listings.UpdateListing(change)
    shown = (await pages.show(["active"], found, MONDAY)).listings
    assert [(each.id, each.list_price) for each in shown] == [(dearer, 7), (same, 2_000_000)]


async def test_what_is_kept_grows_a_day_older_every_day(pages: Pages, fill: Any, asha: Any) -> None:
    await fill(row(0, asha.agent_id, on_market_date=MONDAY))
    found = await pages.find(ACTIVE)
    day = timedelta(days=1)
    for age in (0 * day, day - timedelta.resolution, day, 1.5 * day, 9 * day):
        [listing] = (await pages.show(["active"], found, MONDAY + age)).listings
        assert listing.days_on_market == age.days


async def test_no_more_is_kept_than_there_is_room_for(
    pages: Pages, fill: Any, asha: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents_service.listings.pages.KEPT", 2)
    ids = await fill(*(row(number, asha.agent_id) for number in range(4)))
    shown = (await pages.show(["active"], await pages.find(ACTIVE), MONDAY)).listings
    assert [each.id for each in shown] == ids[::-1]
    assert len(pages._kept) == 2


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


async def test_an_unknown_listing_is_not_found(public: Any) -> None:
    with pytest.raises(NotFound):
        await public.ListListingHistory(pb.ListListingHistoryRequest(listing_id=str(new_id())))
