"""Demo agents: invented people whose phones no telephone network has, with RERA numbers in their states' shapes."""

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Literal

from chassis import rera
from devstack.demo_places import City, Locality, zipf

FIRST_NAMES = [
    "Aarav",
    "Aditi",
    "Akash",
    "Ananya",
    "Arjun",
    "Asha",
    "Bhavna",
    "Chetan",
    "Deepa",
    "Dev",
    "Divya",
    "Farhan",
    "Gauri",
    "Harish",
    "Imran",
    "Isha",
    "Jaya",
    "Kabir",
    "Kavita",
    "Kiran",
    "Lakshmi",
    "Manish",
    "Meera",
    "Mohan",
    "Naina",
    "Nikhil",
    "Pooja",
    "Pranav",
    "Priya",
    "Rahul",
    "Rajesh",
    "Rekha",
    "Ritu",
    "Rohan",
    "Sana",
    "Sanjay",
    "Shreya",
    "Sneha",
    "Suresh",
    "Tanvi",
    "Uma",
    "Varun",
    "Vikram",
    "Yash",
    "Zoya",
]
LAST_NAMES = [
    "Agarwal",
    "Bose",
    "Chauhan",
    "Das",
    "Deshmukh",
    "Fernandes",
    "Ghosh",
    "Gupta",
    "Iyer",
    "Jain",
    "Joshi",
    "Kapoor",
    "Khan",
    "Kulkarni",
    "Mehta",
    "Menon",
    "Mishra",
    "Nair",
    "Naidu",
    "Patel",
    "Patil",
    "Pillai",
    "Rao",
    "Reddy",
    "Saxena",
    "Shah",
    "Sharma",
    "Shetty",
    "Singh",
    "Thomas",
    "Varma",
    "Yadav",
]
LANGUAGES = {
    "Maharashtra": "Marathi",
    "Karnataka": "Kannada",
    "Telangana": "Telugu",
    "Tamil Nadu": "Tamil",
    "West Bengal": "Bengali",
    "Gujarat": "Gujarati",
    "Kerala": "Malayalam",
    "Haryana": "Haryanvi",
    "Delhi": "Punjabi",
}
BIO = "A demo agent: invented, registered nowhere, reachable on no phone."


@dataclass(frozen=True, slots=True)
class DemoAgent:
    id: uuid.UUID
    user_id: uuid.UUID
    row: tuple[Any, ...]


AGENT_COLUMNS = (
    "id",
    "user_id",
    "member_full_name",
    "member_mobile_phone",
    "rera_agent_no",
    "rera_state",
    "rera_valid_to",
    "verification_status",
    "languages",
    "service_areas",
    "bio",
    "status",
    "version",
    "created_at",
    "updated_at",
)


def phone(number: int) -> str:
    """The `number`-th demo phone. India gives no mobile a number that begins with 5: an SMS to one reaches nobody."""
    return f"+9155500{number:05d}"


# By state: the shapes of an agent's and of a project's RERA number, marked DEMO where the shape has room, and with
# zeros where real ones have a year or a district.
RERA_NUMBERS = {
    "Delhi": ("DLRERA0000A{:04d}", "DLRERA0000P{:04d}"),
    "Gujarat": ("AG/GJ/DEMO/AA{:05d}/DEMO", "PR/GJ/DEMO/RAA{:05d}/DEMO"),
    "Haryana": ("RC/HARERA/GGM/0000/{:06d}", "HARERA/GGM/0000/{:06d}"),
    "Karnataka": ("PRM/KA/RERA/0000/000/AG/000000/{:06d}", "PRM/KA/RERA/0000/000/PR/000000/{:06d}"),
    "Kerala": ("K-RERA/AGENT/DEMO/{}/0000", "K-RERA/PRJ/DEMO/{}/0000"),
    "Maharashtra": ("A{:011d}", "P{:011d}"),
    "Rajasthan": ("RAJ/A/0000/{:06d}", "RAJ/P/0000/{:06d}"),
    "Tamil Nadu": ("TN/AGENT/0000/{:04d}", "TN/00/BUILDING/0000/{:04d}"),
    "Telangana": ("A{:011d}", "P{:011d}"),
    "Uttar Pradesh": ("UPRERAAGT{:06d}", "UPRERAPRJ{:06d}"),
    "West Bengal": ("WBRERA/A/DEM/0000/{:06d}", "WBRERA/P/DEM/0000/{:06d}"),
}


def rera_number(kind: Literal["agent", "project"], state: str, number: int) -> str:
    return RERA_NUMBERS[state][kind == "project"].format(number)


def agents(
    chance: random.Random, count: int, places: dict[City, Sequence[Locality]], now: datetime
) -> dict[City, Sequence[DemoAgent]]:
    """`count` agents or a few more: at least one in each city, most in the busiest."""
    cities = list(places)
    homes = [*cities, *chance.choices(cities, cum_weights=zipf(len(cities)), k=count)]
    found: dict[City, list[DemoAgent]] = {city: [] for city in cities}
    joined = now - timedelta(days=400)
    for number, city in enumerate(homes[: max(count, len(cities))]):
        joined += timedelta(minutes=chance.randint(1, 120))
        found[city].append(_agent(chance, number, city, places[city], min(joined, now)))
    return dict(found)


def _agent(
    chance: random.Random, number: int, city: City, places: Sequence[Locality], joined: datetime
) -> DemoAgent:
    agent_id, user_id = demo_id(chance, joined), demo_id(chance, joined)
    areas = dict.fromkeys(
        place.name for place in chance.choices(places, cum_weights=zipf(len(places)), k=4)
    )
    rera_no = rera_number("agent", city.state, number + 1)
    own_language = LANGUAGES.get(city.state)
    row = (
        agent_id,
        user_id,
        f"{chance.choice(FIRST_NAMES)} {chance.choice(LAST_NAMES)}",
        phone(number),
        rera_no,
        city.state,
        joined.date() + timedelta(days=5 * 365),
        rera.check("agent", city.state, rera_no).value,
        ["English", "Hindi", *([own_language] if own_language else [])],
        list(areas),
        BIO,
        "active",
        2,
        joined,
        joined,
    )
    return DemoAgent(agent_id, user_id, row)


def demo_id(chance: random.Random, moment: datetime) -> uuid.UUID:
    """A UUIDv7 of `moment` whose other bits come from `chance`."""
    bits = int(moment.timestamp() * 1000) << 80 | chance.getrandbits(80)
    return uuid.UUID(int=bits & ~(0xF << 76 | 0x3 << 62) | 7 << 76 | 2 << 62)


def midnight(moment: datetime) -> datetime:
    """Demo data reach back from the day's beginning, so that all runs of a day make the same."""
    return datetime.combine(moment.date(), time(), UTC)
