"""How words are read: sizes, prices and kinds, names with slips of the finger, cities by all their names."""

import uuid
from typing import Any

import pytest

from agents_service.search.domain import Place, in_named_cities, meant, read, spellings

READ: list[tuple[str, dict[str, Any], list[str]]] = [
    ("2bhk wakad under 80 lakh", {"bhk": [2], "price_max": 8_000_000}, ["wakad"]),
    ("2, 3 or 4.5 BHK", {"bhk": [2, 3, 4.5]}, []),
    ("2-4 bedrooms", {"bhk": [2, 3, 4]}, []),
    ("99 bhk", {}, ["99", "bhk"]),
    ("50 to 80 lakhs", {"price_min": 5_000_000, "price_max": 8_000_000}, []),
    ("between 80L and 1.2 cr", {"price_min": 8_000_000, "price_max": 12_000_000}, []),
    ("above ₹ 1,25,00,000", {"price_min": 12_500_000}, []),
    ("rs. 25k to let", {"price_max": 25_000, "listing_type": ["rent"]}, []),
    ("3 crore", {"price_max": 30_000_000}, []),
    ("80 to 50 lakh", {"price_max": 5_000_000}, ["80"]),
    ("under 80", {}, ["under", "80"]),
    ("411057", {"postal_code": ["411057"]}, []),
    ("flat or villa", {"property_type": ["apartment", "villa"]}, []),
    ("1 rk", {"property_type": ["studio"]}, []),
    ("semi furnished north-east facing", {"furnishing": ["semi_furnished"], "facing": ["north_east"]}, []),
    ("ready to move resale", {"possession_status": "ready_to_move", "listing_type": ["sale"]}, []),
    ("homes near the Café in Wákad", {}, ["cafe", "wakad"]),
    ("sector 62", {}, ["sector", "62"]),
    ("-- !", {}, []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "filters", "words"), READ)
def test_words_are_read_as_filters(text: str, filters: dict[str, Any], words: list[str]) -> None:
    assert read(text) == (filters, words)


def test_long_words_are_read_in_no_time() -> None:
    for text in ("9" * 200, "9," * 100, "north " * 33, "1-" * 100 + "bhk", "rs. " * 50):
        read(text)


def place(kind: str, folded: str, city: str = "", listings: int = 1) -> Place:
    return Place(
        kind, folded, folded.title(), city, uuid.uuid5(uuid.NAMESPACE_DNS, folded + city), listings
    )


KNOWN = [
    place("city", "pune"),
    place("city", "bangalore"),
    place("city", "thane"),
    place("locality", "wakad", "Pune"),
    place("locality", "baner", "Pune"),
    place("locality", "baner road", "Pune"),
    place("locality", "thane", "Thane"),
    place("locality", "hinjewadi", "Pune"),
    place("locality", "gandhi nagar", "Pune"),
    place("locality", "gandhi nagar", "Jaipur"),
    place("project", "blue ridge", "Pune"),
]
MEANT: list[tuple[str, list[tuple[str, str]], str]] = [
    ("wakad", [("wakad", "Pune")], ""),
    ("baner road", [("baner road", "Pune")], ""),
    ("baner wakad", [("baner", "Pune"), ("wakad", "Pune")], ""),
    ("thane", [("thane", "")], ""),
    ("wakd bangalroe", [("wakad", "Pune"), ("bangalore", "")], ""),
    ("hinjwadi", [("hinjewadi", "Pune")], ""),
    ("hnjwadi", [], "hnjwadi"),
    ("gandhi nagar", [("gandhi nagar", "Pune"), ("gandhi nagar", "Jaipur")], ""),
    ("gandhi nagar pune", [("gandhi nagar", "Pune"), ("pune", "")], ""),
    ("blue ridge tower", [("blue ridge", "Pune")], "tower"),
    ("neem baner", [("baner", "Pune")], "neem"),
    ("bar", [], "bar"),
]


@pytest.mark.parametrize(("text", "found", "rest"), MEANT)
def test_places_are_meant_by_their_names(
    text: str, found: list[tuple[str, str]], rest: str
) -> None:
    places, words = meant(text.split(), KNOWN)
    assert [(each.folded, each.city) for each in in_named_cities(places)] == found
    assert words == rest.split()


def test_a_city_has_all_its_names() -> None:
    assert set(spellings("bangalore")) == set(spellings("bengaluru")) >= {"bangalore", "bengaluru"}
    assert "mumbai" in spellings("bombay")
    assert "gurugram" in spellings("gurgaon")
    assert [*spellings("nagpur")] == ["nagpur"]
