"""Which places are meant: cities by all their names, names with slips of the finger."""

import re
import unicodedata
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

LAKH, CRORE = 100_000, 10_000_000
# Words of a phrase that may name a place.
LONGEST_NAME = 4
# A mark is an accent from this combining class of Unicode on.
_ACCENTS: Final = 200

# Each city by all its names, the one it goes by first.
CITIES: Final = (
    (
        "Bengaluru",
        "Bangalore",
        "Bengalooru",
        "ಬೆಂಗಳೂರು",
        "बेंगलुरु",
        "बेंगलूर",
        "बैंगलोर",
        "பெங்களூரு",
        "బెంగళూరు",
    ),
    ("Mumbai", "Bombay", "मुंबई", "मुम्बई", "મુંબઈ"),
    ("Gurugram", "Gurgaon", "गुरुग्राम", "गुड़गांव"),
    ("Chennai", "Madras", "சென்னை", "चेन्नई"),
    ("Kolkata", "Calcutta", "কলকাতা", "कोलकाता"),
    ("Pune", "Poona", "पुणे", "पूना"),
    ("Kochi", "Cochin", "कोच्चि", "കൊച്ചി"),
    ("Thiruvananthapuram", "Trivandrum", "തിരുവനന്തപുരം"),
    ("Mysuru", "Mysore", "ಮೈಸೂರು", "मैसूर"),
    ("Mangaluru", "Mangalore", "ಮಂಗಳೂರು"),
    ("Vadodara", "Baroda", "વડોદરા", "वडोदरा"),
    ("Visakhapatnam", "Vizag", "విశాఖపట్నం"),
    ("Puducherry", "Pondicherry", "புதுச்சேரி"),
    ("Prayagraj", "Allahabad", "प्रयागराज", "इलाहाबाद"),
    ("Varanasi", "Benares", "Banaras", "वाराणसी", "बनारस"),
    ("Delhi", "New Delhi", "दिल्ली", "नई दिल्ली"),
    ("Kozhikode", "Calicut", "കോഴിക്കോട്"),
    ("Nashik", "Nasik", "नाशिक", "नासिक"),
    ("Hyderabad", "హైదరాబాద్", "हैदराबाद"),
    ("Ahmedabad", "Amdavad", "અમદાવાદ", "अहमदाबाद"),
    ("Surat", "સુરત", "सूरत"),
    ("Jaipur", "जयपुर"),
    ("Lucknow", "लखनऊ"),
    ("Noida", "नोएडा"),
    ("Thane", "ठाणे"),
    ("Navi Mumbai", "नवी मुंबई"),
    ("Nagpur", "नागपूर", "नागपुर"),
    ("Indore", "इंदौर"),
    ("Bhopal", "भोपाल"),
    ("Coimbatore", "கோயம்புத்தூர்"),
)
# States and the country: beside a place that is in them they say no more.
_REGIONS: Final = (
    *("andaman and nicobar islands", "andhra pradesh", "arunachal pradesh", "assam", "bihar"),
    *("chhattisgarh", "dadra and nagar haveli", "daman and diu", "goa", "gujarat", "haryana"),
    *("himachal pradesh", "jammu and kashmir", "jharkhand", "karnataka", "kerala", "ladakh", "lakshadweep"),
    *("madhya pradesh", "maharashtra", "manipur", "meghalaya", "mizoram", "nagaland", "odisha", "orissa"),
    *("punjab", "rajasthan", "sikkim", "tamil nadu", "tamilnadu", "telangana", "tripura"),
    *("uttar pradesh", "uttarakhand", "west bengal", "bengal", "india", "bharat"),
    *("महाराष्ट्र", "कर्नाटक", "गुजरात", "राजस्थान", "उत्तर प्रदेश", "मध्य प्रदेश", "भारत"),
)  # fmt: skip
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


def spellings(city: str) -> Sequence[str]:
    """All names of a city, in lower case."""
    return _SPELLINGS.get(city, [city])


def folded(text: str) -> str:
    """`text` as names are compared: in lower case and without accents, as the database's fold() has it.

    What Indian scripts put above and below a letter is no accent, but a vowel, or that there is none.
    """
    # Taken apart, 2½ would be 21 by a 2.
    halves = re.sub(r"(?<=\d)\s*½", ".5", text.lower())
    plain = unicodedata.normalize("NFKD", halves)
    kept = (letter for letter in plain if unicodedata.combining(letter) < _ACCENTS)
    return unicodedata.normalize("NFC", "".join(kept))


def words_of(text: str) -> list[str]:
    """The words of `text`, with the marks on their letters: a regular expression ends Indian words at each of them."""
    return "".join(
        letter if unicodedata.category(letter)[0] in "LMN" else " " for letter in text
    ).split()


def folded_name(name: str) -> str:
    """What a place is found by: its words, folded, without points between them, as the database's fold_name() says."""
    return " ".join(words_of(folded(name)))


# Of a query's words the small ones are gone already.
_REGION: Final = re.compile(
    rf"(?<!\S)(?:{'|'.join(folded(name).replace(' and ', ' ') for name in _REGIONS)})(?!\S)"
)


def without_regions(words: Sequence[str]) -> list[str]:
    """`words` but for the names of states and of the country."""
    return _REGION.sub(" ", " ".join(words)).split()


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
            yield folded_name(other), name
