"""What surrounds a search: words that name places, suggestions, counts, clusters on the map, listings like one."""

import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import insert, text

from agents_service.listings.models import listings
from agents_service.search.models import places
from agents_service.search.repository import SearchRepository
from agents_service.search.service import SearchService
from agents_service.search.timers import SearchTimers
from chassis import rera
from chassis.errors import InvalidArgument, NotFound
from chassis.ids import new_id
from devstack.testing_service import Running
from propmubi.agents.v1 import listings_pb2, search_pb2
from propmubi.agents.v1.search_pb2_grpc import SearchServiceStub
from services.agents.tests.integration.conftest import searching

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
Put = Callable[..., Awaitable[str]]


@pytest_asyncio.fixture
async def put(agents: Running, asha: Any) -> Put:
    """Puts an active flat in Wakad into the table, as changed."""

    async def one(**changes: Any) -> str:
        fields = {
            "id": new_id(),
            "list_agent_id": asha.agent_id,
            "listing_type": "sale",
            "property_type": "apartment",
            "standard_status": "active",
            "list_price": 8_000_000,
            "bhk": 2,
            "carpet_area": 800,
            "subdivision_name": "Wakad",
            "city": "Pune",
            "state": "Maharashtra",
            "postal_code": "411057",
            "latitude": 18.6,
            "longitude": 73.76,
            "on_market_date": MONDAY,
            **changes,
        }
        async with agents.database.transaction() as tx:
            await tx.execute(insert(listings).values(fields))
        return str(fields["id"])

    return one


@pytest.fixture
def search(agents: Running) -> Any:
    return SearchServiceStub(agents.caller())


@pytest.fixture
def count_places(agents: Running) -> Callable[[], Awaitable[None]]:
    service = SearchService(SearchRepository(agents.database))
    return SearchTimers(agents.database, service).count_places


async def test_a_place_is_found_with_its_state_in_its_own_script_and_whatever_points_it_has(
    put: Put, public: Any, search: Any, count_places: Any
) -> None:
    wakad = await put()
    veedhi = await put(subdivision_name="Dr. Ambedkar\u2019s Veedhi", city="Bengaluru")
    await count_places()
    for q, expected, named in (
        ("wakad, pune, maharashtra", {wakad}, {"Wakad", "Pune"}),
        ("wakad pune india", {wakad}, {"Wakad", "Pune"}),
        ("wakd, maharashtra, india", {wakad}, {"Wakad"}),
        ("bengaluru, karnataka", {veedhi}, {"Bengaluru"}),
        ("पुणे, महाराष्ट्र", {wakad}, {"Pune"}),
        ("ಬೆಂಗಳೂರು", {veedhi}, {"Bengaluru"}),
        ("Dr. Ambedkar's Veedhi", {veedhi}, {"Dr. Ambedkar\u2019s Veedhi"}),
        ("dr ambedkar s veedhi", {veedhi}, {"Dr. Ambedkar\u2019s Veedhi"}),
        ("maharashtra", set(), set()),
    ):
        page = await public.ListListings(searching(listings_pb2.ListListingsRequest, q=q))
        assert ({each.id for each in page.listings}, q) == (expected, q)
        assert ({place.name for place in page.read_as.places}, q) == (named, q)
    for q, first in (("dr. a", ["Dr. Ambedkar\u2019s Veedhi"]), (".", [])):
        suggested = await search.Suggest(search_pb2.SuggestRequest(q=q))
        assert [place.name for place in suggested.places] == first


async def test_words_name_places_and_the_answer_says_which(
    put: Put, public: Any, count_places: Any, agents: Running
) -> None:
    project_id, builder_id = new_id(), new_id()
    wakad, baner, rent, ridge, whitefield = [
        await put(),
        await put(subdivision_name="Baner", bhk=3),
        await put(listing_type="rent", list_price=30_000),
        await put(subdivision_name="Hinjewadi", project_id=project_id),
        await put(subdivision_name="Whitefield", city="Bengaluru"),
    ]
    await count_places()
    rows = [
        {"kind": "project", "folded": "blue ridge", "name": "Blue Ridge", "city": "Pune"}
        | {"reference_id": project_id, "builder_id": builder_id},
        {"kind": "builder", "folded": "paranjape", "name": "Paranjape", "city": ""}
        | {"reference_id": builder_id, "builder_id": None},
    ]
    async with agents.database.transaction() as tx:
        await tx.execute(insert(places), rows)
    for q, expected, named in (
        ("2bhk wakad under 80 lakh", {wakad, rent}, {"Wakad"}),
        ("wakd for sale", {wakad}, {"Wakad"}),
        ("baner or hinjwadi", {baner, ridge}, {"Baner", "Hinjewadi"}),
        ("bangalore", {whitefield}, {"Bengaluru"}),
        ("whitefield bengalooru", {whitefield}, {"Whitefield", "Bengaluru"}),
        ("blue ridge", {ridge}, {"Blue Ridge"}),
        ("paranjape", {ridge}, {"Paranjape"}),
        ("rent pune", {rent}, {"Pune"}),
        ("wakad me 2bhk flat chahiye, 700 sq ft", {wakad, rent}, {"Wakad"}),
    ):
        page = await public.ListListings(searching(listings_pb2.ListListingsRequest, q=q))
        assert ({each.id for each in page.listings}, q) == (expected, q)
        assert {place.name for place in page.read_as.places} == named
    page = await public.ListListings(searching(listings_pb2.ListListingsRequest, q="rent pune"))
    read = page.read_as
    assert (read.listing_type, list(read.words)) == (listings_pb2.LISTING_TYPE_RENT, [])
    # What a parameter says goes before what is read.
    for asked in ({"bhk": [3]}, {"price_max": 100}, {"city": "Mumbai"}):
        request = searching(listings_pb2.ListListingsRequest, q="2bhk wakad under 80 lakh", **asked)
        assert not (await public.ListListings(request)).listings
    for spelling in ("Bangalore", "bengaluru"):
        page = await public.ListListings(searching(listings_pb2.ListListingsRequest, city=spelling))
        assert [each.id for each in page.listings] == [whitefield]
        assert not page.HasField("read_as")


async def test_places_are_found_by_names_in_indian_scripts(
    put: Put, public: Any, search: Any, count_places: Any
) -> None:
    places_of = {"पुणे": "वाकड", "मुंबई": "हिन्जवडी", "கோவை": "சரவணம்பட்டி", "কলকাতা": "গড়িয়া"}
    homes = {name: await put(city=city, subdivision_name=name) for city, name in places_of.items()}
    await count_places()
    for city, name in places_of.items():
        for q in (name, f"{name} {city}", city):
            page = await public.ListListings(searching(listings_pb2.ListListingsRequest, q=q))
            assert ([each.id for each in page.listings], q) == ([homes[name]], q)
        assert await suggested(search, name[:-1]) == [(name, city, 1)]


async def test_a_home_in_a_city_of_two_names_is_found_once(put: Put, public: Any) -> None:
    """However little its index holds of what is asked for besides."""
    poona, pune = await put(city="Poona"), await put()
    for asked in ({"q": "Wakad"}, {"price_max": 9_000_000}, {"sort": "price", "q": "Wakad"}):
        request = searching(listings_pb2.ListListingsRequest, city="Pune", **asked)
        found = [each.id for each in (await public.ListListings(request)).listings]
        assert (sorted(found), asked) == (sorted([poona, pune]), asked)


async def test_places_are_counted_as_listings_come_and_go(
    put: Put, search: Any, count_places: Any, agents: Running
) -> None:
    await put()
    await put(subdivision_name="wakad")
    await put(subdivision_name="Wákad Road")
    await put(city="Bombay", subdivision_name="Powai")
    await count_places()
    assert await suggested(search, "wak") == [("Wakad", "Pune", 2), ("Wákad Road", "Pune", 1)]
    assert await suggested(search, "wkad") == [("Wakad", "Pune", 2)]
    assert await suggested(search, "BOMBAY") == [("Bombay", "", 1)]
    assert await suggested(search, "pun") == [("Pune", "", 3)]
    assert await suggested(search, "wak", city="Mumbai") == []
    assert await suggested(search, "pow", city="mumbai") == [("Powai", "Bombay", 1)]
    assert await suggested(search, "%") == []
    async with agents.database.transaction() as tx:
        await tx.execute(text("update listings set standard_status = 'hold' where city = 'Bombay'"))
    await count_places()
    assert await suggested(search, "powai") == [("Powai", "Bombay", 0)]


async def suggested(search: Any, q: str, **asked: Any) -> list[tuple[str, str, int]]:
    answer = await search.Suggest(search_pb2.SuggestRequest(q=q, **asked))
    return [(place.name, place.city, place.listings) for place in answer.places]


async def test_each_facet_leaves_its_own_filter_out(put: Put, search: Any) -> None:
    await put()
    await put(bhk=3, list_price=12_000_000)
    await put(bhk=3, subdivision_name="Baner", list_price=12_000_000)
    await put(bhk=2.5, property_type="villa", list_price=600_000_000)
    await put(standard_status="hold")
    facets = await search.GetListingFacets(
        searching(
            search_pb2.GetListingFacetsRequest, city="Pune", bhk=[3], subdivision_name=["Wakad"]
        )
    )
    assert counts(facets.localities) == {"Wakad": 1, "Baner": 1}
    assert counts(facets.bhk) == {"2": 1, "2.5": 1, "3": 1}
    assert counts(facets.property_types) == {"apartment": 1}
    [band] = facets.price_bands
    assert (band.price_min, band.price_below, band.count) == (10_000_000, 15_000_000, 1)
    assert (facets.total, facets.capped) == (1, False)
    everything = await search.GetListingFacets(search_pb2.GetListingFacetsRequest())
    assert everything.total == 4
    assert not everything.price_bands[-1].HasField("price_below")
    nothing = await search.GetListingFacets(
        searching(search_pb2.GetListingFacetsRequest, city="Nagpur")
    )
    assert (nothing.total, len(nothing.bhk), nothing.capped) == (0, 0, False)


async def test_a_locality_is_counted_once_however_it_is_written(put: Put, search: Any) -> None:
    for name in ("Wakad", "wakad", "WAKAD", "Wákad"):
        await put(subdivision_name=name)
    facets = await search.GetListingFacets(search_pb2.GetListingFacetsRequest())
    assert sorted(counts(facets.localities).values()) == [1, 3]
    [name] = [each.value for each in facets.localities if each.count == 3]
    shown = await search.GetListingFacets(
        searching(search_pb2.GetListingFacetsRequest, subdivision_name=[name])
    )
    assert shown.total == 3


async def test_counts_and_clusters_say_where_they_are_capped(
    put: Put, search: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window is of 10 listings for a sample of 5; what it finds less of than 2 is gathered."""
    monkeypatch.setattr("agents_service.search.service.SAMPLE", 5)
    monkeypatch.setattr("agents_service.listings.search.WINDOW", 1)
    monkeypatch.setattr("agents_service.listings.search.HELD_WINDOW", 1)
    monkeypatch.setattr("agents_service.listings.search.LEAST_WINDOW", 1)
    monkeypatch.setattr("agents_service.search.repository.FAIR_SAMPLE", 2)
    for number in range(12):
        rare = {"facing": "east"} if number == 0 else {}
        at = MONDAY + timedelta(minutes=number)
        await put(on_market_date=at, **{"furnishing": "furnished" if number < 6 else None, **rare})
    box = "73,18,74,19"
    for asked, total, capped in (
        ({}, 5, True),
        ({"furnishing": [listings_pb2.FURNISHING_FURNISHED]}, 3, True),
        ({"facing": [listings_pb2.FACING_EAST]}, 1, False),
        ({"facing": [listings_pb2.FACING_WEST]}, 0, False),
    ):
        facets = await search.GetListingFacets(
            searching(search_pb2.GetListingFacetsRequest, **asked)
        )
        assert (facets.total, facets.capped) == (total, capped), asked
        shown = await search.GetListingMap(
            searching(search_pb2.GetListingMapRequest, bbox=box, zoom=9, **asked)
        )
        assert (shown.total, shown.capped) == (total, capped), asked


def counts(facet: Any) -> dict[str, int]:
    return {each.value: each.count for each in facet}


async def test_listings_that_are_together_on_the_map_are_a_cluster(put: Put, search: Any) -> None:
    await put(list_price=7)
    await put(latitude=18.602)
    far = await put(latitude=18.9, longitude=73.9)
    await put(latitude=28.6, longitude=77.2)
    await put(latitude=None, longitude=None)
    ask = searching(search_pb2.GetListingMapRequest, bbox="73.7,18.5,74,19", zoom=12)
    shown = await search.GetListingMap(ask)
    near, alone = shown.clusters
    assert (near.count, near.price_min, near.HasField("listing_id")) == (2, 7, False)
    assert (near.latitude, near.longitude) == pytest.approx((18.601, 73.76), abs=1e-4)
    assert (alone.count, alone.listing_id) == (1, far)
    assert (shown.total, shown.capped) == (3, False)
    ask.zoom = 18
    assert [each.count for each in (await search.GetListingMap(ask)).clusters] == [1, 1, 1]


async def test_similar_listings_are_near_and_alike(put: Put, search: Any) -> None:
    wanted = await put()
    likest = await put(latitude=18.605)
    further = await put(latitude=18.64)
    dearer = await put(list_price=10_000_000, bhk=2.5)
    for other in (
        {"listing_type": "rent"},
        {"property_type": "villa"},
        {"bhk": 4},
        {"list_price": 20_000_000},
        {"standard_status": "hold"},
    ):
        await put(**other)
    assert await similar(search, wanted) == [likest, dearer, further]
    nowhere = {"latitude": None, "longitude": None}
    unplaced = await put(**nowhere, subdivision_name="Baner")
    beside = await put(subdivision_name="Baner", latitude=12.0)
    assert await similar(search, unplaced) == [beside]
    assert await similar(search, await put(property_type="shop", **nowhere)) == []
    hidden = await put(standard_status="withdrawn")
    for unknown in (hidden, str(uuid.uuid4())):
        with pytest.raises(NotFound):
            await similar(search, unknown)


async def similar(search: Any, listing_id: str) -> list[str]:
    request = search_pb2.ListSimilarListingsRequest(listing_id=listing_id)
    return [each.id for each in (await search.ListSimilarListings(request)).listings]


async def test_bad_input_names_its_field(search: Any) -> None:
    for ask, request, field in (
        (search.GetListingMap, searching(search_pb2.GetListingMapRequest, zoom=3), "filters.bbox"),
        (search.GetListingMap, searching(search_pb2.GetListingMapRequest, bbox="1,2,3,4"), "zoom"),
        (
            search.GetListingMap,
            searching(search_pb2.GetListingMapRequest, bbox="1,2,3", zoom=3),
            "filters.bbox",
        ),
        (
            search.GetListingFacets,
            searching(search_pb2.GetListingFacetsRequest, near="1;2"),
            "filters.near",
        ),
        (search.Suggest, search_pb2.SuggestRequest(q=""), "q"),
        (search.Suggest, search_pb2.SuggestRequest(q="x" * 10_000), "q"),
    ):
        with pytest.raises(InvalidArgument) as refused:
            await ask(request)
        assert [violation.field for violation in refused.value.violations] == [field]


async def test_the_database_knows_the_shapes_of_rera_numbers(agents: Running) -> None:
    numbers = ("P52100012345", "PRM/KA/RERA/1251/446/PR/010101/000123", "K-RERA/PRJ/EKM/1/2024", "")
    async with agents.database.transaction() as tx:
        for state in (*rera.PATTERNS, " Maharashtra ", "Sikkim", None):
            for number in (*numbers, None):
                answer = await tx.execute(
                    text("select rera_well_formed(:state, :number)"),
                    {"state": state, "number": number},
                )
                well_formed = rera.check("project", state, number) == "well_formed"
                assert answer.scalar() == well_formed, (state, number)
