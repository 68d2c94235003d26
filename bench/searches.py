"""What the search bench asks: mixes of filters, words, areas, beginnings of names; hot ones, rare ones and empty ones.

Localities and cities are asked for as often as they have listings, so by Zipf's law; everything is random and the same
at every size.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from devstack.demo_homes import AMENITIES, FACINGS, FURNISHINGS, SOCIETIES, SOCIETY_KINDS
from devstack.demo_places import Locality, localities, zipf

MIXES = 200
Ask = tuple[str, dict[str, Any]]  # A path and its parameters.


@dataclass(frozen=True)
class Towns:
    """The demo data's localities, and how to pick one."""

    places: Sequence[Locality]
    weights: Sequence[float]

    def pick(self, chance: random.Random) -> Locality:
        return chance.choices(self.places, cum_weights=self.weights)[0]


def towns() -> Towns:
    by_city = localities(random.Random(1))
    city_weights = zipf(len(by_city))
    places, weights, total = [], [], 0.0
    for rank, found in enumerate(by_city.values()):
        share = city_weights[rank] - (city_weights[rank - 1] if rank else 0)
        order = zipf(len(found))
        for at, place in enumerate(found):
            total += share * (order[at] - (order[at - 1] if at else 0)) / order[-1]
            places.append(place)
            weights.append(total)
    return Towns(places, weights)


def filters(chance: random.Random, known: Towns) -> dict[str, Any]:
    """One mix of filters: a place as a rule, and up to four others; one in twelve finds nothing."""
    place = known.pick(chance)
    asked: dict[str, Any] = chance.choices(
        (
            {"city": place.city.name},
            {"city": place.city.name, "subdivision_name": place.name},
            {"subdivision_name": [known.pick(chance).name for _ in range(3)]},
            {"postal_code": place.postal_code},
            {},
        ),
        (5, 4, 1, 1, 1),
    )[0]
    asked = dict(asked)
    rent = chance.random() < 0.4
    if chance.random() < 0.8:
        asked["listing_type"] = "rent" if rent else "sale"
    price = (
        chance.choice((15_000, 30_000, 60_000))
        if rent
        else place.rate * chance.choice((500, 900, 1_500))
    )
    others: list[Callable[[], dict[str, Any]]] = [
        lambda: {"bhk": chance.choice((1, 2, 2, 2.5, 3, 4))},
        lambda: {"bhk": [2, 3]},
        lambda: {"price_max": int(price)},
        lambda: {"price_min": int(price * 0.7), "price_max": int(price * 1.2)},
        lambda: {"carpet_area_min": 600, "carpet_area_max": 1_000},
        lambda: {"price_per_sqft_max": int(place.rate)},
        lambda: {"furnishing": chance.choice(FURNISHINGS)},
        lambda: {"facing": chance.choice(FACINGS)},
        lambda: {"property_type": chance.choice(("apartment", "villa", "plot", "shop"))},
        lambda: {"amenities": chance.sample(AMENITIES, 2)},
        lambda: {"floor_min": 5, "floor_max": 12},
        lambda: {"possession_status": "under_construction"},
        lambda: {"ready_by": "2027-12-31"},
        lambda: {"has_media": "true"},
        lambda: {"rera_verified": "true"},
        lambda: {"price_dropped_since": "2026-10-01T00:00:00Z"},
    ]  # fmt: skip
    for other in chance.sample(others, chance.randint(0, 4)):
        asked |= other()
    if chance.random() < 0.08:
        asked |= {"price_max": 900}
        asked.pop("price_min", None)
    asked["sort"] = chance.choices(("newest", "price", "-price", "price_per_sqft"), (6, 2, 1, 1))[0]
    return asked


def text(chance: random.Random, known: Towns) -> dict[str, Any]:
    """What somebody types: names, with slips of the finger in one of four, sizes, prices, buildings."""
    place = known.pick(chance)
    name = place.name
    if chance.random() < 0.25:
        at = chance.randrange(len(name))
        name = name[:at] + name[at + 1 :]
    society = f"{chance.choice(SOCIETIES)} {chance.choice(SOCIETY_KINDS)}"
    said = chance.choice(
        (
            name,
            f"{name} {place.city.name}",
            f"{chance.randint(1, 4)}bhk {name} under {chance.choice((40, 80, 150))} lakh",
            f"{society} {place.city.name}",
            society,
            f"furnished flat for rent in {name}",
            "bangalore 3 bhk",
        )
    )
    return {"q": said}


def area(chance: random.Random, known: Towns) -> dict[str, Any]:
    """A box, a circle in order of distance, or a triangle, as large as a street or a city, with some filters."""
    place = known.pick(chance)
    north, east, size = place.latitude, place.longitude, chance.choice((0.005, 0.02, 0.05, 0.2))
    box = f"{east - size:.5f},{north - size:.5f},{east + size:.5f},{north + size:.5f}"
    triangle = f"{east - size:.5f},{north - size:.5f};{east + size:.5f},{north - size:.5f};{east:.5f},{north + size:.5f}"
    asked: dict[str, Any] = chance.choice(
        (
            {"bbox": box},
            {
                "near": f"{north:.5f},{east:.5f}",
                "radius_m": int(size * 100_000),
                "sort": "distance",
            },
            {"polygon": triangle},
        )
    )
    more = {
        "bhk": chance.choice((2, 3)),
        "listing_type": "sale",
        "price_max": int(place.rate * 900),
    }
    return asked | dict(list(more.items())[: chance.randint(0, 3)])


def view(chance: random.Random, known: Towns) -> dict[str, Any]:
    """What a screen shows of a map, from a neighbourhood to half of India."""
    place = known.pick(chance)
    zoom = chance.choice((5, 9, 11, 12, 13, 14, 15, 16))
    size = 360 / 2**zoom * 1.5
    west, south = place.longitude - size, max(-80.0, place.latitude - size)
    east, north = place.longitude + size, min(80.0, place.latitude + size)
    return {"bbox": f"{west:.5f},{south:.5f},{east:.5f},{north:.5f}", "zoom": zoom}


def typed(chance: random.Random, known: Towns) -> dict[str, Any]:
    name = known.pick(chance).name
    return {"q": name[: chance.randint(2, 6)]}


def asks() -> dict[str, list[Ask]]:
    """What is asked, by kind: MIXES of each."""
    known = towns()

    def mixes(path: str, make: Callable[[random.Random, Towns], dict[str, Any]]) -> list[Ask]:
        chance = random.Random(7)
        return [(path, make(chance, known)) for _ in range(MIXES)]

    facets = [("/v1/listings/facets", _unsorted(mix)) for _, mix in mixes("", filters)]
    return {
        "filter": mixes("/v1/listings", filters),
        "text": mixes("/v1/listings", text),
        "geo": mixes("/v1/listings", area),
        "facets": facets,
        "map": mixes("/v1/listings/map", view),
        "suggest": mixes("/v1/suggest", typed),
    }


def url(ask: Ask) -> str:
    path, parameters = ask
    return f"{path}?{urlencode(parameters, doseq=True)}"


def _unsorted(mix: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in mix.items() if name != "sort"}
