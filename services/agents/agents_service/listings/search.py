"""The SQL of pages of listings: one statement for each combination of filters.

A page is found in one of two ways. In order: an index in the order of the page is read until the page is full; that is
cheap when many listings are as asked for, and has no end when few are. So it gives up after a window of rows, and then
the listings are gathered: found by the indexes of what few have, and put in order. Few enough to be gathered is what a
window did not fill a page with, so neither way ever reads much.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import ceil, inf
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    false,
    func,
    literal_column,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY

from agents_service.listings.conditions import (
    FILTERS,
    HELD_FILTERS,
    NARROWING,
    ORDERS,
    Order,
    amenity_bits,
    has_word,
    is_spelt,
)
from agents_service.listings.domain import Listing
from agents_service.listings.gathering import (
    any_market,
    checked,
    gathering,
    is_held,
    is_held_by_area,
    narrowing,
)
from agents_service.listings.models import PLACES, listings

# The driver would decode JSON; as text it stays as it is, since most of it is never looked at.
_MEDIA = cast(listings.c.media, Text).label("media")
COLUMNS = tuple(_MEDIA if name == "media" else listings.c[name] for name in Listing._fields)

# The page that is asked for as a rule, and the largest, each with the one more that tells whether another follows; and
# what is counted.
SAMPLE = 1_000
_AT_MOST = (21, 101, SAMPLE)
# How many rows are read in order before a page is gathered: what fills no page of 20 then, one in fifty has. Where the
# index alone tells which are as asked for, five times as many cost less.
WINDOW, HELD_WINDOW = 1_000, 5_000
LEAST_WINDOW = 200
# What fills a part of a page in a window is likely to fill it in one that is as much wider, which costs the same
# however many listings there are, while gathering them costs the more the more there are. So many times as wide it
# may be.
WIDEST = 6
# Likeness has no index in its order: of what has the words, so many are compared.
MOST_COMPARED = 2_000
Columns = Sequence[ColumnElement[Any]]
_shown = listings.alias("shown")
# Of these there are so few that they are gathered at once.
_RARE: Final = ("list_office_id",)


class Way(NamedTuple):
    """How listings are looked for: gathered, or in order within windows of so many times their width."""

    gathered: bool
    times: int = 1


IN_ORDER, GATHERED = Way(False), Way(True)


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
    gathered: bool = False

    @property
    def place(self) -> str:
        return narrowing(self.filters)

    @property
    def key(self) -> ColumnElement[Any]:
        return ORDERS[self.sort].key(self.words)

    @property
    def ranges(self) -> Mapping[str, ColumnElement[bool]]:
        """What an index in the order of the page holds, but for its place."""
        ranges = ORDERS[self.sort].ranges
        return ranges if self.sort == "distance" else {**ranges, "bhk": FILTERS["bhk"]}

    @property
    def held(self) -> list[ColumnElement[bool]]:
        """What it holds of what is asked for."""
        return [self.ranges[name] for name in self.filters if name in self.ranges]

    @property
    def others(self) -> list[ColumnElement[bool]]:
        """What it does not hold of it."""
        held = self.ranges.keys() | (set() if self.sort == "distance" else {self.place})
        spelt = [is_spelt(f"word{number}") for number in range(self.words)]
        plain = [FILTERS[name] for name in self.filters if name not in {*held, *HELD_FILTERS}]
        # They look up what all others have left.
        looked_up = [HELD_FILTERS[name] for name in self.filters if name in HELD_FILTERS]
        return plain + spelt + looked_up

    @property
    def sought(self) -> list[ColumnElement[bool]]:
        return [has_word(f"word{number}") for number in range(self.words)]

    @property
    def beyond(self) -> list[ColumnElement[bool]]:
        return [ORDERS[self.sort].beyond(self.key)] if self.continued else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A page of listings: what is asked for (by the names of FILTERS), in what order, after what, how many at most.

    Each of the `words` must be found, give or take a typing error. `after` is the order's key and the id of a last row.
    Distances are measured from `centre`.
    """

    standard_status: Sequence[str]
    listing_type: Sequence[str]
    filters: Mapping[str, Any]
    words: Sequence[str] = ()
    sort: str = "newest"
    centre: tuple[float, float] | None = None
    after: tuple[Any, uuid.UUID] | None = None
    limit: int

    @property
    def places(self) -> Sequence[Any]:
        given: Sequence[Any] = self.filters.get(narrowing(self.filters), ())
        return given

    def is_answered(self, found: int, *, cut: bool) -> bool:
        """Whether what was found in order is the answer: neither cut off, nor looked for as it is spelt alone."""
        return not cut and (not self.words or found >= self.limit)

    @property
    def first_way(self) -> Way:
        """In order, unless so few are looked for that there is no point in it."""
        few = self.sort == "relevance" or any(name in self.filters for name in _RARE)
        return GATHERED if few else IN_ORDER

    def way_after(self, way: Way, found: int, wanted: int, *, cut: bool) -> Way:
        """How to look on, when windows that were `cut` off held so many of those wanted."""
        times = ceil(1.5 * wanted / found) if found else inf
        if way == IN_ORDER and cut and times <= WIDEST and self.is_held:
            return Way(False, int(times))
        return GATHERED

    def shape(self, *, gathered: bool) -> Shape:
        at_most = next(size for size in _AT_MOST if size >= self.limit)
        markets = tuple(sorted(product(set(self.standard_status), set(self.listing_type))))
        return Shape(
            sort=self.sort,
            continued=self.after is not None,
            words=len(self.words),
            filters=tuple(sorted(self.filters)),
            one_place=len(self.places) == 1,
            markets=markets,
            at_most=at_most,
            gathered=gathered,
        )

    @property
    def is_held(self) -> bool:
        """Whether the index that is read in order holds all that is asked for."""
        if self.sort == "distance":
            return not self.words and is_held_by_area(self.filters)
        return is_held(self.filters) and (not self.words or self.sort == "newest")

    @property
    def needs_bitmaps(self) -> bool:
        """Whether what is gathered is found by other indexes than those that hold all that is asked for."""
        return bool(self.words) or not (is_held(self.filters) or is_held_by_area(self.filters))

    def parameters(self, way: Way) -> dict[str, Any]:
        """What its statement is given."""
        key, id_ = self.after or (None, None)
        window = way.times * max(HELD_WINDOW if self.is_held else WINDOW, 2 * self.limit)
        return {
            **self.filters,
            "place": next(iter(self.places), None),
            **{f"word{number}": word for number, word in enumerate(self.words)},
            "bhk_min": min(self.filters.get("bhk", (0,))),
            "bhk_max": max(self.filters.get("bhk", (0,))),
            "amenity_bits": amenity_bits(self.filters.get("amenities", ())),
            "centre": self.centre,
            "after_key": key,
            "after_id": id_,
            "limit": self.limit,
            "window": max(LEAST_WINDOW, window // max(1, len(self.places))),
        }


class Found(NamedTuple):
    """Which version of which listing is on a page, and where: what its statement gives.

    `cut` is no listing: it tells that a window ended there before the page was full.
    """

    id: uuid.UUID
    order_key: Any
    cut: bool
    version: int


@lru_cache(maxsize=2_000)
def statement_of(shape: Shape, *besides: str) -> Select[Any]:
    """The statement of all searches of `shape`: what `Found` is made of, or `besides` in its version's stead."""
    columns = [listings.c[name] for name in besides]
    if shape.gathered:
        return _gathered(shape, columns)
    if shape.sort == "distance":
        return _by_distance(shape, columns)
    return _by_places(shape, columns)


def position_of(found: Found) -> tuple[Any, uuid.UUID]:
    """What a search's `after` begins behind."""
    return found.order_key, found.id


def _by_places(shape: Shape, besides: Columns) -> Select[Any]:
    """A page for each market and place, read in order from the index of that place; of these, the first."""
    order, place = ORDERS[shape.sort], shape.place
    conditions, fits = [*shape.held, *shape.beyond], shape.others
    places = None
    if place:
        keyed = PLACES[place]
        if shape.one_place:
            # To go through a list of unknown length looks so dear that the planner would plan anew for each search, at
            # twice the price of the search itself.
            value: Any = bindparam("place", type_=NARROWING[place])
        else:
            places = _each(place, NARROWING[place])
            value = places.c.value
        conditions.append(keyed == value)
    pages = [
        _in_order(shape, [any_market([market]), *conditions], fits, besides)
        for market in shape.markets
    ]
    page = union_all(*pages).lateral("page")
    source = page if places is None else places.join(page, true())
    return _first(source, page, order, besides)


def _by_distance(shape: Shape, besides: Columns) -> Select[Any]:
    """The nearest, read from the index of locations, whatever market and place they are of."""
    order = ORDERS[shape.sort]
    fits = [any_market(shape.markets), *shape.others]
    page = _in_order(shape, [*shape.held, *shape.beyond], fits, besides).subquery("page")
    return _first(page, page, order, besides)


def _in_order(
    shape: Shape,
    conditions: Sequence[ColumnElement[bool]],
    fits: Sequence[ColumnElement[bool]],
    besides: Columns,
) -> Select[Any]:
    """The first that meet the `conditions`, which an index in order holds, and `fits`, looked up row by row."""
    order, key = ORDERS[shape.sort], shape.key
    small = shape.at_most < SAMPLE
    at_most: Any = literal_column(str(shape.at_most)) if small else bindparam("limit")
    columns = listings.c.id, key.label("order_key")
    if not fits:
        return (
            select(*columns, false().label("cut"), *besides)
            .where(*conditions)
            .order_by(*order.by(key, listings.c.id))
            .limit(at_most)
        )
    number = func.row_number().over(order_by=order.by(key, listings.c.id))
    # The limits are parameters: of numbers the planner would know that few places have so many rows, and would rather
    # sort all of a place than read it in order.
    window = (
        select(*columns, and_(*fits).label("fits"), number.label("number"), *besides)
        .where(*conditions)
        .order_by(*order.by(key, listings.c.id))
        .limit(bindparam("window"))
        # Of the one place that the page is taken for: SQLAlchemy would go through all of them in here again.
        .correlate_except(listings)
        .lateral("window")
    )
    ends = window.c.number == bindparam("window")
    return (
        select(
            window.c.id,
            window.c.order_key,
            ends.label("cut"),
            *(window.c[column.name] for column in besides),
        )
        .where(or_(window.c.fits, ends))
        .order_by(*order.by(window.c.order_key, window.c.id))
        .limit(bindparam("limit"))
    )


def _gathered(shape: Shape, besides: Columns) -> Select[Any]:
    """What is found by the indexes of what few listings have, put in order then."""
    order = ORDERS[shape.sort]
    found = select(
        listings.c.id,
        shape.key.label("order_key"),
        false().label("cut"),
        *besides,
    ).where(
        *gathering(
            shape.filters,
            shape.markets,
            held=is_held(shape.filters) and not shape.words,
        ),
        *shape.sought,
        *checked(shape.beyond),
    )
    if shape.sort == "relevance":
        found = found.limit(literal_column(str(MOST_COMPARED)))
    gathered = found.cte("gathered").prefix_with("MATERIALIZED")
    return _first(gathered, gathered, order, besides)


def _first(source: Any, found: Any, order: Order, besides: Columns) -> Select[Any]:
    """The first of what is `found` in `source`, in order, with their versions: only these are looked up."""
    version = select(_shown.c.version).where(_shown.c.id == found.c.id).scalar_subquery()
    more = [found.c[column.name] for column in besides] or [version.label("version")]
    return (
        select(found.c.id, found.c.order_key, found.c.cut, *more)
        .select_from(source)
        .order_by(*order.by(found.c.order_key, found.c.id))
        .limit(bindparam("limit"))
    )


def _each(name: str, kind: Any) -> Any:
    values = func.unnest(bindparam(name, type_=ARRAY(kind)))
    return values.table_valued("value", name=f"each_{name}").render_derived()
