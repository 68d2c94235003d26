"""Fields of rows are read as messages with the same fields would be: the same columns, or faults of the same fields."""

import uuid
from typing import Any

import pytest

from agents_service.listing_files.fields import read, read_closing
from agents_service.listings.messages import INPUT, from_wire
from chassis.constraints import validate
from chassis.errors import InvalidArgument
from chassis.protobuf import numbers_of, values
from propmubi.agents.v1 import listings_pb2 as pb

LISTING = pb.Listing.DESCRIPTOR.fields_by_name
SOUND = {"listing_type": "sale", "property_type": "apartment"}
ADDRESS = {
    "subdivision_name": "Wakad",
    "city": "Pune",
    "state": "Maharashtra",
    "postal_code": "411057",
}
PICTURE = {"url": "https://m.in/1.jpg", "kind": "photo"}
# What a field may be given and what not.
GIVEN: dict[str, list[Any]] = {
    "listing_type": ["rent", None, ...],
    "property_type": ["villa", None, ...],
    "property_sub_type": ["", "penthouse", "x" * 60, "x" * 61, "a\0b", None],
    "list_price": [0, 1, 10**12, 10**12 + 1, None],
    "bhk": [0, 0.5, 2, 2.25, 20, 20.5, None],
    "bedrooms_total": [-1, 0, 50, 51],
    "bathrooms_total": [-1, 0, 50, 51],
    "carpet_area": [49, 50, 1_000_000, 1_000_001],
    "built_up_area": [49, 900],
    "super_built_up_area": [49, 900],
    "furnishing": ["furnished", None],
    "facing": ["north_east", None],
    "floor": [-6, -5, 0, 200, 201],
    "total_floors": [0, 1, 200, 201],
    "year_built": [1799, 1800, 2101],
    "possession_status": ["ready_to_move", None],
    "possession_date": ["2027-02-28", "2027-02-29", "28.2.2027", "1500-01-01", "", None],
    "project_id": [str(uuid.UUID(int=1)), str(uuid.UUID(int=10)).upper(), "1", None],
    "unit_id": [str(uuid.UUID(int=1)), "1"],
    "rera_project_no": ["1234", "P52100012345", None],
    "latitude": [5.9, 6, 18.5987, 38.1],
    "longitude": [67.9, 68, 73.76, 98.1],
    "amenities": [[], ["Lift", "gym "], ["x"], ["lift"] * 2, ["Lift", "lift"], ["ab"] * 61, None],
    "public_remarks": ["", "x" * 5000, "x" * 5001, "पुणे"],
    "listing_contract_date": ["2026-01-31", "soon"],
    "expiration_date": ["2026-01-31", "soon"],
    "activation_date": ["2026-01-31", "soon"],
    "address": [
        None,
        ADDRESS,
        ADDRESS | {"line": " A-1203,  Blue Ridge ", "unit_number": "1"},
        ADDRESS | {"city": "  "},
        ADDRESS | {"city": "", "line": ""},
        ADDRESS | {"postal_code": "41105"},
        {},
    ],
    "media": [
        None,
        [],
        [PICTURE, PICTURE | {"caption": "The hall", "kind": "video"}],
        [PICTURE | {"url": "m.in/1.jpg"}],
        [{"kind": "photo"}, {"url": "https://m.in/2.jpg"}],
        [PICTURE] * 51,
    ],
}


def by_message(given: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """The columns that `given` sets, or the fields with faults, by way of a message."""
    listing = pb.Listing(
        **{name: _sent(name, value) for name, value in given.items() if value is not None}
    )
    faults = validate(pb.CreateListingRequest(listing=listing))
    try:
        columns = {} if faults else from_wire(values(listing, *given))
    except InvalidArgument as error:
        columns, faults = {}, list(error.violations)
    return columns, {fault.field.removeprefix("listing.") for fault in faults}


def _sent(name: str, value: Any) -> Any:
    if name == "media":
        kinds = numbers_of(pb.MediaKind.DESCRIPTOR)
        return [{**each, "kind": kinds[each.get("kind", "unspecified")]} for each in value]
    enum = LISTING[name].enum_type
    return numbers_of(enum)[value] if enum is not None else value


def by_row(given: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    found: list[Any] = []
    columns = {}
    try:
        columns = read(given, found)
    except InvalidArgument as error:
        found = list(error.violations)
    return columns, {fault.field.removeprefix("listing.") for fault in found}


def test_all_fields_are_tried() -> None:
    assert set(GIVEN) == set(INPUT)


@pytest.mark.parametrize("name", GIVEN)
def test_rows_are_read_as_messages_are(name: str) -> None:
    for value in GIVEN[name]:
        given = {each: it for each, it in {**SOUND, name: value}.items() if it is not ...}
        assert by_row(given) == by_message(given), value


@pytest.mark.parametrize("junk", [True, 1.5, 10**30, "1", "sale", [1], [[]], [None], {"a": 1}, {}])
def test_what_is_of_another_type_is_a_fault_of_its_field(junk: Any) -> None:
    for name in INPUT:
        columns, faults = by_row({**SOUND, name: junk})
        assert faults or name in columns
        if not faults:
            assert isinstance(junk, str) or (name, junk) == ("bhk", 1.5), (name, junk)
        else:
            assert not columns
            assert all(fault.startswith(name) for fault in faults)


def test_several_faults_are_told_at_once() -> None:
    found: list[Any] = []
    read({"listing_type": "lease", "bhk": 0.3, "colour": "red", "address": {"town": 1}}, found)
    assert [fault.field for fault in found] == [
        "listing_type",
        "bhk",
        "colour",
        "address.town",
        "address.subdivision_name",
        "address.city",
        "address.state",
        "address.postal_code",
        "property_type",
    ]
    found.clear()
    read_closing({"close_price": 0, "close_date": "today"}, found)
    assert [fault.field for fault in found] == ["close_price", "close_date"]
