"""Saved searches: what matches, and that whatever matches is found by an anchor."""

import random
import uuid
from datetime import date
from typing import Any

import pytest

from agents_service.saved_searches.domain import (
    CHECKS,
    LEAST_LIKENESS,
    Home,
    anchors,
    anchors_of,
    is_exact,
    matches,
    misspelt,
    stored,
)
from agents_service.search import geometry
from chassis.migrate import WORD_SIMILARITY
from propmubi.agents.v1.listings_pb2 import ListingFilters

AGENT, OFFICE, PROJECT, BUILDER = (uuid.uuid4() for _ in range(4))
HOME = Home(
    id=uuid.uuid4(),
    listing_type="sale",
    property_type="apartment",
    city="pune",
    subdivision_name="wakad",
    postal_code="411057",
    list_agent_id=AGENT,
    list_office_id=OFFICE,
    project_id=PROJECT,
    builder_id=BUILDER,
    bhk=2.0,
    list_price=8_000_000,
    carpet_area=800,
    price_per_sqft=10_000,
    floor=3,
    furnishing="furnished",
    facing="east",
    possession_status="under_construction",
    possession_date=date(2027, 1, 31),
    amenities=["gym", "lift"],
    has_media=True,
    rera_verified=False,
    location=geometry.project(73.76, 18.6),
    search_text="tower 3 blue ridge wakad pune",
)
PRICES = {"price_min", "price_max"}
NOTHING: dict[str, Any] = dict.fromkeys(
    (
        *(
            "city",
            "subdivision_name",
            "postal_code",
            "list_office_id",
            "project_id",
            "builder_id",
            "bhk",
        ),
        *("carpet_area", "price_per_sqft", "floor", "furnishing", "facing", "location"),
        *("possession_status", "possession_date"),
    )
)
UNKNOWN = HOME._replace(**NOTHING, amenities=[], has_media=False, search_text="")
# What each filter asks for: of HOME, and of none such.
ASKED: dict[str, tuple[Any, Any]] = {
    "listing_type": (["sale"], ["rent"]),
    "city": (["mumbai", "pune"], ["mumbai"]),
    "subdivision_name": (["wakad"], ["baner"]),
    "postal_code": (["411057"], ["411045"]),
    "bhk": ([1.5, 2.0], [3.0]),
    "price_min": (8_000_000, 8_000_001),
    "price_max": (8_000_000, 7_999_999),
    "carpet_area_min": (800, 801),
    "carpet_area_max": (800, 799),
    "price_per_sqft_min": (10_000, 10_001),
    "price_per_sqft_max": (10_000, 9_999),
    "floor_min": (3, 4),
    "floor_max": (3, 2),
    "property_type": (["apartment", "villa"], ["villa"]),
    "furnishing": (["furnished"], ["unfurnished"]),
    "facing": (["east"], ["west"]),
    "possession_status": ("under_construction", "ready_to_move"),
    "ready_by": (date(2027, 1, 31), date(2027, 1, 30)),
    "amenities": (["gym"], ["gym", "pool"]),
    "has_media": (True, False),
    "rera_verified": (False, True),
    "list_agent_id": ([AGENT], [PROJECT]),
    "list_office_id": ([OFFICE], [AGENT]),
    "project_id": ([PROJECT], [AGENT]),
    "bbox": (geometry.box("73.7,18.5,73.8,18.7"), geometry.box("73.7,18.5,73.75,18.7")),
    "near": (geometry.circle("18.6,73.77", 1_100), geometry.circle("18.6,73.77", 1_000)),
    "polygon": (geometry.polygon("73,18;74,18;74,19"), geometry.polygon("73,18;74,19;73,19")),
    "words": (["blue", "ridge"], ["blue", "lagoon"]),
}


def test_every_filter_can_be_matched() -> None:
    read_as_others = {"q": "words", "radius_m": "near"}
    fields = {read_as_others.get(name, name) for name in ListingFilters.DESCRIPTOR.fields_by_name}
    assert fields == ASKED.keys() == CHECKS.keys()


@pytest.mark.parametrize("name", ASKED)
def test_a_home_matches_what_it_is(name: str) -> None:
    fits, others = (stored({name: value}, ()) for value in ASKED[name])
    assert matches(HOME, fits)
    assert not matches(HOME, others)
    if name not in ("listing_type", "property_type", "list_agent_id", "rera_verified") and not (
        name.startswith("price_m")
    ):
        assert not matches(UNKNOWN, fits)


def test_whatever_matches_is_found() -> None:
    chance = random.Random(1)
    for home in (HOME, UNKNOWN):
        keys = set(anchors_of(home))
        for _ in range(2_000):
            names = chance.sample([*ASKED], chance.randint(1, 6))
            wanted = stored({name: ASKED[name][chance.random() < 0.2] for name in names}, ())
            is_found = bool(keys.intersection(anchors(wanted)))
            if matches(home, wanted):
                assert is_found, wanted
            elif is_exact(wanted):
                fits = matches(home, {name: wanted[name] for name in PRICES & wanted.keys()})
                assert not is_found or not fits, wanted


def test_a_builder_is_asked_for_among_the_projects() -> None:
    wanted = stored({"project_id": [AGENT, BUILDER]}, ())
    assert matches(HOME, wanted)
    assert set(anchors(wanted)).intersection(anchors_of(HOME))
    assert is_exact(wanted)
    assert not matches(HOME._replace(builder_id=None), wanted)


def test_no_word_that_postgres_finds_is_passed_over() -> None:
    assert LEAST_LIKENESS == WORD_SIMILARITY


def test_words_are_asked_about_where_a_typing_error_may_be_all_that_is_in_the_way() -> None:
    for words, may, asked in (
        (["blue", "ridge"], True, []),
        (["blue", "riidge"], True, ["riidge"]),
        (["blue", "lagoon"], False, ["lagoon"]),
        (["bürg"], True, ["bürg"]),
    ):
        wanted = stored({}, words)
        assert (matches(HOME, wanted), misspelt(HOME, wanted)) == (may, asked)


def test_anchors_are_few_and_narrow() -> None:
    for text in ("73.7,18.5,73.8,18.7", "68,6,98,38", "73.76,18.6,73.7601,18.6001"):
        assert len(anchors({"bbox": geometry.box(text)})) <= 16
    wanted = {"listing_type": ["sale"], "bhk": [2.0, 2.5], "subdivision_name": ["wakad"]}
    assert anchors({**wanted, "city": ["pune"]}) == [
        "sale/2/subdivision_name:wakad,city:pune",
        "sale/2.5/subdivision_name:wakad,city:pune",
    ]
    assert anchors({"price_max": 7}) == ["any/any/any"]
    assert len(anchors_of(HOME)) <= 108
