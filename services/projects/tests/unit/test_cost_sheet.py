"""Cost sheets: they add up, and the rates are those of the place."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projects_service.units.cost_sheet import cost_sheet
from projects_service.units.domain import Sale, Unit, UnitStatus

NOW, ID = datetime(2026, 11, 22, tzinfo=UTC), uuid.uuid4()
SALE = Sale(
    builder_id=ID,
    builder_status="active",
    project_status="selling",
    rera_valid_to=None,
    city="Pune",
    state="Maharashtra",
)
UNIT = Unit(
    id=ID,
    project_id=ID,
    tower_id=ID,
    unit_type_id=ID,
    unit_no="A-101",
    floor=None,
    facing=None,
    preferential_location_charge=100_000,
    floor_rise_charge=200_000,
    parking_charge=300_000,
    price=10_000_000,
    bhk=2,
    carpet_area=800,
    base_price=9_000_000,
    status=UnitStatus.AVAILABLE,
    claim_id=None,
    claim_expires_at=None,
    claim_expired=False,
    sale=SALE,
    version=1,
    created_at=NOW,
    updated_at=NOW,
)


@pytest.mark.parametrize(
    ("sale", "unit", "gst"),
    [
        ({}, {}, 500_000),
        ({"project_status": "completed"}, {}, 0),
        # Affordable: by price and by carpet area, which may be less in a metro.
        ({}, {"price": 4_500_000, "carpet_area": 968}, 45_000),
        ({}, {"price": 4_500_000, "carpet_area": 969}, 225_000),
        ({}, {"price": 4_500_001, "carpet_area": 968}, 225_000),
        ({"city": "Mumbai"}, {"price": 4_500_000, "carpet_area": 646}, 225_000),
        ({"city": "Mumbai"}, {"price": 4_500_000, "carpet_area": 645}, 45_000),
    ],
)
def test_gst(sale: dict[str, Any], unit: dict[str, Any], gst: int) -> None:
    assert cost_sheet(replace(UNIT, sale=replace(SALE, **sale), **unit)).gst == gst


@pytest.mark.parametrize(
    ("state", "stamp_duty"),
    [("Maharashtra", 700_000), ("GUJARAT", 490_000), ("Nagaland", 600_000), (None, 600_000)],
)
def test_stamp_duty_is_the_states(state: str | None, stamp_duty: int) -> None:
    assert cost_sheet(replace(UNIT, sale=replace(SALE, state=state))).stamp_duty == stamp_duty


@given(price=st.integers(600_001, 10**12), carpet_area=st.integers(50, 10**6))
def test_it_adds_up(price: int, carpet_area: int) -> None:
    sheet = cost_sheet(replace(UNIT, price=price, carpet_area=carpet_area))
    assert sheet.base_price + 600_000 == sheet.price == price
    assert sheet.price + sheet.gst + sheet.stamp_duty == sheet.all_in_price
    assert abs(sheet.all_in_price_per_sqft - sheet.all_in_price / carpet_area) <= 0.5
