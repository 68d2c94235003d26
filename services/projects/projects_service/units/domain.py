"""What a unit is, which moves it may make, and who has a claim on it."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum

from chassis.errors import Conflict, InvalidArgument, RateLimited, Violation
from projects_service.builders.domain import BuilderStatus, not_active
from projects_service.projects.domain import ProjectStatus, on_sale


class UnitStatus(StrEnum):
    AVAILABLE = "available"
    HELD = "held"
    BLOCKED = "blocked"
    BOOKED = "booked"
    AGREEMENT_EXECUTED = "agreement_executed"
    REGISTERED = "registered"
    POSSESSION_GIVEN = "possession_given"
    CANCELLED = "cancelled"
    FROZEN = "frozen"


class ClaimKind(StrEnum):
    HOLD = "hold"
    BLOCK = "block"
    BOOKING = "booking"


class ClaimEnd(StrEnum):
    """Why a claim is over."""

    RELEASED = "released"
    EXPIRED = "expired"
    BOOKED = "booked"


# What this service does with units so far; `expire` is the clock's. A booking straight from available is a hold and
# its booking in one.
TRANSITIONS: Mapping[str, tuple[frozenset[UnitStatus], UnitStatus]] = {
    "hold": (frozenset({UnitStatus.AVAILABLE}), UnitStatus.HELD),
    "release": (frozenset({UnitStatus.HELD}), UnitStatus.AVAILABLE),
    "expire": (frozenset({UnitStatus.HELD, UnitStatus.BLOCKED}), UnitStatus.AVAILABLE),
    "book": (
        frozenset({UnitStatus.AVAILABLE, UnitStatus.HELD, UnitStatus.BLOCKED}),
        UnitStatus.BOOKED,
    ),
    "freeze": (frozenset({UnitStatus.AVAILABLE}), UnitStatus.FROZEN),
    "unfreeze": (frozenset({UnitStatus.FROZEN}), UnitStatus.AVAILABLE),
}
# How the refusal of a move is named, where the contract has a name for it.
REFUSALS: Mapping[str, str] = {
    "hold": "UNIT_NOT_AVAILABLE",
    "book": "UNIT_NOT_AVAILABLE",
    "release": "CLAIM_NOT_ACTIVE",
}
_CHANGEABLE = frozenset({UnitStatus.AVAILABLE, UnitStatus.FROZEN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale:
    """What a unit's project and builder say of selling it."""

    builder_id: uuid.UUID
    builder_status: str
    project_status: str
    rera_valid_to: date | None
    city: str | None
    state: str | None

    def check_open(self, today: date) -> None:
        """Raises Conflict unless the project is on sale today, by an active builder."""
        if self.builder_status != BuilderStatus.ACTIVE:
            raise not_active()
        if not on_sale(self.project_status, self.rera_valid_to, today):
            raise Conflict("The project is not on sale.", reason="PROJECT_NOT_SELLING")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a new unit would be part of. None says that the project has no such tower or unit type."""

    builder_id: uuid.UUID
    total_floors: int | None
    base_price: int | None

    def check(self, floor: int | None) -> None:
        """Raises InvalidArgument for a tower or type of another project, or a floor the tower has not."""
        faults = []
        if self.total_floors is None:
            faults.append(Violation("unit.tower_id", "must be a tower of the project"))
        elif floor is not None and floor > self.total_floors:
            faults.append(
                Violation("unit.floor", f"must not be above the tower's {self.total_floors} floors")
            )
        if self.base_price is None:
            faults.append(Violation("unit.unit_type_id", "must be a unit type of the project"))
        if faults:
            raise InvalidArgument(*faults)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A flat of a project. Money is whole rupees; `price` has all charges in it."""

    id: uuid.UUID
    project_id: uuid.UUID
    tower_id: uuid.UUID
    unit_type_id: uuid.UUID
    unit_no: str
    floor: int | None
    facing: str | None
    preferential_location_charge: int
    floor_rise_charge: int
    parking_charge: int
    price: int
    bhk: float
    carpet_area: int
    base_price: int  # Of its type.
    status: UnitStatus
    # The active claim, and when it ends by itself.
    claim_id: uuid.UUID | None
    claim_expires_at: datetime | None
    # It did: the unit is free, whatever its status still says.
    claim_expired: bool
    version: int
    created_at: datetime
    updated_at: datetime
    sale: Sale

    @property
    def charges(self) -> int:
        return self.preferential_location_charge + self.floor_rise_charge + self.parking_charge

    @property
    def is_public(self) -> bool:
        return self.sale.project_status != ProjectStatus.DRAFT

    def current(self) -> "Unit":
        """The unit as it is now: one whose claim ran out is what the sweep will make of it, its version included."""
        if not self.claim_expired:
            return self
        return replace(
            self,
            status=status_after(self, "expire"),
            claim_id=None,
            claim_expires_at=None,
            claim_expired=False,
            version=self.version + 1,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """Who makes a claim, and for which lead."""

    user_id: uuid.UUID
    agent_id: uuid.UUID | None
    office_id: uuid.UUID | None
    lead_id: uuid.UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim(Claimant):
    """A claim on a unit, at the price the unit had when it was made."""

    id: uuid.UUID
    unit_id: uuid.UUID
    kind: ClaimKind
    expires_at: datetime | None
    price_snapshot: int
    created_at: datetime

    def is_for(self, lead_id: uuid.UUID | None) -> bool:
        """Whether who holds may know to whom her unit is sold: for the lead she named or, where nobody is named, an
        agent for her client. Someone who holds for herself needn't be who buys in the end.
        """
        return self.lead_id == lead_id and self.agent_id is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldLimits:
    """How many units of one project somebody may hold at a time: a buyer for herself, an agent for her leads."""

    buyer: int
    agent: int


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold of somebody's: how long it lasts or lasted, and how long is left of it, negative once it is over."""

    unit_id: uuid.UUID
    lasts: timedelta
    left: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Buyer:
    """Somebody who buys."""

    full_name: str
    phone: str
    email: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking(Claimant):
    """A unit's sale to its buyers. The claimant is the agent who held the unit for it, or the builder's person."""

    id: uuid.UUID
    unit_id: uuid.UUID
    project_id: uuid.UUID
    builder_id: uuid.UUID
    claim_id: uuid.UUID
    buyers: tuple[Buyer, ...]
    price: int
    created_at: datetime


def status_after(unit: Unit, move: str) -> UnitStatus:
    """The status of `unit` after `move`, one of TRANSITIONS; raises Conflict when its own does not allow it."""
    before, after = TRANSITIONS[move]
    if unit.status not in before:
        raise Conflict(f"Can't {move} a unit that is {unit.status}.", reason=REFUSALS.get(move))
    return after


def check_may_hold(unit_id: uuid.UUID, hers: Sequence[Hold], most: int) -> None:
    """Whether somebody whose holds in the project are `hers` may hold one more unit of it, so that nobody keeps others
    from it.

    Raises Conflict when she holds `most` already, and RateLimited until the unit was free for as long as she had it.
    """
    if sum(hold.left > timedelta() for hold in hers) >= most:
        raise Conflict(
            f"You hold {most} units of the project, as many as one may: release one first.",
            reason="HOLD_LIMIT_REACHED",
        )
    pause = max((hold.lasts + hold.left for hold in hers if hold.unit_id == unit_id), default=None)
    if pause is not None and pause > timedelta():
        raise RateLimited(
            "You held this unit: it is there for others for as long as you had it.",
            retry_after=pause.total_seconds(),
        )


def check_changeable(unit: Unit) -> None:
    """Raises Conflict while somebody has a claim on the unit: its price stands still."""
    if unit.status not in _CHANGEABLE:
        raise Conflict(
            f"Can't change a unit that is {unit.status}: its price stands still.",
            reason="UNIT_NOT_AVAILABLE",
        )


def check_price(price: int, charges: int) -> None:
    """The price has the charges in it; raises InvalidArgument when they don't fit."""
    if price <= charges:
        raise InvalidArgument(
            Violation("unit.price", f"must be more than the charges in it, {charges}")
        )


def lead_of_booking(held_for: uuid.UUID | None, asked_for: uuid.UUID | None) -> uuid.UUID | None:
    """The lead a unit is booked for: the one it is held for; raises InvalidArgument when another is asked for."""
    if held_for and asked_for and held_for != asked_for:
        raise InvalidArgument(Violation("lead_id", "must be the lead that the unit is held for"))
    return held_for or asked_for
