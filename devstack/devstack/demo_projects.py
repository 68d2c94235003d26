"""Demo builders and what they sell: a project each, of one tower, with flats in every state that needs no buyer."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from chassis import rera
from devstack.demo_homes import AMENITIES, CARPET, FACINGS, SOCIETIES, SOCIETY_KINDS
from devstack.demo_people import demo_id, rera_number
from devstack.demo_places import City, Locality

COUNT = 5
PLACE_COLUMNS = ("kind", "folded", "name", "city", "reference_id", "builder_id")
FLOORS, FLATS_PER_FLOOR = 10, 4
Row = dict[str, Any]


@dataclass(slots=True)
class Site:
    """A builder's rows, by table, in the order in which they refer to each other."""

    builders: list[Row]
    projects: list[Row]
    towers: list[Row]
    unit_types: list[Row]
    units: list[Row] = field(default_factory=list)
    history: list[Row] = field(default_factory=list)


def sites(
    chance: random.Random, places: dict[City, Sequence[Locality]], now: datetime
) -> Iterator[Site]:
    for number, city in enumerate(list(places)[:COUNT], 1):
        yield _site(chance, number, places[city][0], now - timedelta(days=200))


def named(site: Site) -> list[tuple[Any, ...]]:
    """The rows by which search knows the names of a site's projects and builders."""
    builders = [
        ("builder", each["builder_name"].lower(), each["builder_name"], "", each["id"], None)
        for each in site.builders
    ]
    projects = [
        (
            "project",
            each["project_name"].lower(),
            each["project_name"],
            each["city"],
            each["id"],
            each["builder_id"],
        )
        for each in site.projects
    ]
    return builders + projects


def _site(chance: random.Random, number: int, place: Locality, began: datetime) -> Site:
    stamps = {"created_at": began, "updated_at": began}
    state, name = place.city.state, f"{SOCIETIES[number]} {chance.choice(SOCIETY_KINDS)}"
    promoter_no, project_no = (
        rera_number("project", state, start + number) for start in (100, 200)
    )
    builder = {
        "id": demo_id(chance, began),
        "user_id": demo_id(chance, began),
        "builder_name": f"{SOCIETIES[number]} Demo Developers",
        "rera_promoter_no": promoter_no,
        "rera_state": state,
        "verification_status": rera.check("promoter", state, promoter_no).value,
        "status": "active",
        **stamps,
    }
    project = {
        "id": demo_id(chance, began),
        "builder_id": builder["id"],
        "project_name": f"{name} (demo)",
        "rera_project_no": project_no,
        "rera_valid_to": (began + timedelta(days=4 * 365)).date(),
        "verification_status": rera.check("project", state, project_no).value,
        "address_line": f"Plot {chance.randint(1, 90)}",
        "subdivision_name": place.name,
        "city": place.city.name,
        "state": state,
        "postal_code": place.postal_code,
        "latitude": place.latitude,
        "longitude": place.longitude,
        "possession_date": (began + timedelta(days=3 * 365)).date(),
        "amenities": chance.sample(AMENITIES, 8),
        "status": "selling",
        **stamps,
    }
    tower = {
        "id": demo_id(chance, began),
        "project_id": project["id"],
        "name": "A",
        "total_floors": FLOORS,
        "created_at": began,
    }
    types = [_unit_type(chance, project, bhk, place, began) for bhk in (2.0, 3.0)]
    site = Site([builder], [project], [tower], types)
    for floor in range(1, FLOORS + 1):
        for flat in range(1, FLATS_PER_FLOOR + 1):
            site.units.append(_unit(chance, tower, types[flat % 2], floor=floor, flat=flat))
    for before, after in (("draft", "registered"), ("registered", "selling")):
        site.history.append(
            {
                "id": demo_id(chance, began),
                "aggregate_id": project["id"],
                "changed_by": str(builder["user_id"]),
                "field": "status",
                "from_value": before,
                "to_value": after,
                "changed_at": began,
            }
        )
    return site


def _unit_type(
    chance: random.Random, project: Row, bhk: float, place: Locality, began: datetime
) -> Row:
    carpet = round(CARPET[bhk] * place.city.size)
    return {
        "id": demo_id(chance, began),
        "project_id": project["id"],
        "name": f"{bhk:g} BHK",
        "bhk": bhk,
        "carpet_area": carpet,
        "built_up_area": round(carpet * 1.15),
        "super_built_up_area": round(carpet * 1.32),
        "base_price": round(carpet * place.rate, -5),
        "created_at": began,
    }


def _unit(chance: random.Random, tower: Row, kind: Row, *, floor: int, flat: int) -> Row:
    began = tower["created_at"]
    charges = {
        "preferential_location_charge": 150_000 if flat == 1 else 0,
        "floor_rise_charge": 25_000 * (floor - 1),
        "parking_charge": 400_000,
    }
    return {
        "id": demo_id(chance, began),
        "project_id": tower["project_id"],
        "tower_id": tower["id"],
        "unit_type_id": kind["id"],
        "unit_no": f"A-{floor}{flat:02d}",
        "floor": floor,
        "facing": chance.choice(FACINGS),
        **charges,
        "price": int(kind["base_price"]) + sum(charges.values()),
        "status": "frozen" if chance.random() < 0.1 else "available",
        "created_at": began,
        "updated_at": began,
    }
