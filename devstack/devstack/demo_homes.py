"""Demo listings: homes as large, as dear and as furnished as homes of their kind are in their locality."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any, Generic, TypeVar

from devstack.demo_people import DemoAgent, demo_id, rera_number
from devstack.demo_places import City, Locality, zipf

LISTING_COLUMNS = (
    "id",
    "list_agent_id",
    "listing_type",
    "property_type",
    "property_sub_type",
    "standard_status",
    "list_price",
    "original_list_price",
    "close_price",
    "close_date",
    "bhk",
    "bedrooms_total",
    "bathrooms_total",
    "carpet_area",
    "built_up_area",
    "super_built_up_area",
    "furnishing",
    "facing",
    "floor",
    "total_floors",
    "year_built",
    "possession_status",
    "possession_date",
    "rera_project_no",
    "address_line",
    "building_name",
    "subdivision_name",
    "city",
    "state",
    "postal_code",
    "latitude",
    "longitude",
    "amenities",
    "public_remarks",
    "media",
    "listing_contract_date",
    "on_market_date",
    "off_market_date",
    "expiration_date",
    "price_dropped_at",
    "version",
    "created_at",
    "updated_at",
)
HISTORY_COLUMNS = (
    "id",
    "listing_id",
    "changed_by",
    "field",
    "from_value",
    "to_value",
    "reason",
    "changed_at",
)
Row = tuple[Any, ...]
HomeRow = dict[str, Any]
ChoiceT = TypeVar("ChoiceT")


class Mix(Generic[ChoiceT]):
    """Things, and how often each is met."""

    def __init__(self, shares: Mapping[ChoiceT, float]) -> None:
        self._things = list(shares)
        self._weights = list(accumulate(shares.values()))

    def pick(self, chance: random.Random) -> ChoiceT:
        return chance.choices(self._things, cum_weights=self._weights)[0]


KINDS = Mix(
    {
        "apartment": 72,
        "builder_floor": 8,
        "villa": 6,
        "row_house": 4,
        "studio": 3,
        "plot": 3,
        "office": 2,
        "shop": 2,
    }
)
# A sq ft's price against an apartment's.
DEARER = {
    "builder_floor": 0.95,
    "villa": 1.25,
    "row_house": 1.1,
    "studio": 1.1,
    "plot": 0.55,
    "office": 1.15,
    "shop": 1.7,
}
BHK = Mix({1.0: 20, 1.5: 3, 2.0: 34, 2.5: 6, 3.0: 26, 3.5: 3, 4.0: 6, 5.0: 2})
# The carpet area in sq ft that goes with it in the average city.
CARPET = {1.0: 430, 1.5: 540, 2.0: 720, 2.5: 860, 3.0: 1120, 3.5: 1350, 4.0: 1750, 5.0: 2600}
STATUSES = Mix(
    {
        "active": 84,
        "coming_soon": 2,
        "active_under_contract": 2,
        "pending": 2,
        "hold": 1,
        "withdrawn": 2,
        "expired": 1,
        "closed": 4,
        "incomplete": 2,
    }
)
OFF_MARKET = frozenset({"pending", "hold", "withdrawn", "expired", "closed"})
FACINGS = (
    "north",
    "north_east",
    "east",
    "south_east",
    "south",
    "south_west",
    "west",
    "north_west",
)
FURNISHINGS = ("unfurnished", "semi_furnished", "furnished")
AMENITIES = (
    "lift",
    "parking",
    "power backup",
    "security",
    "cctv",
    "gym",
    "swimming pool",
    "clubhouse",
    "garden",
    "children's play area",
    "rainwater harvesting",
    "gas pipeline",
    "jogging track",
    "intercom",
    "ev charging",
)
SOCIETIES = [
    "Neem",
    "Kadamba",
    "Gulmohar",
    "Parijat",
    "Tulsi",
    "Ashoka",
    "Banyan",
    "Amaltas",
    "Champa",
    "Palash",
    "Chandan",
    "Mogra",
    "Kamal",
    "Saptaparni",
]
SOCIETY_KINDS = ["Residency", "Heights", "Enclave", "Greens", "Towers", "Gardens", "Court", "Park"]
MONTHS_BACK = 5


@dataclass(slots=True)
class Home:
    """A listing and its history, in the order of the columns above."""

    listing: Row
    history: list[Row] = field(default_factory=list)


def homes(
    chance: random.Random,
    count: int,
    places: dict[City, Sequence[Locality]],
    agents: dict[City, Sequence[DemoAgent]],
    now: datetime,
) -> Iterator[Home]:
    """`count` homes, oldest first, so that indexes over ids and times grow at their ends."""
    cities = list(places)
    city_weights = zipf(len(cities))
    place_weights = {city: zipf(len(found)) for city, found in places.items()}
    span = timedelta(days=30 * MONTHS_BACK)
    for number in range(count):
        city = chance.choices(cities, cum_weights=city_weights)[0]
        place = chance.choices(places[city], cum_weights=place_weights[city])[0]
        # Newer listings are more, as on every portal: the square root bends the line towards today.
        age = span * (1 - ((number + chance.random()) / count) ** 0.5)
        yield _home(chance, place, chance.choice(agents[city]), now - age, now)


def _home(
    chance: random.Random, place: Locality, agent: DemoAgent, created: datetime, now: datetime
) -> Home:
    home = _described(chance, place, created)
    home |= _priced(chance, home, place)
    home |= _lived(chance, home["list_price"], created, now)
    home |= {"id": demo_id(chance, created), "list_agent_id": agent.id, "created_at": created}
    changes = home.pop("changes")
    history = [
        (demo_id(chance, at), home["id"], str(agent.user_id), name, before, after, None, at)
        for at, name, before, after in changes
    ]
    return Home(tuple(home[name] for name in LISTING_COLUMNS), history)


def _described(chance: random.Random, place: Locality, created: datetime) -> HomeRow:
    """What it is and where."""
    kind = KINDS.pick(chance)
    lived_in = kind not in {"plot", "office", "shop"}
    rent = kind != "plot" and chance.random() < 0.32
    bhk = (1.0 if kind == "studio" else BHK.pick(chance)) if lived_in else None
    if kind in {"villa", "row_house"}:
        bhk = chance.choice((3.0, 3.0, 4.0, 4.0, 5.0))
    carpet = _carpet(chance, kind, bhk, place.city.size)
    built_up = round(carpet * chance.uniform(1.12, 1.22))
    total_floors = {"villa": 2, "row_house": 3, "builder_floor": 4, "shop": 3}.get(
        kind, chance.choice((4, 7, 11, 14, 19, 24, 32))
    )
    building = kind not in {"plot", "villa", "row_house"}
    unfinished = not rent and kind == "apartment" and chance.random() < 0.28
    society = f"{chance.choice(SOCIETIES)} {chance.choice(SOCIETY_KINDS)}"
    floor = (0 if kind == "shop" else chance.randint(0, total_floors)) if building else None
    flat = f"{chance.choice('ABCDEF')}-{(floor or 0) * 100 + chance.randint(1, 8)}"
    few = AMENITIES[: 6 if kind in {"shop", "office", "builder_floor"} else None]
    photos = chance.randint(0, 4)
    finish = chance.randint(3, 30)
    what = f"{bhk:g} BHK {kind.replace('_', ' ')}" if bhk else kind.capitalize()
    return {
        "listing_type": "rent" if rent else "sale",
        "property_type": kind,
        "property_sub_type": "penthouse" if bhk and bhk >= 4 and floor == total_floors else None,
        "bhk": bhk,
        "bedrooms_total": int(bhk) if bhk else None,
        "bathrooms_total": max(1, round(bhk - 0.3 + chance.random())) if bhk else 1 if building else None,
        "carpet_area": carpet,
        "built_up_area": None if kind == "plot" else built_up,
        "super_built_up_area": round(built_up * chance.uniform(1.1, 1.2)) if building else None,
        "furnishing": None if kind == "plot" else chance.choices(FURNISHINGS, (3, 4, 3) if rent else (6, 3, 1))[0],
        "facing": chance.choice(FACINGS) if chance.random() < 0.8 else None,
        "floor": floor,
        "total_floors": None if kind == "plot" else total_floors,
        "year_built": None if kind == "plot" or unfinished else created.year - int(chance.expovariate(1 / 8)) % 40,
        "possession_status": "under_construction" if unfinished else "ready_to_move",
        "possession_date": (created + timedelta(days=30 * finish)).date() if unfinished else None,
        "rera_project_no": (
            rera_number("project", place.city.state, chance.randint(1, 9999)) if unfinished else None
        ),
        "address_line": flat if building else f"{chance.randint(1, 220)}, {society}",
        "building_name": society if building else None,
        "subdivision_name": place.name,
        "city": place.city.name,
        "state": place.city.state,
        "postal_code": place.postal_code,
        "latitude": round(place.latitude + chance.gauss(0, 0.004), 6),
        "longitude": round(place.longitude + chance.gauss(0, 0.004), 6),
        "amenities": [] if kind == "plot" else chance.sample(few, chance.randint(1, min(9, len(few)))),
        "public_remarks": f"{what} in {place.name}, {place.city.name}. A demo listing: the home does not exist.",
        "media": json.dumps(
            [
                {"url": f"https://media.example.in/demo/{chance.randint(1, 400)}.jpg", "kind": "photo"}
                for _ in range(photos)
            ]
        ),
    }  # fmt: skip


def _carpet(chance: random.Random, kind: str, bhk: float | None, size: float) -> int:
    fixed = {"studio": 310, "plot": 1600, "office": 900, "shop": 350}
    larger = {"villa": 1.5, "row_house": 1.2}
    typical = fixed.get(kind) or CARPET[bhk or 2.0] * larger.get(kind, 1.0)
    return max(150, round(typical * size * chance.lognormvariate(0, 0.12)))


def _priced(chance: random.Random, home: HomeRow, place: Locality) -> HomeRow:
    """A sale's price; a month's rent is what the price yields, more where it is furnished."""
    rate = place.rate * DEARER.get(home["property_type"], 1.0) * chance.lognormvariate(0, 0.1)
    if home["floor"]:
        rate *= 1 + 0.003 * home["floor"]
    if home["possession_status"] == "under_construction":
        rate *= 0.9
    price = rate * home["carpet_area"]
    if home["listing_type"] == "rent":
        yearly = chance.uniform(0.024, 0.036) * (1.15 if home["furnishing"] == "furnished" else 1)
        return {"list_price": max(4_000, round(price * yearly / 12, -2))}
    # People ask for round lakhs.
    return {"list_price": max(500_000, round(price, -5 if price > 10_000_000 else -4))}


def _lived(chance: random.Random, asked: float, created: datetime, now: datetime) -> HomeRow:
    """What has become of it since it was drafted, and its history as (when, field, from, to)."""
    status = STATUSES.pick(chance)
    price = int(asked)
    told: HomeRow = {
        "standard_status": status,
        "list_price": price,
        "original_list_price": None,
        "close_price": None,
        "close_date": None,
        "listing_contract_date": created.date(),
        "on_market_date": None,
        "off_market_date": None,
        "expiration_date": (now + timedelta(days=chance.randint(30, 180))).date(),
        "price_dropped_at": None,
        "version": 1,
        "updated_at": created,
    }
    changes: list[tuple[datetime, str, str | None, str]] = []
    if status == "coming_soon":
        changes.append((created, "standard_status", "incomplete", status))
    elif status != "incomplete":
        published = created + (now - created) * chance.uniform(0, 0.05)
        changes.append((published, "standard_status", "incomplete", "active"))
        told |= {"on_market_date": published, "original_list_price": price}
        at = published
        if chance.random() < 0.18:
            at += (now - at) * chance.uniform(0.1, 0.6)
            before, price = price, int(round(price * chance.uniform(0.92, 0.99), -2))
            told |= {"list_price": price, "price_dropped_at": at}
            changes.append((at, "list_price", str(before), str(price)))
        if status != "active":
            until = at + (now - at) * chance.uniform(0.2, 0.9)
            left = at + (until - at) * 0.6 if status == "closed" else until
            if status == "closed":
                changes.append((left, "standard_status", "active", "pending"))
                told["close_price"] = int(round(price * chance.uniform(0.94, 1.0), -2))
                told["close_date"] = until.date()
            before_last = "pending" if status == "closed" else "active"
            changes.append((until, "standard_status", before_last, status))
            if status in OFF_MARKET:
                told["off_market_date"] = left
            if status == "expired":
                told["expiration_date"] = until.date()
    if changes:
        told |= {"version": 1 + len(changes), "updated_at": changes[-1][0]}
    return told | {"changes": changes}
