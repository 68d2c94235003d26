"""The SQL of pages of listings: one statement for each combination of filters, each with an index for its order."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Double,
    Select,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY

from agents_service.listings.domain import Listing
from agents_service.listings.models import PLACES, listings, newest, price

# The driver would decode JSON; as text it stays as it is, since most of it is never looked at.
_MEDIA = cast(listings.c.media, Text).label("media")
COLUMNS = tuple(_MEDIA if name == "media" else listings.c[name] for name in Listing._fields)

# The page that is asked for as a rule, and the largest, each with the one more that tells whether another follows.
_AT_MOST = (21, 101)

# A page is taken in order for each of these values, so they narrow it without reading what is not asked for. The
# first that is given does; the others are conditions like any other.
_NARROWING: Final[Mapping[str, Any]] = {
    "project_id": Uuid(),
    "list_agent_id": Uuid(),
    "postal_code": Text(),
    "subdivision_name": Text(),
    "city": Text(),
}


def _any(name: str, kind: Any) -> ColumnElement[Any]:
    return any_(bindparam(name, type_=ARRAY(kind)))


_FILTERS: Final[Mapping[str, ColumnElement[bool]]] = {
    "project_id": listings.c.project_id == _any("project_id", Uuid),
    "list_agent_id": listings.c.list_agent_id == _any("list_agent_id", Uuid),
    "list_office_id": listings.c.list_office_id == bindparam("list_office_id"),
    "postal_code": listings.c.postal_code == _any("postal_code", Text),
    "subdivision_name": func.lower(listings.c.subdivision_name) == _any("subdivision_name", Text),
    "city": func.lower(listings.c.city) == _any("city", Text),
    "bhk": listings.c.bhk == _any("bhk", Double),
    "price_min": price >= bindparam("price_min", type_=BigInteger),
    "price_max": and_(
        price <= bindparam("price_max", type_=BigInteger), listings.c.list_price.is_not(None)
    ),
    "carpet_area_min": listings.c.carpet_area >= bindparam("carpet_area_min"),
    "carpet_area_max": listings.c.carpet_area <= bindparam("carpet_area_max"),
    "property_type": listings.c.property_type == _any("property_type", Text),
    "furnishing": listings.c.furnishing == _any("furnishing", Text),
    "facing": listings.c.facing == _any("facing", Text),
    "possession_status": listings.c.possession_status == bindparam("possession_status"),
    "amenities": listings.c.amenities.contains(bindparam("amenities", type_=ARRAY(Text))),
}


@dataclass(frozen=True, slots=True)
class Order:
    """What pages are ordered by, ids breaking ties."""

    key: ColumnElement[Any]
    type: Any
    descending: bool

    def by(self, key: ColumnElement[Any], id_: ColumnElement[Any]) -> tuple[Any, Any]:
        return (key.desc(), id_.desc()) if self.descending else (key, id_)

    def beyond(self) -> ColumnElement[bool]:
        """What comes after the last row of the page before."""
        here = tuple_(self.key, listings.c.id)
        last = tuple_(bindparam("after_key", type_=self.type), bindparam("after_id", type_=Uuid()))
        return here < last if self.descending else here > last


ORDERS: Final[Mapping[str, Order]] = {
    "newest": Order(newest, DateTime(timezone=True), descending=True),
    "price": Order(price, BigInteger(), descending=False),
    "-price": Order(price, BigInteger(), descending=True),
}


class Shape(NamedTuple):
    """What makes two searches the same statement: they differ in parameters alone."""

    sort: str
    continued: bool
    words: int
    filters: tuple[str, ...]
    # Whether they are narrowed to a single place.
    one_place: bool
    # Each status with each type, and which of _AT_MOST: literals, because the planner must know that most listings are
    # active, and that so small a page is worth reading in order. Of a parameter it would guess.
    markets: tuple[tuple[str, str], ...]
    at_most: int

    @property
    def place(self) -> str:
        return _narrowing(self.filters)

    def conditions(self, *besides: str) -> list[ColumnElement[bool]]:
        found = [_FILTERS[name] for name in self.filters if name not in besides]
        if self.continued:
            found.append(ORDERS[self.sort].beyond())
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A page of listings: what is asked for (by the names of _FILTERS), in what order, after what, how many at most.

    Each of the `words` must be found, give or take a typing error. `after` is the order's key and the id of a last row.
    """

    standard_status: Sequence[str]
    listing_type: Sequence[str]
    filters: Mapping[str, Any]
    words: Sequence[str] = ()
    sort: str = "newest"
    after: tuple[Any, uuid.UUID] | None = None
    limit: int

    @property
    def places(self) -> Sequence[Any]:
        given: Sequence[Any] = self.filters.get(_narrowing(self.filters), ())
        return given

    @property
    def shape(self) -> Shape:
        at_most = next(size for size in _AT_MOST if size >= self.limit)
        filters = tuple(self.filters)
        markets = tuple(sorted(product(set(self.standard_status), set(self.listing_type))))
        return Shape(
            sort=self.sort,
            continued=self.after is not None,
            words=len(self.words),
            filters=filters,
            one_place=len(self.places) == 1,
            markets=markets,
            at_most=at_most,
        )

    @property
    def parameters(self) -> dict[str, Any]:
        key, id_ = self.after or (None, None)
        return {
            **self.filters,
            "place": next(iter(self.places), None),
            **{f"word{number}": word for number, word in enumerate(self.words)},
            "after_key": key,
            "after_id": id_,
            "limit": self.limit,
        }


class Found(NamedTuple):
    """Which version of which listing is on a page, and where: what its statement gives."""

    id: uuid.UUID
    version: int
    order_key: Any


@lru_cache(maxsize=1_000)
def statement_of(shape: Shape) -> Select[Any]:
    """The statement of all searches of `shape`."""
    return _by_words(shape) if shape.words else _by_places(shape)


def position_of(found: Found) -> tuple[Any, uuid.UUID]:
    """What a search's `after` begins behind."""
    return found.order_key, found.id


def _by_places(shape: Shape) -> Select[Any]:
    """A page for each market and place, read in order from the index of that place; of these, the first."""
    order, place = ORDERS[shape.sort], shape.place
    conditions = shape.conditions(place)
    places = None
    if place:
        (keyed,) = PLACES[place]
        if shape.one_place:
            # To go through a list of unknown length looks so dear that the planner would plan anew for each search, at
            # twice the price of the search itself.
            value: Any = bindparam("place", type_=_NARROWING[place])
        else:
            places = _each(place, _NARROWING[place])
            value = places.c.value
        conditions.append(keyed == value)
    pages = [
        select(*_columns(order))
        .where(_on(market), *conditions)
        .order_by(*order.by(order.key, listings.c.id))
        .limit(literal_column(str(shape.at_most)))
        for market in shape.markets
    ]
    page = union_all(*pages).lateral("page")
    source = page if places is None else places.join(page, true())
    return _first(select(page).select_from(source), page, order)


def _by_words(shape: Shape) -> Select[Any]:
    """What has the words is found first, by their trigrams, and put in order then: in order, the few listings that have
    them could be a long way down, and the planner can't know.
    """
    order = ORDERS[shape.sort]
    found = (
        select(*_columns(order))
        .where(
            or_(*map(_on, shape.markets)),
            *(
                listings.c.search_text.op("%>")(func.fold(bindparam(f"word{number}")))
                for number in range(shape.words)
            ),
            *shape.conditions(),
        )
        .cte("found")
        .prefix_with("MATERIALIZED")
    )
    return _first(select(found), found, order)


def _columns(order: Order) -> tuple[ColumnElement[Any], ...]:
    # The other columns would cost more than all the rest, and most of what is on a page is known (see pages.py).
    return listings.c.id, listings.c.version, order.key.label("order_key")


def _first(found: Select[Any], columns: Any, order: Order) -> Select[Any]:
    """The first of what is found, in order."""
    return found.order_by(*order.by(columns.c.order_key, columns.c.id)).limit(bindparam("limit"))


def _on(market: tuple[str, str]) -> ColumnElement[bool]:
    # Names of the contract's enums, never anybody's text.
    status, kind = (f"'{name}'" for name in market)
    return and_(
        listings.c.standard_status == literal_column(status, Text),
        listings.c.listing_type == literal_column(kind, Text),
    )


def _narrowing(filters: Iterable[str]) -> str:
    return next((name for name in _NARROWING if name in filters), "")


def _each(name: str, kind: Any) -> Any:
    values = func.unnest(bindparam(name, type_=ARRAY(kind)))
    return values.table_valued("value", name=f"each_{name}").render_derived()
