"""The life of a listing, walked through as domain.md has it, and what its fields owe each other."""

import uuid
from datetime import date
from typing import Any

import pytest

from agents_service.listings.domain import (
    TRANSITIONS,
    Listing,
    Mover,
    StandardStatus,
    check_changeable,
    check_close,
    check_consistent,
    check_move,
    check_publishable,
    is_registrable,
)
from chassis.errors import Conflict, InvalidArgument, PermissionDenied

TODAY = date(2026, 11, 22)
PEOPLE = (Mover.AGENT, Mover.OFFICE_ADMIN)

# domain.md, "standard_status", word for word; then what moves by itself (flows 3, 4 and 6).
BY_PEOPLE = {
    "incomplete": "coming_soon active",
    "coming_soon": "active withdrawn canceled",
    "active": "active_under_contract pending hold withdrawn canceled(office_admin)",
    "active_under_contract": "pending active",
    "pending": "closed active",
    "hold": "active withdrawn canceled",
    "withdrawn": "active canceled expired",
    "expired": "",
    "canceled": "",
    "closed": "",
}
LEAVES_MARKET = {
    (status, "withdrawn")
    for status in ("coming_soon", "active", "active_under_contract", "pending", "hold")
}
BY_ITSELF = {
    Mover.CLOCK: {("active", "expired"), ("withdrawn", "expired"), ("coming_soon", "active")},
    Mover.UNIT: {
        ("active", "hold"),
        ("active", "pending"),
        ("active_under_contract", "pending"),
        ("hold", "pending"),
        ("hold", "active"),
        ("pending", "active"),
    },
    Mover.SUSPENSION: LEAVES_MARKET,
    Mover.LAPSE: LEAVES_MARKET,
}


def expected(before: str, after: str, mover: Mover) -> type[Exception] | None:
    """How domain.md has it that `mover` takes a listing from `before` to `after`."""
    if mover not in PEOPLE:
        return None if (before, after) in BY_ITSELF[mover] else Exception
    moves = BY_PEOPLE[before].split()
    if f"{after}(office_admin)" in moves:
        return None if mover is Mover.OFFICE_ADMIN else PermissionDenied
    return None if after in moves else Conflict


@pytest.mark.parametrize("mover", Mover)
@pytest.mark.parametrize("after", StandardStatus)
@pytest.mark.parametrize("before", StandardStatus)
def test_every_move_is_as_the_domain_has_it(before: str, after: str, mover: Mover) -> None:
    refused = expected(before, after, mover)
    if refused is None:
        check_move(before, after, {mover})
        return
    with pytest.raises(refused) as error:
        check_move(before, after, {mover})
    assert mover not in TRANSITIONS[before].get(after, ())
    if refused is Conflict:
        assert str(error.value) == f"A listing can't go from {before} to {after}."


def test_every_status_has_its_moves() -> None:
    assert set(TRANSITIONS) == set(StandardStatus)


def listing(**changes: Any) -> Listing:
    fields: dict[str, Any] = dict.fromkeys(Listing._fields)
    complete = {
        "id": uuid.uuid4(),
        "listing_type": "sale",
        "property_type": "apartment",
        "standard_status": "incomplete",
        "list_price": 8_500_000,
        "carpet_area": 780,
        "city": "Pune",
        "amenities": [],
        "media": "[]",
    }
    return Listing(**{**fields, **complete, **changes})


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, set()),
        ({"list_price": None}, {"list_price"}),
        ({"carpet_area": None}, {"carpet_area"}),
        ({"carpet_area": None, "super_built_up_area": 1000}, set()),
        ({"city": None}, {"address"}),
        ({"possession_status": "under_construction"}, {"rera_project_no"}),
        (
            {"possession_status": "under_construction", "rera_project_no": "P52100012345"},
            set(),
        ),
        ({"expiration_date": date(2026, 11, 21)}, {"expiration_date"}),
        ({"expiration_date": TODAY}, set()),
        (
            {"list_price": None, "carpet_area": None, "city": None, "unit_id": uuid.uuid4()},
            {"list_price", "carpet_area", "address", "rera_project_no"},
        ),
    ],
)
def test_publishing_names_each_thing_that_is_missing(
    changes: dict[str, Any], missing: set[str]
) -> None:
    if not missing:
        check_publishable(listing(**changes), TODAY)
        return
    with pytest.raises(Conflict) as refused:
        check_publishable(listing(**changes), TODAY)
    assert refused.value.reason == "LISTING_INCOMPLETE"
    assert {violation.field for violation in refused.value.violations} == missing


@pytest.mark.parametrize(
    ("changes", "registrable"),
    [
        ({}, False),
        ({"possession_status": "ready_to_move"}, False),
        ({"possession_status": "under_construction"}, True),
        ({"project_id": uuid.uuid4()}, True),
        ({"unit_id": uuid.uuid4(), "possession_status": "under_construction"}, True),
        ({"project_id": uuid.uuid4(), "possession_status": "ready_to_move"}, False),
        ({"project_id": uuid.uuid4(), "listing_type": "rent"}, False),
    ],
)
def test_what_is_sold_before_it_is_finished_is_registrable(
    changes: dict[str, Any], registrable: bool
) -> None:
    assert is_registrable(listing(**changes)) is registrable


def test_what_is_on_offer_keeps_what_publishing_needed() -> None:
    on_offer = listing(standard_status="active")
    with pytest.raises(Conflict) as refused:
        check_changeable(on_offer, on_offer._replace(list_price=None))
    assert refused.value.reason == "LISTING_INCOMPLETE"
    draft = listing()
    check_changeable(draft, draft._replace(list_price=None))


@pytest.mark.parametrize("status", ["closed", "canceled", "expired"])
def test_what_is_over_is_not_changed(status: str) -> None:
    over = listing(standard_status=status)
    with pytest.raises(Conflict):
        check_changeable(over, over._replace(list_price=1))


@pytest.mark.parametrize(
    ("status", "price", "day", "wrong"),
    [
        ("closed", 1, TODAY, set()),
        ("closed", None, None, {"close_price", "close_date"}),
        ("closed", 1, date(2026, 11, 23), {"close_date"}),
        ("active", 1, TODAY, {"close_price", "close_date"}),
        ("active", None, None, set()),
    ],
)
def test_closing_needs_its_price_and_day(
    status: str, price: int | None, day: date | None, wrong: set[str]
) -> None:
    if not wrong:
        check_close(status, price, day, TODAY)
        return
    with pytest.raises(InvalidArgument) as refused:
        check_close(status, price, day, TODAY)
    assert {violation.field for violation in refused.value.violations} == wrong


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"carpet_area": 800, "built_up_area": 900, "super_built_up_area": 1000}, set()),
        ({"carpet_area": 800, "built_up_area": 700}, {"listing.built_up_area"}),
        ({"carpet_area": 800, "super_built_up_area": 700}, {"listing.super_built_up_area"}),
        ({"floor": 12, "total_floors": 11}, {"listing.total_floors"}),
        ({"floor": 11, "total_floors": 11}, set()),
        ({"latitude": 18.5}, {"listing.longitude"}),
        ({"longitude": 73.8}, {"listing.latitude"}),
        ({"expiration_date": date(2026, 11, 21)}, {"listing.expiration_date"}),
        (
            {"expiration_date": date(2026, 12, 1), "listing_contract_date": date(2026, 12, 2)},
            {"listing.expiration_date"},
        ),
    ],
)
def test_what_fields_owe_each_other(changes: dict[str, Any], wrong: set[str]) -> None:
    fields = {**dict.fromkeys(Listing._fields), **changes}
    if not wrong:
        check_consistent(fields, changes, TODAY)
        return
    with pytest.raises(InvalidArgument) as refused:
        check_consistent(fields, changes, TODAY)
    assert {violation.field for violation in refused.value.violations} == wrong
