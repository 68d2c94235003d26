"""What listings can be asked for, and in what order: the SQL of single conditions."""

from collections.abc import Callable, Mapping
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
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY

from agents_service.listings.models import Geometric, listings, newest, price, price_per_sqft

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
AREAS: Final = ("bbox", "near", "polygon")

FILTERS: Final[Mapping[str, ColumnElement[bool]]] = {
    "project_id": listings.c.project_id == _any("project_id", Uuid),
    "list_agent_id": listings.c.list_agent_id == _any("list_agent_id", Uuid),
    "list_office_id": listings.c.list_office_id == _any("list_office_id", Uuid),
    "postal_code": listings.c.postal_code == _any("postal_code", Text),
    "subdivision_name": func.lower(listings.c.subdivision_name) == _any("subdivision_name", Text),
    "city": func.lower(listings.c.city) == _any("city", Text),
    "bhk": listings.c.bhk == _any("bhk", Double),
    "price_min": _least("price_min", listings.c.list_price, BigInteger),
    "price_max": _most("price_max", listings.c.list_price, BigInteger),
    "carpet_area_min": _least("carpet_area_min", listings.c.carpet_area, Integer),
    "carpet_area_max": _most("carpet_area_max", listings.c.carpet_area, Integer),
    "price_per_sqft_min": _least("price_per_sqft_min", listings.c.price_per_sqft, BigInteger),
    "price_per_sqft_max": _most("price_per_sqft_max", listings.c.price_per_sqft, BigInteger),
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
    "posted_since": _least("posted_since", newest, DateTime(timezone=True)),
    "price_dropped_since": _least(
        "price_dropped_since", listings.c.price_dropped_at, DateTime(timezone=True)
    ),
    "has_media": (listings.c.media != literal_column("'[]'::jsonb"))
    == bindparam("has_media", type_=Boolean),
    "rera_verified": listings.c.rera_verified == bindparam("rera_verified", type_=Boolean),
    "bbox": _within("bbox", "box"),
    "near": _within("near", "circle"),
    "polygon": _within("polygon", "polygon"),
}


def has_word(name: str) -> ColumnElement[bool]:
    """Whether a listing has the word, give or take a typing error."""
    return listings.c.search_text.op("%>", return_type=Boolean())(func.fold(bindparam(name)))


def is_spelt(name: str) -> ColumnElement[bool]:
    """Whether a listing has the word as it is spelt: looked up row by row, that is a twentieth of the price."""
    return func.strpos(listings.c.search_text, func.fold(bindparam(name))) > 0


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


def _range(name: str, column: ColumnElement[Any], key: ColumnElement[Any]) -> dict[str, Any]:
    """The range of a column by the key it is ordered by; what has none is nowhere in the range."""
    least, most = f"{name}_min", f"{name}_max"
    known = column.is_not(None).is_(True)
    return {
        least: and_(_least(least, key, BigInteger), known),
        most: and_(_most(most, key, BigInteger), known),
    }


_PRICES = _range("price", listings.c.list_price, price)
_PRICES_PER_SQFT = _range("price_per_sqft", listings.c.price_per_sqft, price_per_sqft)
ORDERS: Final[Mapping[str, Order]] = {
    "newest": Order(
        lambda _: newest,
        DateTime(timezone=True),
        descending=True,
        ranges={"posted_since": FILTERS["posted_since"]},
    ),
    "price": Order(lambda _: price, BigInteger(), descending=False, ranges=_PRICES),
    "-price": Order(lambda _: price, BigInteger(), descending=True, ranges=_PRICES),
    "price_per_sqft": Order(
        lambda _: price_per_sqft, BigInteger(), descending=False, ranges=_PRICES_PER_SQFT
    ),
    "distance": Order(
        lambda _: distance,
        Double(),
        descending=False,
        ranges={name: FILTERS[name] for name in AREAS},
    ),
    "relevance": Order(likeness, Double(), descending=True, ranges={}),
}
