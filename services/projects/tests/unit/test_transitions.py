"""Every (status, move) of domain.md, walked: what is not named there is refused."""

import uuid
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import product
from typing import Any

import pytest

from chassis.errors import Conflict
from projects_service.builders import domain as builders
from projects_service.builders.domain import Builder, BuilderStatus
from projects_service.projects import domain as projects
from projects_service.projects.domain import Address, Project, ProjectStatus
from projects_service.units import domain as units
from projects_service.units.domain import Sale, Unit, UnitStatus

NOW = datetime(2026, 11, 22, tzinfo=UTC)
TODAY = NOW.date()
ID = uuid.uuid4()
STAMPS: dict[str, Any] = {"version": 1, "created_at": NOW, "updated_at": NOW}

BUILDER = Builder(
    builder_name="Sahyadri Homes LLP",
    rera_promoter_no="P52100012345",
    rera_state="Maharashtra",
    gstin=None,
    id=ID,
    user_id=ID,
    verification_status="well_formed",
    status=BuilderStatus.ACTIVE,
    person_erased=False,
    **STAMPS,
)
PROJECT = Project(
    project_name="Sahyadri Greens",
    rera_project_no="P52100012345",
    rera_valid_to=TODAY,
    address=Address(
        line=None,
        subdivision_name="Wakad",
        city="Pune",
        state="Maharashtra",
        postal_code="411057",
    ),
    latitude=None,
    longitude=None,
    possession_date=None,
    amenities=(),
    id=ID,
    builder_id=ID,
    verification_status="well_formed",
    status=ProjectStatus.SELLING,
    **STAMPS,
)
SALE = Sale(
    builder_id=ID,
    builder_status="active",
    project_status="selling",
    rera_valid_to=TODAY,
    city="Pune",
    state="Maharashtra",
)
UNIT = Unit(
    id=ID,
    project_id=ID,
    tower_id=ID,
    unit_type_id=ID,
    unit_no="A-101",
    floor=1,
    facing=None,
    preferential_location_charge=0,
    floor_rise_charge=0,
    parking_charge=0,
    price=8_500_000,
    bhk=2,
    carpet_area=780,
    base_price=8_500_000,
    status=UnitStatus.AVAILABLE,
    claim_id=None,
    claim_expires_at=None,
    claim_expired=False,
    sale=SALE,
    **STAMPS,
)

BUILDER_MOVES = {
    ("pending_verification", "verify"): "active",
    ("active", "suspend"): "suspended",
    ("suspended", "reinstate"): "active",
}
PROJECT_MOVES = {
    ("draft", "registered"),
    ("registered", "selling"),
    ("selling", "completed"),
    ("lapsed", "selling"),
}
UNIT_MOVES = {
    ("available", "hold"): "held",
    ("held", "release"): "available",
    ("held", "expire"): "available",
    ("blocked", "expire"): "available",
    ("available", "book"): "booked",
    ("held", "book"): "booked",
    ("blocked", "book"): "booked",
    ("available", "freeze"): "frozen",
    ("frozen", "unfreeze"): "available",
}


@pytest.mark.parametrize(("status", "move"), [*product(BuilderStatus, builders.TRANSITIONS)])
def test_builders_move_as_the_domain_says(status: BuilderStatus, move: str) -> None:
    builder, after = replace(BUILDER, status=status), BUILDER_MOVES.get((status, move))
    if after is None:
        with pytest.raises(Conflict) as refused:
            builders.status_after(builder, move)
        assert refused.value.reason == "ILLEGAL_TRANSITION"
    else:
        assert builders.status_after(builder, move) == after


@pytest.mark.parametrize(("status", "after"), [*product(ProjectStatus, ProjectStatus)])
def test_projects_move_as_the_domain_says(status: ProjectStatus, after: ProjectStatus) -> None:
    project = replace(PROJECT, status=status)
    if (status, after) in PROJECT_MOVES:
        projects.check_move(project, after, TODAY)
    else:
        with pytest.raises(Conflict) as refused:
            projects.check_move(project, after, TODAY)
        assert refused.value.reason == "ILLEGAL_TRANSITION"


@pytest.mark.parametrize(("status", "move"), [*product(UnitStatus, units.TRANSITIONS)])
def test_units_move_as_the_domain_says(status: UnitStatus, move: str) -> None:
    unit, after = replace(UNIT, status=status), UNIT_MOVES.get((status, move))
    if after is None:
        with pytest.raises(Conflict) as refused:
            units.status_after(unit, move)
        assert refused.value.reason == units.REFUSALS.get(move, "ILLEGAL_TRANSITION")
    else:
        assert units.status_after(unit, move) == after


@pytest.mark.parametrize("status", [*UnitStatus])
def test_the_price_of_a_claimed_unit_stands_still(status: UnitStatus) -> None:
    unit = replace(UNIT, status=status)
    if status in {"available", "frozen"}:
        units.check_changeable(unit)
    else:
        with pytest.raises(Conflict):
            units.check_changeable(unit)


@pytest.mark.parametrize("status", ["registered", "selling"])
def test_going_to_market_needs_a_registration_in_date(status: str) -> None:
    before = {"registered": "draft", "selling": "lapsed"}[status]
    project = replace(PROJECT, status=ProjectStatus(before), rera_valid_to=date(2026, 11, 21))
    with pytest.raises(Conflict) as refused:
        projects.check_move(project, ProjectStatus(status), TODAY)
    assert refused.value.reason == "PROJECT_INCOMPLETE"
    assert [violation.field for violation in refused.value.violations] == ["rera_valid_to"]


def test_a_unit_whose_claim_ran_out_reads_as_the_sweep_will_leave_it() -> None:
    held = replace(
        UNIT, status=UnitStatus.HELD, claim_id=ID, claim_expires_at=NOW, claim_expired=True
    )
    assert held.current() == replace(UNIT, version=2)
    assert replace(held, claim_expired=False).current().status == "held"


def test_a_booking_is_for_the_lead_that_the_unit_is_held_for() -> None:
    other = uuid.uuid4()
    assert units.lead_of_booking(None, None) is None
    assert units.lead_of_booking(ID, None) == units.lead_of_booking(None, ID) == ID
    with pytest.raises(Exception, match="not valid"):
        units.lead_of_booking(ID, other)
