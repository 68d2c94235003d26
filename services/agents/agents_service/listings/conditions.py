"""What listings can be asked for, and in what order: the SQL of single conditions."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Date,
    DateTime,
    Double,
    Integer,
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
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY

from agents_service.listings.models import NO_PRICE_PER_SQFT, Geometric, listings

# The centre that distances are measured from; they are in metres of the equator.
_CENTRE = cast(bindparam("centre", type_=Geometric("point")), Geometric("point"))
distance: ColumnElement[Any] = listings.c.location.op("<->", return_type=Double())(_CENTRE)


def _any(name: str, kind: Any) -> ColumnElement[Any]:
    return any_(bindparam(name, type_=ARRAY(kind)))


def _within(name: str, kind: str) -> ColumnElement[bool]:
    area = cast(bindparam(name, type_=Geometric(kind)), Geometric(kind))
    return listings.c.location.op("<@", return_type=Boolean())(area)


def _least(name: str, column: ColumnElement[Any], kind: Any) -> ColumnElement[bool]:
    return column >= bindparam(name, type_=kind)


def _most(name: str, column: ColumnElement[Any], kind: Any) -> ColumnElement[bool]:
    return column <= bindparam(name, type_=kind)


# A page is taken in order for each of these values, so they narrow it without reading what is not asked for. The
# first that is given does; the others are conditions like any other.
NARROWING: Final[Mapping[str, Any]] = {
    "project_id": Uuid(),
    "list_agent_id": Uuid(),
    "postal_code": Text(),
    "subdivision_name": Text(),
    "city": Text(),
}
# What has no price or no carpet area is nowhere in a range of them.
_PRICED = listings.c.price_key > literal_column("0")
_MEASURED = listings.c.price_per_sqft_key < literal_column(str(NO_PRICE_PER_SQFT))
AREAS: Final = ("bbox", "near", "polygon")

FILTERS: Final[Mapping[str, ColumnElement[bool]]] = {
    "project_id": listings.c.project_id == _any("project_id", Uuid),
    "list_agent_id": listings.c.list_agent_id == _any("list_agent_id", Uuid),
    "list_office_id": listings.c.list_office_id == _any("list_office_id", Uuid),
    "postal_code": listings.c.postal_code == _any("postal_code", Text),
    "subdivision_name": listings.c.subdivision_key == _any("subdivision_name", Text),
    "city": listings.c.city_key == _any("city", Text),
    "bhk": listings.c.bhk == _any("bhk", Double),
    "price_min": and_(_least("price_min", listings.c.price_key, BigInteger), _PRICED),
    "price_max": and_(_most("price_max", listings.c.price_key, BigInteger), _PRICED),
    "carpet_area_min": _least("carpet_area_min", listings.c.carpet_area, Integer),
    "carpet_area_max": _most("carpet_area_max", listings.c.carpet_area, Integer),
    "price_per_sqft_min": and_(
        _least("price_per_sqft_min", listings.c.price_per_sqft_key, BigInteger), _MEASURED
    ),
    "price_per_sqft_max": and_(
        _most("price_per_sqft_max", listings.c.price_per_sqft_key, BigInteger), _MEASURED
    ),
    "floor_min": _least("floor_min", listings.c.floor, Integer),
    "floor_max": _most("floor_max", listings.c.floor, Integer),
    "property_type": listings.c.property_type == _any("property_type", Text),
    "furnishing": listings.c.furnishing == _any("furnishing", Text),
    "facing": listings.c.facing == _any("facing", Text),
    "possession_status": listings.c.possession_status == bindparam("possession_status"),
    "ready_by": or_(
        listings.c.possession_status == "ready_to_move",
        _most("ready_by", listings.c.possession_date, Date),
    ),
    "amenities": listings.c.amenities.contains(bindparam("amenities", type_=ARRAY(Text))),
    "posted_since": _least("posted_since", listings.c.newest_key, DateTime(timezone=True)),
    "price_dropped_since": _least(
        "price_dropped_since", listings.c.price_dropped_at, DateTime(timezone=True)
    ),
    "has_media": listings.c.has_media == bindparam("has_media", type_=Boolean),
    "rera_verified": listings.c.rera_verified == bindparam("rera_verified", type_=Boolean),
    "bbox": _within("bbox", "box"),
    "near": _within("near", "circle"),
    "polygon": _within("polygon", "polygon"),
}

_itself = listings.alias("itself")
# A lookup by id, since the planner would rather find all listings with the amenities for an `exists`.
_has_amenities = (
    select(_itself.c.amenities.contains(bindparam("amenities", type_=ARRAY(Text))))
    .where(_itself.c.id == listings.c.id)
    .correlate(listings)
    .scalar_subquery()
)
_bits = bindparam("amenity_bits", type_=BigInteger)
# What an index that is read in order holds of a listing, and how it is asked where that differs: what has the bits of
# amenities nearly always has them.
HELD_FILTERS: Final[Mapping[str, ColumnElement[bool]]] = {
    "amenities": and_(listings.c.amenity_bits.op("&")(_bits) == _bits, _has_amenities),
}
# By what an index is told whether a listing is as asked for, without reading the listing.
HELD_BY_INDEX: Final = frozenset(
    {"city", "bhk", "posted_since", "price_min", "price_max", "carpet_area_min", "carpet_area_max"}
    | {"price_per_sqft_min", "price_per_sqft_max", "floor_min", "floor_max", "property_type"}
    | {"furnishing", "facing", "possession_status", "ready_by", "amenities", "has_media"}
    | {"price_dropped_since", "rera_verified"}
)


# The sizes as a range: an index of areas is not asked for each of them, unless rows are read for it.
BETWEEN_SIZES: Final = and_(
    _least("bhk_min", listings.c.bhk, Double), _most("bhk_max", listings.c.bhk, Double)
)


def amenity_bits(amenities: Iterable[str]) -> int:
    """A bit for each, as the function of Postgres has it that makes the column; several may share one."""
    bits = 0
    for each in amenities:
        bits |= 1 << hashlib.md5(each.encode(), usedforsecurity=False).digest()[0] % 63
    return bits


def has_word(name: str) -> ColumnElement[bool]:
    """Whether a listing has the word, give or take a typing error."""
    return listings.c.search_text.op("%>", return_type=Boolean())(func.fold(bindparam(name)))


def is_spelt(name: str) -> ColumnElement[bool]:
    """Whether a listing has the word as it is spelt: looked up row by row, that is a twentieth of the price."""
    # In a query of its own, which is answered once: a plan for any word would fold it anew for each row.
    word = select(func.fold(bindparam(name, type_=Text))).scalar_subquery()
    return func.strpos(listings.c.search_text, word) > 0


def likeness(words: int) -> ColumnElement[Any]:
    """How well a listing has the words; without any, all have them alike."""
    likes = [
        func.word_similarity(func.fold(bindparam(f"word{number}")), listings.c.search_text)
        for number in range(words)
    ]
    return cast(sum(likes[1:], likes[0]), Double)


@dataclass(frozen=True, slots=True)
class Order:
    """What pages are ordered by, ids breaking ties."""

    key: Callable[[int], ColumnElement[Any]]
    type: Any
    descending: bool
    # The filters that an index in this order can go to the start or the end of, as it is asked for them.
    ranges: Mapping[str, ColumnElement[bool]]

    def by(self, key: ColumnElement[Any], id_: ColumnElement[Any]) -> tuple[Any, Any]:
        return (key.desc(), id_.desc()) if self.descending else (key, id_)

    def beyond(self, key: ColumnElement[Any]) -> ColumnElement[bool]:
        """What comes after the last row of the page before."""
        here = tuple_(key, listings.c.id)
        last = tuple_(bindparam("after_key", type_=self.type), bindparam("after_id", type_=Uuid()))
        return here < last if self.descending else here > last


def _ranges(*names: str) -> dict[str, ColumnElement[bool]]:
    return {name: FILTERS[name] for name in names}


ORDERS: Final[Mapping[str, Order]] = {
    "newest": Order(
        lambda _: listings.c.newest_key,
        DateTime(timezone=True),
        descending=True,
        ranges=_ranges("posted_since"),
    ),
    "price": Order(
        lambda _: listings.c.price_key,
        BigInteger(),
        descending=False,
        ranges=_ranges("price_min", "price_max"),
    ),
    "-price": Order(
        lambda _: listings.c.price_key,
        BigInteger(),
        descending=True,
        ranges=_ranges("price_min", "price_max"),
    ),
    "price_per_sqft": Order(
        lambda _: listings.c.price_per_sqft_key,
        BigInteger(),
        descending=False,
        ranges=_ranges("price_per_sqft_min", "price_per_sqft_max"),
    ),
    "distance": Order(
        lambda _: distance,
        Double(),
        descending=False,
        ranges=_ranges(*AREAS),
    ),
    "relevance": Order(likeness, Double(), descending=True, ranges={}),
}
