"""What a person means who types "2bhk wakad under 80 lakh": sizes, prices and kinds are read from the words, and what
is left names places.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from agents_service.search.domain import CRORE, LAKH, folded, words_of

MOST_SIZES = 10


class Reading(NamedTuple):
    """What was read from words, by the names of filters, and the words it was not read from."""

    filters: dict[str, Any]
    words: list[str]


_NUMBER = r"(?:\d+(?:,\d+)*(?:\.\d+)?|\.\d+)"
# What units are worth, by what they begin with. Areas are in sq ft; a gaj is a square yard.
_SUMS = {"cr": CRORE, "kar": CRORE, "l": LAKH, "k": 1_000, "t": 1_000, "h": 1_000}
_AREAS = {"gaj": 9, "y": 9, "m": 10.764, "ac": 43_560, "gu": 1_089, "ce": 435.6}
_CRORES, _LAKHS = r"(?:cr(?:ore)?s?|karo[dr])", r"l(?:acs?|a?kh?s?)?"
_UNITS = rf"(?:{_CRORES}|{_LAKHS}|k|thousand|ha[jz]aa?r)\b"
_UNIT = rf"(?:\s*({_UNITS}))?"
_MONEY = rf"(?:₹|\brs\.?|\binr)?\s*({_NUMBER}){_UNIT}"
_LEAST_PRICE, _MOST_PRICE = 1_000, 10**12
# Smaller numbers that nothing is said of are those of flats, roads and years.
LEAST_SUM = 3_000
_BEDROOMS = r"\s*-?\s*(?:b[. ]?h[. ]?ks?|bed\s?rooms?|beds?|br)\b"
_ROOMS, _OR = r"(?:1?\d|20)(?:\.5)?", r"\s*(?:,|/|-|&|or|and|to)\s*"
# What is added to a size is a room for a servant or to study in.
_SIZES = (
    rf"((?:(?<![\w.]){_ROOMS}{_OR}(?:{_ROOMS}{_OR})*)?(?<![\d.]){_ROOMS})(?:\s*\+\s*\d)?{_BEDROOMS}"
)
# Numbers that belong to the name before them, as in Sector 5, and are no sizes or prices.
_NUMBERED = (
    r"\b((?:sector|sec|phase|block|(?<!builder )floor|tower|wing|stage|pocket|ward|lane|gali|no)"
    rf"\b[\s.-]*\d{{1,3}}\b)(?!{_BEDROOMS})"
)
# In English and in Hindi.
_COUNTED: Final = {
    word: str(number)
    for number, words in enumerate(
        ("one ek single", "two do", "three teen", "four char chaar", "five paanch"), 1
    )
    for word in words.split()
}
_COUNT = rf"\b({'|'.join(_COUNTED)})(?={_BEDROOMS})"
_WAYS = "north|south|east|west"
_WAY = rf"((?:north|south)[\s-]?(?:east|west)|{_WAYS})"
_FACING: Final = (rf"\b{_WAY}[\s-]*facing\b", rf"\bfacing:?\s*{_WAY}\b")
_AT_MOST = r"(?:\b(?:under|below|within|up\s?to|(?:less|not? more) than|at most|max(?:imum)?|budget(?: of)?)|<)"
_AT_LEAST = r"(?:\b(?:above|over|from|more than|at least|min(?:imum)?|starting(?: at| from)?)|>)"
_PINCODE = rf"(?<!\d)(?<!\d[,.])(?<!₹)(?<!₹ )([1-9]\d\d(?!000)\d{{3}})(?!\d|[,.]\d|\s*{_UNITS})"
_OR_MORE = r"(?:\+|(?:and|or) (?:above|more)\b|onwards\b|se (?:upar|zyada|jyada)\b)"
_BETWEEN, _TO = r"(?:\b(?:between|from)\s*)?", r"\s*(?:-|to|and|se)\s*"
_PRICES: Final = (
    (rf"{_BETWEEN}{_MONEY}{_TO}{_MONEY}", ("price_min", "price_max")),
    (rf"{_AT_MOST}\s*{_MONEY}", ("price_max",)),
    (rf"{_AT_LEAST}\s*{_MONEY}", ("price_min",)),
    (rf"{_MONEY}\s*{_OR_MORE}", ("price_min",)),
)
_CRORES_AND_LAKHS = rf"({_NUMBER})\s*{_CRORES}\s*({_NUMBER})\s*{_LAKHS}\b"
_AREA_UNIT = (
    r"\s*(?:sq(?:uare)?\.?[\s-]*(?=ft|f(?:ee|oo)t|y|m)|(?=sft|gaj|ac|gu|ce))"
    r"(s?ft|feet|foot|ya?r?ds?|m(?:trs?|et(?:er|re)s?)?|gaj|acres?|gunthas?|cents?)\b"
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
    (r"studios?(?: (?:apartments?|flats?))?|1\s?rk|(?:1|one) room kitchen", "studio"),
    (r"ap+art?ments?|apts?|flats?", "apartment"),
    (r"villas?|b[au]nga?lows?|independent houses?|kothi", "villa"),
    (r"row\s?houses?|town\s?houses?", "row_house"),
    (r"(?:builder|independent) floors?", "builder_floor"),
    (r"plots?|land|jamin|zameen", "plot"),
    (r"(?:commercial )?offices?(?: space)?|commercial space", "office"),
    (r"(?:commercial )?(?:shops?|showrooms?)|dukaa?n", "shop"),
)
_SAID: Final = (
    *(("property_type", *kind) for kind in _KINDS),
    (
        "listing_type",
        r"(?:for |on )?(?:rent|lease)|rentals?|to[\s-]?let|kiraye|kiraya|bhad(?:e|yane)",
        "rent",
    ),
    (
        "listing_type",
        r"(?:for |on )?sale|for sell|resale|(?:to )?buy|purchase|kharidna|vikat",
        "sale",
    ),
    ("furnishing", r"semi[\s-]?furnished", "semi_furnished"),
    ("furnishing", r"un[\s-]?furnished", "unfurnished"),
    ("furnishing", r"(?:full(?:y)?[\s-]?)?furnished", "furnished"),
    (
        "possession_status",
        r"ready(?:[\s-]to[\s-]move(?:[\s-]in)?| possession)|immediate possession",
        "ready_to_move",
    ),
    ("possession_status", r"under[\s-]construction", "under_construction"),
)
# Who says both wants either, which is no filter.
_EITHER_WAY: Final = ("listing_type", "possession_status")
# What no filter asks for. Its numbers are no sizes or prices.
_UNSAID: Final = (
    r"\b(?:ground|top|first|second|third|\d+(?:st|nd|rd|th)) floor\b"
    r"|\b\d+\s*(?:bath(?:room)?s?|toilets?|washrooms?|balcon(?:y|ies)|halls?|kitchens?)\b"
    r"|\b(?:possession|ready)(?: by| in)?(?: [a-z]{3,9})? 20\d\d\b|\bp\.m\.?(?!\w)"
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
    | {"above", "below", "between", "from", "least", "less", "more", "most", "over", "starting", "than", "under", "upto", "within"}
    | {"amount", "emi", "deposit", "inr", "maintenance", "only", "range", "rate", "rs", "rupee", "rupees"}
    | {"area", "bhk", "build", "builtup", "built", "carpet", "ft", "saleable", "sft", "size", "sq", "sqft", "super", "up"}
    | {"room", "rooms", "servant", "study", "plus", "code", "pin", "pincode", "location", "possession", "launch", "vastu"}
    | {"am", "any", "are", "find", "get", "give", "i", "is", "looking", "my", "please", "pls", "require", "required", "show", "some"}
    | {"spacious", "there", "urgent", "urgently", "wanted", "we", "bachelor", "bachelors", "family", "owner", "direct"}
    | {"andar", "chahie", "chahiye", "dakhva", "dikhao", "ghar", "hai", "havi", "hava", "ka", "kam", "ke", "ki", "ko", "la", "liye"}
    | {"madhe", "madhye", "makaan", "makan", "me", "mein", "mujhe", "ne", "neeche", "niche", "paas", "paryant", "pahije", "par"}
    | {"pe", "se", "tak", "wala"}
)  # fmt: skip


# What is read in Latin letters, in Devanagari.
_DEVANAGARI: Final = {
    folded(word): latin
    for word, latin in (
        *(("बीएचके", "bhk"), ("लाख", "lakh"), ("करोड़", "crore"), ("कोटी", "crore"), ("हजार", "hazar")),
        *(("किराया", "rent"), ("किराये", "rent"), ("किराए", "rent"), ("भाड्याने", "rent"), ("फ्लैट", "flat")),
        *(("फ्लॅट", "flat"), ("घर", "ghar"), ("मकान", "makan"), ("में", "mein"), ("मध्ये", "madhye"), ("के", "ke")),
        *(("का", "ka"), ("की", "ki"), ("को", "ko"), ("से", "se"), ("तक", "tak"), ("पर", "par"), ("लिए", "liye")),
        *(("अंदर", "andar"), ("चाहिए", "chahiye"), ("पाहिजे", "pahije"), ("विकत", "vikat"), ("खरीदना", "kharidna")),
    )
}  # fmt: skip


def read(text: str) -> Reading:
    """What is said in `text` of homes and not of places."""
    rest = re.sub("[\u2013\u2014]", "-", folded(text))
    rest = re.sub("[\u0900-\u097f]+", lambda found: _DEVANAGARI.get(found[0], found[0]), rest)
    rest = re.sub(_COUNT, lambda found: _COUNTED[found[1]], rest)
    rest = re.sub(_CRORES_AND_LAKHS, lambda found: _in_lakhs(found[1], found[2]), rest)
    rest = re.sub(_NUMBERED, r"\1;", rest)
    rest = re.sub(_UNSAID, " ", rest)
    filters: dict[str, Any] = {}
    rest = _take(rest, _SIZES, lambda found: _size(filters, found[1]))
    for pattern in _FACING:
        rest = _take(rest, pattern, lambda found: filters.setdefault("facing", [_way(found[1])]))
    for pattern, names in _CARPETS:
        rest = _take(rest, pattern, lambda found, names=names: _carpet(filters, names, found))  # type: ignore[misc]
    for pattern, names in _PRICES:
        rest = _take(rest, pattern, lambda found, names=names: _price(filters, names, found))  # type: ignore[misc]
    # Six digits that nothing is said of are a pincode, other sums what somebody has to spend.
    rest = _take(rest, _PINCODE, lambda found: filters.setdefault("postal_code", [found[1]]))
    sums: list[int] = []
    rest = _take(rest, _MONEY, lambda found: _sum(sums, found))
    said: dict[str, list[str]] = {}
    for name, pattern, value in _SAID:
        rest, times = re.subn(rf"\b(?:{pattern})\b", " ", rest)
        if times:
            said.setdefault(name, []).append(value)
    filters |= _filters_of(said)
    if sums and "price_max" not in filters:
        # Beside a rent the larger sum is a deposit or a price, beside a sale the smaller one what is paid a month.
        which = {("rent",): min, ("sale",): max}.get(tuple(filters.get("listing_type", ())))
        filters["price_max"] = which(sums) if which else sums[0]
    words = [word for word in words_of(rest) if word not in _SMALL]
    return Reading(filters, list(dict.fromkeys(words)))


def _filters_of(said: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    found: dict[str, Any] = {**said}
    for name in _EITHER_WAY:
        if len(found.get(name, ())) > 1:
            del found[name]
    if "possession_status" in found:
        [found["possession_status"]] = found["possession_status"]
    return found


def telling(words: Iterable[str]) -> list[str]:
    """Of words that name no place, those that something may be found by."""
    return [word for word in words if word not in _IDLE]


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
    return _between(filters, names, _amounts(found, _SUMS), _LEAST_PRICE, _MOST_PRICE)


def _sum(sums: list[int], found: re.Match[str]) -> bool:
    """Whether an amount that is said to be neither the least nor the most is one of money; if so, `sums` has it."""
    [amount] = _amounts(found, _SUMS)
    alone = found[0].strip() == found[1]
    if not (LEAST_SUM if alone else _LEAST_PRICE) <= amount <= _MOST_PRICE:
        return False
    sums.append(amount)
    return True


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
    if not plausible or amounts != sorted(amounts):
        return False
    # What was said first holds.
    if not any(name in filters for name in names):
        filters.update(zip(names, amounts, strict=True))
    return True


def _in_lakhs(crores: str, lakhs: str) -> str:
    return f"{_number(crores) * CRORE / LAKH + _number(lakhs):.2f} lakh"


def _number(text: str) -> float:
    return float(text.replace(",", ""))
