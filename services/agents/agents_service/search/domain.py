"""What a person means who types "2bhk wakad under 80 lakh": sizes, prices and kinds are read from the words, and what
is left names places.
"""

import re
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

LAKH, CRORE = 100_000, 10_000_000
# Words of a phrase that may name a place.
LONGEST_NAME = 4
MOST_SIZES = 10

# Each city by all its names, the one it goes by first.
CITIES: Final = (
    ("Bengaluru", "Bangalore", "Bengalooru"),
    ("Mumbai", "Bombay"),
    ("Gurugram", "Gurgaon"),
    ("Chennai", "Madras"),
    ("Kolkata", "Calcutta"),
    ("Pune", "Poona"),
    ("Kochi", "Cochin"),
    ("Thiruvananthapuram", "Trivandrum"),
    ("Mysuru", "Mysore"),
    ("Mangaluru", "Mangalore"),
    ("Vadodara", "Baroda"),
    ("Visakhapatnam", "Vizag"),
    ("Puducherry", "Pondicherry"),
    ("Prayagraj", "Allahabad"),
    ("Varanasi", "Benares", "Banaras"),
    ("Delhi", "New Delhi"),
    ("Kozhikode", "Calicut"),
    ("Nashik", "Nasik"),
)
_SPELLINGS: Final[Mapping[str, Sequence[str]]] = {
    name.lower(): [other.lower() for other in names] for names in CITIES for name in names
}
# From these prices in rupees on, homes are counted together: rents first, then sales.
PRICE_BANDS: Final = (
    *(0, 10_000, 20_000, 30_000, 50_000, 75_000, LAKH, 2 * LAKH, 10 * LAKH),
    *(25 * LAKH, 50 * LAKH, 75 * LAKH, CRORE, 3 * CRORE // 2, 2 * CRORE, 3 * CRORE, 5 * CRORE),
    10 * CRORE,
)


class Place(NamedTuple):
    """Somewhere to look: `folded` is one of the names it is found by, `city` empty for a city or a builder."""

    kind: str
    folded: str
    name: str
    city: str
    reference_id: uuid.UUID | None
    listings: int


class Reading(NamedTuple):
    """What was read from words, by the names of filters, and the words it was not read from."""

    filters: dict[str, Any]
    words: list[str]


def spellings(city: str) -> Sequence[str]:
    """All names of a city, in lower case."""
    return _SPELLINGS.get(city, [city])


def folded(text: str) -> str:
    """`text` as names are compared: in lower case and without accents, as the database's fold() has it."""
    plain = unicodedata.normalize("NFKD", text.lower())
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


_NUMBER = r"\d+(?:,\d+)*(?:\.\d+)?"
# What units are worth, by what they begin with. Areas are in sq ft; a gaj is a square yard.
_SUMS = {"cr": CRORE, "l": LAKH, "k": 1_000, "t": 1_000}
_AREAS = {"gaj": 9, "y": 9, "m": 10.764}
_UNIT = r"(?:\s*(cr|crores?|l|lacs?|lakhs?|k|thousand)\b)?"
_MONEY = rf"(?:₹|\brs\.?|\binr)?\s*({_NUMBER}){_UNIT}"
_BEDROOMS = r"\s*-?\s*(?:bhk|bedrooms?|beds?|br)\b"
# What is added to a size is a room for a servant or to study in.
_SIZES = rf"((?:\d+(?:\.5)?\s*(?:,|/|-|&|or|and|to)\s*)*\d+(?:\.5)?)(?:\s*\+\s*\d)?{_BEDROOMS}"
# In English and in Hindi.
_COUNTED: Final = {
    word: str(number)
    for number, words in enumerate(
        ("one ek", "two do", "three teen", "four char chaar", "five paanch"), 1
    )
    for word in words.split()
}
_COUNT = rf"\b({'|'.join(_COUNTED)})(?={_BEDROOMS})"
_WAYS = "north|south|east|west"
_FACING = rf"\b((?:north|south)[\s-]?(?:east|west)|{_WAYS})[\s-]*facing\b"
_AT_MOST = r"(?:\b(?:under|below|within|up\s?to|(?:less|not? more) than|at most|max(?:imum)?|budget(?: of)?)|<)"
_AT_LEAST = r"(?:\b(?:above|over|from|more than|at least|min(?:imum)?|starting(?: at| from)?)|>)"
_PINCODE = r"(?<![\d,.])([1-9]\d{5})(?![\d,.])" + r"(?!\s*(?:cr|l|k|thousand))"
_OR_MORE = r"(?:\+|(?:and|or) (?:above|more)\b|onwards\b|se (?:upar|zyada|jyada)\b)"
_BETWEEN, _TO = r"(?:\b(?:between|from)\s*)?", r"\s*(?:-|to|and|se)\s*"
_PRICES: Final = (
    (rf"{_BETWEEN}{_MONEY}{_TO}{_MONEY}", ("price_min", "price_max")),
    (rf"{_AT_MOST}\s*{_MONEY}", ("price_max",)),
    (rf"{_AT_LEAST}\s*{_MONEY}", ("price_min",)),
    (rf"{_MONEY}\s*{_OR_MORE}", ("price_min",)),
)
_CRORES_AND_LAKHS = rf"({_NUMBER})\s*(?:cr|crores?)\s+({_NUMBER})\s*(?:l|lacs?|lakhs?)\b"
_AREA_UNIT = (
    r"\s*(?:sq(?:uare)?\.?[\s-]*(?=ft|f(?:ee|oo)t|y|m)|(?=sft|gaj))"
    r"(s?ft|feet|foot|ya?r?ds?|m(?:trs?|et(?:er|re)s?)?|gaj)\b"
)
_CARPETS: Final = (
    (
        rf"{_BETWEEN}({_NUMBER})(?:{_AREA_UNIT})?{_TO}({_NUMBER}){_AREA_UNIT}",
        ("carpet_area_min", "carpet_area_max"),
    ),
    (rf"{_AT_MOST}\s*({_NUMBER}){_AREA_UNIT}", ("carpet_area_max",)),
    # Of an area that nothing is said of, so much is needed.
    (rf"(?:{_AT_LEAST}\s*)?({_NUMBER}){_AREA_UNIT}", ("carpet_area_min",)),
)
_KINDS: Final = (
    (r"studios?(?: (?:apartments?|flats?))?|1\s?rk", "studio"),
    (r"apartments?|flats?", "apartment"),
    (r"villas?|bungalows?|independent houses?|kothi", "villa"),
    (r"row\s?houses?|town\s?houses?", "row_house"),
    (r"(?:builder|independent) floors?", "builder_floor"),
    (r"plots?|land|jamin|zameen", "plot"),
    (r"(?:commercial )?offices?(?: space)?", "office"),
    (r"shops?|showrooms?|dukaa?n", "shop"),
)
_ONE_OF: Final = (
    (
        "listing_type",
        r"(?:for |on )?(?:rent|lease)|rentals?|to[\s-]?let|kiraye|kiraya|bhad(?:e|yane)",
        ["rent"],
    ),
    (
        "listing_type",
        r"(?:for |on )?sale|for sell|resale|(?:to )?buy|purchase|kharidna|vikat",
        ["sale"],
    ),
    ("furnishing", r"semi[\s-]?furnished", ["semi_furnished"]),
    ("furnishing", r"un[\s-]?furnished", ["unfurnished"]),
    ("furnishing", r"(?:fully[\s-])?furnished", ["furnished"]),
    ("possession_status", r"ready(?: to move(?: in)?| possession)", "ready_to_move"),
    ("possession_status", r"under[\s-]construction", "under_construction"),
)
# They name nothing.
_SMALL: Final = frozenset(
    {"a", "an", "and", "at", "by", "for", "in", "near", "of", "on", "or", "the", "to", "with"}
    | {"home", "homes", "house", "houses", "property", "properties"}
)
# Nor do these, but within a name, as in New Town: what says little, in English, Hindi and Marathi.
_IDLE: Final = frozenset(
    {"affordable", "around", "available", "best", "budget", "cheap", "good", "luxury", "max", "maximum", "min", "month", "monthly"}
    | {"need", "new", "per", "pm", "price", "project", "projects", "residential", "search", "want"}
    | {"andar", "chahiye", "dakhva", "dikhao", "ghar", "hai", "havi", "hava", "ka", "kam", "ke", "ki", "ko", "la", "liye"}
    | {"madhe", "madhye", "makaan", "makan", "me", "mein", "ne", "niche", "paas", "paryant", "pahije", "par", "se", "tak"}
)  # fmt: skip


def read(text: str) -> Reading:
    """What is said in `text` of homes and not of places."""
    rest = re.sub("[\u2013\u2014]", "-", folded(text))
    rest = re.sub(_COUNT, lambda found: _COUNTED[found[1]], rest)
    rest = re.sub(_CRORES_AND_LAKHS, lambda found: _in_lakhs(found[1], found[2]), rest)
    filters: dict[str, Any] = {}
    rest = _take(rest, _SIZES, lambda found: _size(filters, found[1]))
    rest = _take(rest, _FACING, lambda found: filters.setdefault("facing", [_way(found[1])]))
    for pattern, names in _CARPETS:
        rest = _take(rest, pattern, lambda found, names=names: _carpet(filters, names, found))  # type: ignore[misc]
    for pattern, names in _PRICES:
        rest = _take(rest, pattern, lambda found, names=names: _price(filters, names, found))  # type: ignore[misc]
    # Six digits that nothing is said of are a pincode, other sums what somebody has to spend.
    rest = _take(rest, _PINCODE, lambda found: filters.setdefault("postal_code", [found[1]]))
    rest = _take(rest, _MONEY, lambda found: _price(filters, ("price_max",), found))
    for name, pattern, value in _ONE_OF:
        rest = _take(
            rest,
            rf"\b(?:{pattern})\b",
            lambda _, name=name, value=value: filters.setdefault(name, value),  # type: ignore[misc]
        )
    for pattern, kind in _KINDS:
        rest = _take(
            rest,
            rf"\b(?:{pattern})\b",
            lambda _, kind=kind: filters.setdefault("property_type", []).append(kind) or True,  # type: ignore[misc]
        )
    words = [word for word in re.findall(r"\w+", rest) if word not in _SMALL]
    return Reading(filters, list(dict.fromkeys(words)))


def telling(words: Iterable[str]) -> list[str]:
    """Of words that name no place, those that something may be found by."""
    return [word for word in words if word not in _IDLE]


def phrases(words: Sequence[str]) -> list[str]:
    """All that may be a name within `words`, the longest first."""
    return [
        " ".join(words[start : start + length])
        for length in range(min(LONGEST_NAME, len(words)), 0, -1)
        for start in range(len(words) - length + 1)
    ]


def meant(words: Sequence[str], known: Iterable[Place]) -> tuple[list[Place], list[str]]:
    """The places that `words` name, of those `known`, and the words that name none.

    A longer name goes before a shorter one, and one that is spelt as it was typed before one that is nearly so.
    """
    known = list(known)
    rest, found = list(words), list[list[Place]]()
    for fits in (str.__eq__, _is_nearly):
        for phrase in phrases(words):
            parts = phrase.split()
            at = _index(rest, parts)
            places = (
                [place for place in known if fits(phrase, place.folded)] if at is not None else []
            )
            if places and at is not None:
                found.append(_likeliest(phrase, places))
                rest[at : at + len(parts)] = [""]
    chosen = dict.fromkeys(place for places in found for place in places)
    return [*chosen], [word for word in rest if word]


def in_named_cities(places: Sequence[Place]) -> list[Place]:
    """Of places with the same name, those in a city that is named too, if there are any."""
    cities = {place.name for place in places if place.kind == "city"}
    named = {(place.kind, place.folded) for place in places if place.city in cities}
    return [
        place for place in places if place.city in cities or (place.kind, place.folded) not in named
    ]


def _likeliest(phrase: str, places: list[Place]) -> list[Place]:
    """A city, if the phrase is its name; else all that go by the name most listings go by."""
    cities = [place for place in places if place.kind == "city"]
    if cities:
        return cities[:1]
    best = max(places, key=lambda place: (place.folded == phrase, place.listings))
    return [place for place in places if place.folded == best.folded]


def _take(text: str, pattern: str, use: Callable[[re.Match[str]], Any]) -> str:
    """`text` without what `pattern` finds in it and `use` has a use for."""
    return re.sub(pattern, lambda found: " " if use(found) else found[0], text)


def _size(filters: dict[str, Any], text: str) -> bool:
    numbers = [float(number) for number in re.findall(r"\d+(?:\.5)?", text)]
    if not all(0.5 <= number <= 20 for number in numbers):
        return False
    if len(numbers) == 2 and re.search(r"-|to", text) and numbers[0] < numbers[1]:
        numbers = [numbers[0] + step for step in range(int(numbers[1] - numbers[0]) + 1)]
    filters["bhk"] = list(dict.fromkeys([*filters.get("bhk", ()), *numbers]))[:MOST_SIZES]
    return True


def _way(text: str) -> str:
    return re.sub(r"(north|south)[\s-]?(east|west)", r"\1_\2", text)


def _price(filters: dict[str, Any], names: Sequence[str], found: re.Match[str]) -> bool:
    return _between(filters, names, _amounts(found, _SUMS), 1_000, 10**12)


def _carpet(filters: dict[str, Any], names: Sequence[str], found: re.Match[str]) -> bool:
    return _between(filters, names, _amounts(found, _AREAS), 50, 10**6)


def _amounts(found: re.Match[str], worths: Mapping[str, float]) -> list[int]:
    groups = [group or "" for group in found.groups()]
    numbers, units = groups[::2], groups[1::2]
    # "50 to 80 lakh": the one unit is both prices'.
    units = [unit or units[-1] for unit in units]
    return [
        round(_number(n) * next((worth for name, worth in worths.items() if u.startswith(name)), 1))
        for n, u in zip(numbers, units, strict=True)
    ]


def _between(
    filters: dict[str, Any], names: Sequence[str], amounts: list[int], least: int, most: int
) -> bool:
    plausible = all(least <= amount <= most for amount in amounts)
    if not plausible or amounts != sorted(amounts) or any(name in filters for name in names):
        return False
    filters.update(zip(names, amounts, strict=True))
    return True


def _in_lakhs(crores: str, lakhs: str) -> str:
    return f"{_number(crores) * CRORE / LAKH + _number(lakhs):.2f} lakh"


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def _index(words: Sequence[str], parts: Sequence[str]) -> int | None:
    """Where `parts` stand within `words`."""
    ends = range(len(words) - len(parts) + 1)
    return next((at for at in ends if [*words[at : at + len(parts)]] == [*parts]), None)


def _is_nearly(one: str, other: str) -> bool:
    """Whether one is the other but for spaces, or a slip of the finger in each word; in long words two are forgiven."""
    words, others = one.split(), other.split()
    if len(words) == len(others):
        return len(one) >= 4 and all(map(_is_slip, words, others))
    # T Nagar is not R T Nagar: short names are told apart by a letter.
    joined, against = "".join(words), "".join(others)
    return joined == against or (len(joined) >= 8 and _is_slip(joined, against))


def _is_slip(one: str, other: str) -> bool:
    return one == other or (len(one) >= 4 and _slips(one, other) <= (1 if len(one) < 8 else 2))


def _slips(one: str, other: str) -> int:
    """How many letters are too many, missing, wrong, or change places with the next (Damerau's distance)."""
    before: list[int] = []
    last: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, last, row = last, row, [i]
        for j, against in enumerate(other, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (letter != against)))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == against:
                row[j] = min(row[j], before[j - 2] + 1)
    return row[-1]


def names_of_cities() -> Iterator[tuple[str, str]]:
    """Each other name of a city, folded, and the name it goes by."""
    for name, *others in CITIES:
        for other in others:
            yield folded(other), name
