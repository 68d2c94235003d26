"""Finding listings: filters, words, orders, and who may find what."""

import uuid
from datetime import date, timedelta
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from agents_service.listings.conditions import ORDERS
from chassis.errors import InvalidArgument, PermissionDenied, Unauthenticated
from chassis.ids import new_id
from chassis.protobuf import timestamp
from devstack.testing_service import Running, Tokens
from propmubi.agents.v1 import listings_pb2 as pb
from propmubi.agents.v1.listings_pb2_grpc import ListingServiceStub
from services.agents.tests.integration.conftest import MONDAY, WAKAD, found, row, searching

OFFICE = uuid.uuid4()
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


async def test_a_home_is_found_by_its_building_as_it_is_called_now(asha: Any, public: Any) -> None:
    listing = await asha.draft(address=at("Sahyadri Heights"))
    await asha.move(listing, "active")
    for name, others in (
        ("Sahyadri Heights", "Kadamba Greens"),
        ("Kadamba Greens", "Sahyadri Heights"),
    ):
        request = pb.UpdateListingRequest(
            listing_id=listing.id,
            listing=pb.Listing(address=at(name)),
            update_mask=FieldMask(paths=["address"]),
        )
        await asha.listings.UpdateListing(request)
        assert await found(public, q=name) == [listing.id]
        assert await found(public, q=name, sort="relevance") == [listing.id]
        assert await found(public, q=others) == []


def at(building: str) -> pb.Address:
    address = pb.Address(building_name=building)
    address.MergeFrom(WAKAD)
    return address


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
    ({"q": "a b c d e f g h j k"}, "filters.q"),
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
