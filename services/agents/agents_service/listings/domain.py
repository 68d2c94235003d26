"""What a listing is, which moves it may make, who may make them, and what publishing needs."""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from enum import Enum, StrEnum, auto
from itertools import pairwise
from typing import Any, Final, NamedTuple

from chassis.errors import Conflict, InvalidArgument, PermissionDenied, Violation


class StandardStatus(StrEnum):
    INCOMPLETE = "incomplete"
    COMING_SOON = "coming_soon"
    ACTIVE = "active"
    ACTIVE_UNDER_CONTRACT = "active_under_contract"
    PENDING = "pending"
    HOLD = "hold"
    WITHDRAWN = "withdrawn"
    CANCELED = "canceled"
    EXPIRED = "expired"
    CLOSED = "closed"


class Mover(Enum):
    """Who moves a listing: a person in what she is to it, or what happened."""

    AGENT = auto()
    OFFICE_ADMIN = auto()
    CLOCK = auto()
    UNIT = auto()
    SUSPENSION = auto()
    LAPSE = auto()


class Listing(NamedTuple):
    """A home for sale or rent (RESO Property): areas in sq ft, prices in rupees, enums by their wire names.

    A tuple in the order of the columns that are read, because a row then becomes one in a fraction of a microsecond.
    """

    id: uuid.UUID
    listing_number: int
    list_agent_id: uuid.UUID
    list_office_id: uuid.UUID | None
    listing_type: str
    property_type: str
    property_sub_type: str | None
    standard_status: str
    moved_by_unit: bool
    list_price: int | None
    original_list_price: int | None
    close_price: int | None
    close_date: date | None
    bhk: float | None
    bedrooms_total: int | None
    bathrooms_total: int | None
    carpet_area: int | None
    built_up_area: int | None
    super_built_up_area: int | None
    furnishing: str | None
    facing: str | None
    floor: int | None
    total_floors: int | None
    year_built: int | None
    possession_status: str | None
    possession_date: date | None
    project_id: uuid.UUID | None
    unit_id: uuid.UUID | None
    rera_project_no: str | None
    address_line: str | None
    building_name: str | None
    unit_number: str | None
    subdivision_name: str | None
    city: str | None
    state: str | None
    postal_code: str | None
    latitude: float | None
    longitude: float | None
    amenities: list[str]
    public_remarks: str | None
    media: str  # JSON, as it is stored.
    listing_contract_date: date | None
    on_market_date: datetime | None
    off_market_date: datetime | None
    # How long it was off the market before it last came back.
    off_market_seconds: int
    expiration_date: date | None
    activation_date: date | None
    relist_of: uuid.UUID | None
    # Those of the listings that it lists again.
    earlier_days_on_market: int
    version: int
    created_at: datetime
    updated_at: datetime
    price_per_sqft: int | None

    @property
    def is_public(self) -> bool:
        return self.standard_status in PUBLIC

    def days_on_market(self, now: datetime) -> int | None:
        """Whole days on the market since it first became active; those off it in between don't count."""
        if self.on_market_date is None:
            return None
        off = timedelta(seconds=self.off_market_seconds)
        return ((self.off_market_date or now) - self.on_market_date - off).days

    def cumulative_days_on_market(self, now: datetime) -> int | None:
        """Its days on the market, and those of the listings that it lists again."""
        days = self.days_on_market(now)
        if days is None and self.relist_of is None:
            return None
        return self.earlier_days_on_market + (days or 0)


class Owner(NamedTuple):
    """Who is to get an enquiry about a listing, and what the listing is."""

    listing_id: uuid.UUID
    standard_status: str
    agent_id: uuid.UUID
    user_id: uuid.UUID
    office_id: uuid.UUID | None
    agent_status: str
    member_mobile_phone: str
    listing_type: str
    property_type: str
    bhk: float | None
    subdivision_name: str | None
    city: str | None


class Duplicate(NamedTuple):
    """Another listing that may be of the same home."""

    listing_id: uuid.UUID
    listing_number: int
    list_agent_id: uuid.UUID
    list_office_id: uuid.UUID | None
    standard_status: str
    list_price: int | None
    same_unit: bool


class Change(NamedTuple):
    """A row of a listing's public history."""

    id: uuid.UUID
    field: str
    from_value: str | None
    to_value: str | None
    changed_at: datetime


PUBLIC: Final = frozenset(
    {
        StandardStatus.COMING_SOON,
        StandardStatus.ACTIVE,
        StandardStatus.ACTIVE_UNDER_CONTRACT,
        StandardStatus.PENDING,
    }
)
# What is on the market still, as RESO has it: a pending one is sold but for the papers.
ON_MARKET: Final = frozenset({StandardStatus.ACTIVE, StandardStatus.ACTIVE_UNDER_CONTRACT})
# On the market, or about to be: one home is so once in an office.
LIVE: Final = (*sorted(PUBLIC), StandardStatus.HOLD)
# What is over stays as it was: it is listed again as a new listing.
FINAL: Final = frozenset({StandardStatus.CANCELED, StandardStatus.EXPIRED, StandardStatus.CLOSED})
RELISTED: Final = frozenset({StandardStatus.EXPIRED, StandardStatus.CANCELED})
NOT_OVER: Final = frozenset(StandardStatus) - FINAL
_DRAFTS: Final = frozenset({StandardStatus.INCOMPLETE, StandardStatus.COMING_SOON})

_PEOPLE: Final = frozenset({Mover.AGENT, Mover.OFFICE_ADMIN})
_UNIT: Final = frozenset({Mover.UNIT})
_LEFT: Final = frozenset({Mover.SUSPENSION, Mover.LAPSE})
_BROKER: Final = frozenset({Mover.OFFICE_ADMIN})
_CLOCK: Final = frozenset({Mover.CLOCK})

# From each status, where to and by whom (domain.md). Whoever is not a person moves what belongs to it: the clock lets
# mandates run out, a unit's listing follows the unit, and the listings of a suspended agent or of a lapsed project
# leave the market.
TRANSITIONS: Final[Mapping[str, Mapping[str, frozenset[Mover]]]] = {
    StandardStatus.INCOMPLETE: {
        StandardStatus.COMING_SOON: _PEOPLE,
        StandardStatus.ACTIVE: _PEOPLE,
    },
    StandardStatus.COMING_SOON: {
        StandardStatus.ACTIVE: _PEOPLE | _CLOCK,
        StandardStatus.WITHDRAWN: _PEOPLE | _LEFT,
        StandardStatus.CANCELED: _PEOPLE,
    },
    StandardStatus.ACTIVE: {
        StandardStatus.ACTIVE_UNDER_CONTRACT: _PEOPLE,
        StandardStatus.PENDING: _PEOPLE | _UNIT,
        StandardStatus.HOLD: _PEOPLE | _UNIT,
        StandardStatus.WITHDRAWN: _PEOPLE | _LEFT,
        StandardStatus.CANCELED: _BROKER,
        StandardStatus.EXPIRED: _CLOCK,
    },
    StandardStatus.ACTIVE_UNDER_CONTRACT: {
        StandardStatus.PENDING: _PEOPLE | _UNIT,
        StandardStatus.ACTIVE: _PEOPLE,
        StandardStatus.WITHDRAWN: _LEFT,
    },
    StandardStatus.PENDING: {
        StandardStatus.CLOSED: _PEOPLE,
        StandardStatus.ACTIVE: _PEOPLE | _UNIT,
        StandardStatus.WITHDRAWN: _LEFT,
    },
    StandardStatus.HOLD: {
        StandardStatus.ACTIVE: _PEOPLE | _UNIT,
        StandardStatus.PENDING: _UNIT,
        StandardStatus.WITHDRAWN: _PEOPLE | _LEFT,
        StandardStatus.CANCELED: _PEOPLE,
    },
    StandardStatus.WITHDRAWN: {
        StandardStatus.ACTIVE: _PEOPLE,
        StandardStatus.CANCELED: _PEOPLE,
        StandardStatus.EXPIRED: _PEOPLE | _CLOCK,
    },
    StandardStatus.CANCELED: {},
    StandardStatus.EXPIRED: {},
    StandardStatus.CLOSED: {},
}


def sources(target: str, mover: Mover) -> list[str]:
    """The statuses from which `mover` brings a listing to `target`."""
    return [status for status, moves in TRANSITIONS.items() if mover in moves.get(target, ())]


def check_move(before: str, after: str, movers: Iterable[Mover]) -> None:
    """Raises Conflict for a move no person may make, PermissionDenied for one that only others may."""
    allowed = TRANSITIONS[before].get(after, frozenset())
    if not allowed.isdisjoint(movers):
        return
    if Mover.OFFICE_ADMIN in allowed:
        raise PermissionDenied(
            f"Only the admin of its office may move a listing from {before} to {after}."
        )
    raise Conflict(f"A listing can't go from {before} to {after}.")


def check_close(status: str, close_price: int | None, close_date: date | None, today: date) -> None:
    """Closing needs a price and a day, nothing else takes them; raises InvalidArgument."""
    given = {"close_price": close_price, "close_date": close_date}
    if status == StandardStatus.CLOSED:
        found = [
            Violation(field, "is required to close a listing")
            for field, value in given.items()
            if value is None
        ]
        if close_date is not None and close_date > today:
            found.append(Violation("close_date", "must not be after today"))
    else:
        found = [
            Violation(field, f"belongs to closed, not to {status}")
            for field, value in given.items()
            if value is not None
        ]
    if found:
        raise InvalidArgument(*found)


def check_consistent(listing: Mapping[str, Any], changed: Iterable[str], today: date) -> None:
    """What the fields of a listing, those `changed` among them, owe each other; raises InvalidArgument."""
    found = [*_ascending(listing), *_dates(listing, changed, today)]
    if (listing["latitude"] is None) != (listing["longitude"] is None):
        absent = "latitude" if listing["latitude"] is None else "longitude"
        found.append(Violation(f"listing.{absent}", "is required beside the other coordinate"))
    if found:
        raise InvalidArgument(*found)


def check_publishable(listing: Listing, today: date) -> None:
    """Raises Conflict naming each thing that publishing needs and the listing lacks."""
    needs = list(_lacking(listing))
    if listing.expiration_date is not None and listing.expiration_date < today:
        needs.append(Violation("expiration_date", "is past: renew the mandate first"))
    if needs:
        raise _incomplete("The listing lacks what it needs to be published.", needs)


def check_relistable(listing: Listing) -> None:
    """Raises Conflict unless `listing` is one that may be listed again."""
    if listing.standard_status not in RELISTED:
        raise Conflict(
            f"A listing that is {listing.standard_status} can't be listed again: it must be expired or canceled."
        )


def check_changeable(before: Listing, after: Listing) -> None:
    """Raises Conflict when `before` is over, or is on offer and `after` lacks what publishing needed."""
    if before.standard_status in FINAL:
        raise Conflict(f"A listing that is {before.standard_status} can't be changed any more.")
    needs = list(_lacking(after))
    if needs and before.standard_status not in _DRAFTS:
        raise _incomplete("A published listing keeps what publishing needed.", needs)


def changes_of(listing: Listing, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `columns` that are not as `listing` has them."""
    return {name: value for name, value in columns.items() if _differs(name, listing, value)}


def _differs(name: str, listing: Listing, value: Any) -> bool:
    stored = getattr(listing, name)
    if name == "media":  # The same JSON can be written in several ways.
        return bool(json.loads(stored) != json.loads(value))
    return bool(stored != value)


def is_registrable(listing: Listing) -> bool:
    """Whether the project must be registered with RERA: it is sold before it is finished (section 3 of the act).

    So a sale of what is under construction, or belongs to a project and is not said to be ready. Resales of what is
    ready and all rents need no number.
    """
    of_project = listing.project_id is not None or listing.unit_id is not None
    return listing.listing_type == "sale" and (
        listing.possession_status == "under_construction"
        or (of_project and listing.possession_status != "ready_to_move")
    )


def _lacking(listing: Listing) -> Iterator[Violation]:
    if listing.list_price is None:
        yield Violation("list_price", "is required: what is asked for it")
    if not (listing.carpet_area or listing.built_up_area or listing.super_built_up_area):
        yield Violation("carpet_area", "is required: how large it is")
    if listing.city is None:
        yield Violation("address", "is required: where it stands")
    if is_registrable(listing) and listing.rera_project_no is None:
        yield Violation(
            "rera_project_no", "is required: what is sold under construction is registered"
        )


def _ascending(listing: Mapping[str, Any]) -> Iterator[Violation]:
    """Carpet ≤ built-up ≤ super built-up, and the floor is one of the building's: those that are known."""
    for names in (
        ("carpet_area", "built_up_area", "super_built_up_area"),
        ("floor", "total_floors"),
    ):
        known = [name for name in names if listing[name] is not None]
        for less, more in pairwise(known):
            if listing[more] < listing[less]:
                yield Violation(
                    f"listing.{more}", f"must not be less than {less}, which is {listing[less]}"
                )


def _dates(listing: Mapping[str, Any], changed: Iterable[str], today: date) -> Iterator[Violation]:
    signed, expires = listing["listing_contract_date"], listing["expiration_date"]
    opens = listing["activation_date"]
    if opens is not None and "activation_date" in changed and opens < today:
        yield Violation("listing.activation_date", "must not be past")
    if expires is None:
        return
    if "expiration_date" in changed and expires < today:
        yield Violation("listing.expiration_date", "must not be past")
    if signed is not None and expires < signed:
        yield Violation("listing.expiration_date", f"must not be before {signed}, the contract's")


def _incomplete(message: str, needs: list[Violation]) -> Conflict:
    return Conflict(message, reason="LISTING_INCOMPLETE", violations=needs)
