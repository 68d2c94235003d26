"""How words are read: sizes, prices and kinds, names with slips of the finger, cities by all their names."""

import uuid
from typing import Any

import pytest

from agents_service.search.domain import Place, in_named_cities, meant, spellings, without_regions
from agents_service.search.reading import read, telling

READ: list[tuple[str, dict[str, Any], list[str]]] = [
    ("2bhk wakad under 80 lakh", {"bhk": [2], "price_max": 8_000_000}, ["wakad"]),
    ("2, 3 or 4.5 BHK", {"bhk": [2, 3, 4.5]}, []),
    ("2-4 bedrooms", {"bhk": [2, 3, 4]}, []),
    ("99 bhk", {}, ["99"]),
    ("50 to 80 lakhs", {"price_min": 5_000_000, "price_max": 8_000_000}, []),
    ("between 80L and 1.2 cr", {"price_min": 8_000_000, "price_max": 12_000_000}, []),
    ("above ₹ 1,25,00,000", {"price_min": 12_500_000}, []),
    ("rs. 25k to let", {"price_max": 25_000, "listing_type": ["rent"]}, []),
    ("3 crore", {"price_max": 30_000_000}, []),
    ("80 to 50 lakh", {"price_max": 5_000_000}, ["80"]),
    ("under 80", {}, ["80"]),
    ("411057", {"postal_code": ["411057"]}, []),
    ("flat or villa", {"property_type": ["apartment", "villa"]}, []),
    ("1 rk", {"property_type": ["studio"]}, []),
    ("semi furnished north-east facing", {"furnishing": ["semi_furnished"], "facing": ["north_east"]}, []),
    ("ready to move resale", {"possession_status": "ready_to_move", "listing_type": ["sale"]}, []),
    ("homes near the Café in Wákad", {}, ["cafe", "wakad"]),
    ("sector 62", {}, ["sector", "62"]),
    ("2bhk/3 bhk, 3+1 bhk", {"bhk": [2, 3]}, []),
    ("do bhk kiraye", {"bhk": [2], "listing_type": ["rent"]}, []),
    ("1 crore 20 lakh", {"price_max": 12_000_000}, []),
    ("35 lakh se 50 lakh", {"price_min": 3_500_000, "price_max": 5_000_000}, []),
    ("not more than 80 lakh", {"price_max": 8_000_000}, []),
    ("80 lakh+", {"price_min": 8_000_000}, []),
    ("1,200 sq. ft. under 1 cr", {"carpet_area_min": 1_200, "price_max": 10_000_000}, []),
    ("900\u20131100 sqft", {"carpet_area_min": 900, "carpet_area_max": 1_100}, []),
    ("plot below 200 gaj", {"carpet_area_max": 1_800, "property_type": ["plot"]}, []),
    ("100 square metres", {"carpet_area_min": 1_076}, []),
    ("500 m from 24 mg road", {}, ["500", "m", "24", "mg", "road"]),
    ("studio apartment", {"property_type": ["studio"]}, []),
    # As people type who look for a home in India.
    ("hinjewadi phase 2, 3 bhk", {"bhk": [3]}, ["hinjewadi", "phase", "2"]),
    ("sector 62, 2bhk noida", {"bhk": [2]}, ["sector", "62", "noida"]),
    ("sector 2, 2 bhk hsr layout", {"bhk": [2]}, ["sector", "2", "hsr", "layout"]),
    ("tower 2, 3, 4 bhk", {"bhk": [3, 4]}, ["tower", "2"]),
    ("road no 5, 3 bhk", {"bhk": [3]}, ["road", "no", "5"]),
    ("koramangala 5th block, 3bhk", {"bhk": [3]}, ["koramangala", "5th", "block"]),
    ("builder floor 3, 4 bhk", {"bhk": [3, 4], "property_type": ["builder_floor"]}, []),
    ("2,3 & 4 BHK flats in Thane West", {"bhk": [2, 3, 4], "property_type": ["apartment"]}, ["thane", "west"]),
    ("2 b h k or 3.5 bed room", {"bhk": [2, 3.5]}, []),
    ("3 bhk + servant room, 2 bathrooms, 1st floor", {"bhk": [3]}, []),
    ("rent 25000, 2bhk", {"bhk": [2], "price_max": 25_000, "listing_type": ["rent"]}, []),
    ("under 8000000, 2bhk", {"bhk": [2], "price_max": 8_000_000}, []),
    ("10,000 2 bhk", {"bhk": [2], "price_max": 10_000}, []),
    ("1.8 cr, 3 bhk", {"bhk": [3], "price_max": 18_000_000}, []),
    ("hinjewadi 411052, 3 bhk", {"bhk": [3], "postal_code": ["411052"]}, ["hinjewadi"]),
    ("411057 kothrud", {"postal_code": ["411057"]}, ["kothrud"]),
    ("560034, koramangala", {"postal_code": ["560034"]}, ["koramangala"]),
    ("pin code 411014.", {"postal_code": ["411014"]}, []),
    ("rent 150000", {"price_max": 150_000, "listing_type": ["rent"]}, []),
    ("₹ 150500", {"price_max": 150_500}, []),
    ("20 lakh rupees", {"price_max": 2_000_000}, []),
    ("budget is 50 lakh rs only", {"price_max": 5_000_000}, []),
    ("1cr50l", {"price_max": 15_000_000}, []),
    (".8 cr", {"price_max": 8_000_000}, []),
    ("rs.8 cr", {"price_max": 80_000_000}, []),
    ("1.5 karod", {"price_max": 15_000_000}, []),
    ("20 hazar pe kiraye par", {"price_max": 20_000, "listing_type": ["rent"]}, []),
    ("rs 45000/month", {"price_max": 45_000}, []),
    ("25k p.m.", {"price_max": 25_000}, []),
    ("15k-20k", {"price_min": 15_000, "price_max": 20_000}, []),
    ("under50lakh", {"price_max": 5_000_000}, []),
    ("above 50 lakh below 1 cr", {"price_min": 5_000_000, "price_max": 10_000_000}, []),
    ("under 80 lakh, max 90 lakh", {"price_max": 8_000_000}, []),
    ("3 bhk whitefield 1.2 cr rent 45k", {"bhk": [3], "price_max": 45_000, "listing_type": ["rent"]}, ["whitefield"]),
    ("rent 25k deposit 1 lakh", {"price_max": 25_000, "listing_type": ["rent"]}, []),
    ("emi 45k buy 1.2 cr", {"price_max": 12_000_000, "listing_type": ["sale"]}, []),
    ("80 lakh 90 lakh", {"price_max": 8_000_000}, []),
    ("A-1203 blue ridge", {}, ["1203", "blue", "ridge"]),
    ("possession by dec 2027", {}, []),
    ("800 sqft carpet area", {"carpet_area_min": 800}, []),
    ("1200 sqft carpet 1500 sq ft super built-up area", {"carpet_area_min": 1_200}, []),
    ("plot 1000-1500 sqft", {"carpet_area_min": 1_000, "carpet_area_max": 1_500, "property_type": ["plot"]}, []),
    ("2 guntha land", {"carpet_area_min": 2_178, "property_type": ["plot"]}, []),
    ("sale or rent", {}, []),
    ("ready to move or under construction", {}, []),
    ("semi-furnished or full furnished", {"furnishing": ["semi_furnished", "furnished"]}, []),
    ("immediate possession facing: east", {"possession_status": "ready_to_move", "facing": ["east"]}, []),
    ("one room kitchen", {"property_type": ["studio"]}, []),
    ("commercial showroom", {"property_type": ["shop"]}, []),
    ("i am looking for an appartment", {"property_type": ["apartment"]}, []),
    ("penthouse in worli", {}, ["penthouse", "worli"]),
    ("वाकड मध्ये २ बीएचके भाड्याने", {"bhk": [2], "listing_type": ["rent"]}, ["वाकड"]),
    ("पुणे में 50 लाख से 1.5 करोड़", {"price_min": 5_000_000, "price_max": 15_000_000}, ["पुणे"]),
    ("हिन्जवडी", {}, ["हिन्जवडी"]),
    ("2½ bhk, 3 ½ bhk", {"bhk": [2.5, 3.5]}, []),
    ("bunglow or banglow", {"property_type": ["villa"]}, []),
    ("dr. ambedkar veedhi", {}, ["dr", "ambedkar", "veedhi"]),
    ("-- !", {}, []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "filters", "words"), READ)
def test_words_are_read_as_filters(text: str, filters: dict[str, Any], words: list[str]) -> None:
    reading = read(text)
    assert (reading.filters, telling(reading.words)) == (filters, words)


def test_long_words_are_read_in_no_time() -> None:
    for text in (
        "9" * 200,
        "9," * 100,
        "north " * 33,
        "1-" * 100 + "bhk",
        "rs. " * 50,
        "9 sq " * 40,
        "1 cr " * 50,
        "2, " * 66 + "bhk",
        "sector 2 " * 22,
        "." * 200 + "l" * 200,
    ):
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
    place("locality", "rv nagar", "Chennai", listings=9),
    place("locality", "j p nagar", "Bengaluru"),
    place("locality", "r t nagar", "Bengaluru"),
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
    ("jp nagar", [("j p nagar", "Bengaluru")], ""),
    ("gandhi naagr", [("gandhi nagar", "Pune"), ("gandhi nagar", "Jaipur")], ""),
    ("rk nagar", [], "rk nagar"),
    ("t nagar", [], "t nagar"),
    ("bluridge", [("blue ridge", "Pune")], ""),
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


def test_words_that_say_little_are_looked_for_nowhere() -> None:
    words = ["wakad", "me", "naya", "ghar", "chahiye", "30k", "per", "month", "tak"]
    assert telling(words) == ["wakad", "naya", "30k"]


def test_a_city_has_all_its_names() -> None:
    assert set(spellings("bangalore")) == set(spellings("bengaluru")) >= {"bangalore", "bengaluru"}
    assert "mumbai" in spellings("bombay")
    assert "gurugram" in spellings("gurgaon")
    assert {"pune", "पुणे"} <= set(spellings("पुणे"))
    assert [*spellings("amravati")] == ["amravati"]


def test_states_and_the_country_are_told_from_other_words() -> None:
    words = [
        "thane",
        "west",
        "महाराष्ट्र",
        "india",
        "tamil",
        "nadu",
        "sea",
        "indiabulls",
        "west",
        "bengal",
    ]
    assert without_regions(words) == ["thane", "west", "sea", "indiabulls"]
