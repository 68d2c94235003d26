"""The conditions of what is gathered: put so that the planner finds it by the index that is for it."""

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import ColumnElement, and_

from agents_service.listings.conditions import (
    AREAS,
    BETWEEN_SIZES,
    FILTERS,
    HELD_BY_INDEX,
    HELD_FILTERS,
    NARROWING,
)
from agents_service.listings.models import HOLDING, listings, quoted


def is_held(filters: Collection[str]) -> bool:
    """Whether the indexes that are read in order hold all that `filters` ask for."""
    place = narrowing(filters)
    return place in HOLDING and HELD_BY_INDEX.issuperset({*filters} - {place})


def is_held_by_area(filters: Collection[str]) -> bool:
    """Whether the index of locations holds all that `filters` ask for, an area among it."""
    areas = set(AREAS).intersection(filters)
    return bool(areas) and HELD_BY_INDEX.issuperset({*filters} - areas)


def gathering(
    filters: Sequence[str], markets: Sequence[tuple[str, str]], *, held: bool
) -> list[ColumnElement[bool]]:
    """The conditions of what is gathered, so put that the planner takes the index of the rarest kind of them.

    What indexes in order hold is read from any of them alone: from that of prices, say, what is within a range of them.
    Within an area it is the index of locations, unless the place is narrower: the planner thinks that every area holds
    a thousandth of all listings, and would read half the other index to avoid reading those.
    """
    if held:
        asked = {**FILTERS, **HELD_FILTERS}
        return [*(asked[name] for name in filters), any_market(markets)]
    if not set(AREAS).intersection(filters):
        indexed = set(filters)
    elif narrowing(filters) not in ("", "city"):
        indexed = {*filters} - {*AREAS}
    else:
        indexed = {*AREAS, "bhk", "price_min", "price_max"}
    if is_held_by_area(filters):
        asked = {**FILTERS, **HELD_FILTERS, "bhk": and_(FILTERS["bhk"], BETWEEN_SIZES)}
    else:
        asked = {**FILTERS}
    return [
        *(asked[name] for name in filters if name in indexed),
        *checked([asked[name] for name in filters if name not in indexed]),
        any_market(markets),
    ]


def checked(conditions: Iterable[ColumnElement[bool]]) -> list[ColumnElement[bool]]:
    """Conditions that no index is used for."""
    return [condition.is_(True) for condition in conditions]


def any_market(markets: Iterable[tuple[str, str]]) -> ColumnElement[bool]:
    """Of any status and type out of `markets`, which are all there are of both."""
    # Names of the contract's enums, never anybody's text.
    columns = listings.c.standard_status, listings.c.listing_type
    names = (sorted(set(each)) for each in zip(*markets, strict=True))
    return and_(
        *(column.in_(map(quoted, each)) for column, each in zip(columns, names, strict=True))
    )


def narrowing(filters: Iterable[str]) -> str:
    return next((name for name in NARROWING if name in filters), "")
