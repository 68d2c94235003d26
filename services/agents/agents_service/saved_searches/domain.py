"""What a saved search asks for, what it is found by, and whether a home is as it asks.

A search is found by anchors: what any home that matches it has, and few others. A home is looked up by all anchors that
it could be found by, so that it meets the few searches that may want it, and not all there are.
"""

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from functools import lru_cache
from itertools import product
from typing import Any, Final, NamedTuple

MOST_SEARCHES = 50
# How wide the map is, as the places of homes on it are (search/geometry.py).
WORLD = 40_075_017
# An area is found by the cells of the map that it touches, as small as so many allow.
MOST_CELLS = 16
ZOOMS: Final = range(4, 17)
ANYTHING = "any"
# What share of a word's trigrams Postgres finds it by, at the least (`chassis.migrate.WORD_SIMILARITY`).
LEAST_LIKENESS = 0.45
_words = re.compile(r"[^\W_]+").findall


class Reason(StrEnum):
    """Why a listing is offered."""

    NEW = "new"
    CHEAPER = "cheaper"


class SavedSearch(NamedTuple):
    """A search somebody saved: `filters` as they were sent, `wanted` as they are matched, seen until a match's time."""

    id: uuid.UUID
    user_id: uuid.UUID
    name: str
    filters: bytes
    wanted: dict[str, Any]
    alert: str
    version: int
    created_at: datetime
    updated_at: datetime
    seen_until: datetime | None


class Home(NamedTuple):
    """What is known of a home that is on offer, to be matched: text in lower case, `location` on the map."""

    id: uuid.UUID
    listing_type: str
    property_type: str
    city: str | None
    subdivision_name: str | None
    postal_code: str | None
    list_agent_id: uuid.UUID
    list_office_id: uuid.UUID | None
    project_id: uuid.UUID | None
    builder_id: uuid.UUID | None
    bhk: float | None
    list_price: int
    carpet_area: int | None
    price_per_sqft: int | None
    floor: int | None
    furnishing: str | None
    facing: str | None
    possession_status: str | None
    possession_date: date | None
    amenities: Sequence[str]
    has_media: bool
    rera_verified: bool
    location: tuple[float, float] | None
    search_text: str


class Offer(NamedTuple):
    """A home on offer, and why."""

    home: Home
    reason: Reason


class Candidate(NamedTuple):
    """A search that may want a home."""

    id: uuid.UUID
    wanted: Mapping[str, Any]


class Match(NamedTuple):
    """A listing that matched, when and why."""

    listing_id: uuid.UUID
    matched_at: datetime
    reason: str


class News(NamedTuple):
    """What the owner of a saved search is told: of one home, or of all of a day."""

    saved_search_id: uuid.UUID
    user_id: uuid.UUID
    name: str
    listing_ids: Sequence[uuid.UUID]


Check = Callable[[Home, Any], bool]


def _among(name: str) -> Check:
    return lambda home, values: _text(getattr(home, name)) in values


def _least(name: str) -> Check:
    return lambda home, least: (value := getattr(home, name)) is not None and value >= least


def _most(name: str) -> Check:
    return lambda home, most: (value := getattr(home, name)) is not None and value <= most


def _same(name: str) -> Check:
    return lambda home, wanted: bool(getattr(home, name) == wanted)


# What each filter asks of a home, as conditions.FILTERS ask it of a row.
CHECKS: Final[Mapping[str, Check]] = {
    **{
        name: _among(name)
        for name in (
            *("listing_type", "property_type", "city", "subdivision_name", "postal_code"),
            *("list_agent_id", "list_office_id", "furnishing", "facing"),
        )
    },
    # A builder's id among them means all of its projects, those to come, too.
    "project_id": lambda home, ids: str(home.project_id) in ids or str(home.builder_id) in ids,
    "bhk": lambda home, sizes: home.bhk in sizes,
    "price_min": _least("list_price"),
    "price_max": _most("list_price"),
    **{f"{name}_min": _least(name) for name in ("carpet_area", "price_per_sqft", "floor")},
    **{f"{name}_max": _most(name) for name in ("carpet_area", "price_per_sqft", "floor")},
    "possession_status": _same("possession_status"),
    "has_media": _same("has_media"),
    "rera_verified": _same("rera_verified"),
    "ready_by": lambda home, day: home.possession_status == "ready_to_move"
    or (home.possession_date is not None and home.possession_date.isoformat() <= day),
    "amenities": lambda home, wanted: set(wanted) <= set(home.amenities),
    "bbox": lambda home, box: home.location is not None and _in_box(home.location, box),
    "near": lambda home, circle: home.location is not None and _in_circle(home.location, *circle),
    "polygon": lambda home, corners: home.location is not None
    and _in_polygon(home.location, corners),
    "words": lambda home, words: all(_may_have(home, word) for word in words),
}


def stored(filters: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """What is asked for as it is stored, in JSON's own types."""
    wanted = {name: _plain(value) for name, value in filters.items()}
    return {**wanted, "words": list(words)} if words else wanted


def matches(home: Home, wanted: Mapping[str, Any]) -> bool:
    """Whether `home` is all that is `wanted`, provided that Postgres finds the words in it that are `misspelt`."""
    # Asked of every candidate: a generator would cost twice as much.
    for name, value in wanted.items():  # noqa: SIM110
        if not CHECKS[name](home, value):
            return False
    return True


def misspelt(home: Home, wanted: Mapping[str, Any]) -> list[str]:
    """Of the words that are wanted, those that `home` has not as they are spelt, but perhaps with a typing error."""
    return [word for word in wanted.get("words", ()) if word not in home.search_text]


def anchors(wanted: Mapping[str, Any]) -> list[str]:
    """What a search is found by, each once: its types and sizes, each with its narrowest places."""
    types, sizes = wanted.get("listing_type", [ANYTHING]), wanted.get("bhk", [ANYTHING])
    found = (_anchor(*each) for each in product(types, sizes, _places_of(wanted)))
    return list(dict.fromkeys(found))


def is_exact(wanted: Mapping[str, Any]) -> bool:
    """Whether all that is `wanted` shows in what it is found by and in its prices."""
    place = next((name for name in _PLACES if name in wanted), "city")
    return wanted.keys() <= {"listing_type", "bhk", "price_min", "price_max", "city", place}


def anchors_of(home: Home) -> list[str]:
    """All that a search which `home` matches may be found by."""
    types, sizes = (home.listing_type, ANYTHING), (home.bhk, ANYTHING)
    return [_anchor(*each) for each in product(types, sizes, _places_at(home))]


# From the narrowest on; within the city, if one is asked for.
_PLACES: Final = (
    "project_id",
    "list_agent_id",
    "subdivision_name",
    "postal_code",
    "list_office_id",
)


def _places_of(wanted: Mapping[str, Any]) -> list[str]:
    cities = [f"city:{city}" for city in wanted.get("city", ())]
    for name in _PLACES:
        if name in wanted:
            places = [f"{name}:{value}" for value in wanted[name]]
            return [",".join(each) for each in product(places, cities)] if cities else places
    bounds = _bounds(wanted)
    if bounds is not None:
        return _cells(*bounds)
    return cities or [ANYTHING]


def _places_at(home: Home) -> Iterator[str]:
    yield ANYTHING
    city = f"city:{home.city}"
    yield city
    places = [(name, getattr(home, name)) for name in _PLACES]
    for name, value in (*places, ("project_id", home.builder_id)):
        if value is not None:
            yield f"{name}:{value}"
            yield f"{name}:{value},{city}"
    if home.location is not None:
        for zoom in ZOOMS:
            x, y = (int(at * 2**zoom / WORLD) for at in home.location)
            yield f"cell:{zoom}/{x}/{y}"


def _bounds(wanted: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """The box around an area: west, north, east, south on the map, whose y grows southwards."""
    corners: Sequence[Sequence[float]]
    if "polygon" in wanted:
        corners = wanted["polygon"]
    elif "near" in wanted:
        (x, y), radius = wanted["near"]
        corners = [(x - radius, y - radius), (x + radius, y + radius)]
    elif "bbox" in wanted:
        corners = wanted["bbox"]
    else:
        return None
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _cells(west: float, north: float, east: float, south: float) -> list[str]:
    """The cells that a box touches, at the closest zoom at which they are few; the whole map's are no anchors."""
    for zoom in reversed(ZOOMS):
        scale = 2**zoom / WORLD
        xs = range(int(west * scale), int(east * scale) + 1)
        ys = range(int(north * scale), int(south * scale) + 1)
        if len(xs) * len(ys) <= MOST_CELLS:
            return [f"cell:{zoom}/{x}/{y}" for x, y in product(xs, ys)]
    return [ANYTHING]


def _anchor(type_: str, size: Any, place: str) -> str:
    return f"{type_}/{size if size in (ANYTHING, None) else f'{size:g}'}/{place}"


def _in_box(at: Sequence[float], box: Sequence[Sequence[float]]) -> bool:
    xs, ys = zip(*box, strict=True)
    return bool(min(xs) <= at[0] <= max(xs) and min(ys) <= at[1] <= max(ys))


def _in_circle(at: Sequence[float], centre: Sequence[float], radius: float) -> bool:
    return (at[0] - centre[0]) ** 2 + (at[1] - centre[1]) ** 2 <= radius**2


def _in_polygon(at: Sequence[float], corners: Sequence[Sequence[float]]) -> bool:
    """Whether a line from there to the east crosses an odd number of sides."""
    x, y = at
    inside = False
    for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
            inside = not inside
    return inside


def _may_have(home: Home, word: str) -> bool:
    """False where Postgres finds the word in no spelling: it shares too few of its trigrams."""
    if word in home.search_text or not word.isascii():
        return True
    own = _trigrams(word)
    return len(own & _trigrams(home.search_text)) >= LEAST_LIKENESS * len(own)


@lru_cache(maxsize=10_000)
def _trigrams(text: str) -> frozenset[str]:
    """As pg_trgm has them: of each word, with two spaces before it and one behind."""
    padded = (f"  {word} " for word in _words(text))
    return frozenset(word[at : at + 3] for word in padded for at in range(len(word) - 2))


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, uuid.UUID) else value


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    return _text(value)
