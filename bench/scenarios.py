"""What is asked of both sides, in each side's words, and how its answers are judged."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import accumulate, count
from typing import Any
from urllib.parse import urlencode

import orjson

ROUTES = (
    "GET listing, any",
    "GET listing, popular",
    "GET list of 20",
    "POST enquiry",
)
# Not asked of both sides: see storm.py.
LOGIN = "POST login"
PAGE = 20


@dataclass(frozen=True)
class Home:
    """What is known of a listing, to ask for it and to know its answer."""

    id: str
    city: str
    bhk: float | None
    list_price: int


@dataclass(frozen=True)
class Request:
    payload: bytes
    accepts: Callable[[int, Any], bool]


@dataclass(frozen=True)
class Script:
    """Everything the load generator needs for one measurement, as it crosses to that process."""

    route: str
    port: int
    token: str
    seconds: float
    connections: int
    seed: int
    # Requests per second that are due, for an open loop.
    rate: float | None = None

    def to_json(self) -> bytes:
        return orjson.dumps(asdict(self))


def requests(script: Script, homes: Sequence[Home]) -> Iterator[Request]:
    """An endless stream of requests of the script's route. Everything is random, and the same for both sides."""
    chance = random.Random(script.seed)
    head = f"Host: 127.0.0.1:{script.port}\r\nAuthorization: Bearer {script.token}\r\n"
    match script.route:
        case "GET listing, any":
            return _gets(head, (chance.choice(homes) for _ in count()))
        case "GET listing, popular":
            weights = list(accumulate(1 / rank for rank in range(1, len(homes) + 1)))
            popular = list(homes)
            random.Random(1).shuffle(popular)
            return _gets(head, (chance.choices(popular, cum_weights=weights)[0] for _ in count()))
        case "GET list of 20":
            return _lists(head, (chance.choice(homes) for _ in count()))
        case "POST login":
            return _logins(head, chance)
        case _:
            return _enquiries(head, chance, homes)


def _gets(head: str, wanted: Iterator[Home]) -> Iterator[Request]:
    for home in wanted:
        line = f"GET /v1/listings/{home.id} HTTP/1.1\r\n"
        yield Request(f"{line}{head}\r\n".encode(), partial(_is_listing, home))


def _lists(head: str, like: Iterator[Home]) -> Iterator[Request]:
    for home in like:
        filters: dict[str, object] = {"city": home.city, "page_size": PAGE}
        if home.bhk is not None:
            filters["bhk"] = f"{home.bhk:g}"
        line = f"GET /v1/listings?{urlencode(filters)} HTTP/1.1\r\n"
        yield Request(f"{line}{head}\r\n".encode(), partial(_is_page, home))


def _enquiries(head: str, chance: random.Random, homes: Sequence[Home]) -> Iterator[Request]:
    # Each person enquires once; where this run's numbers begin is random.
    for number in count(chance.randrange(10**8)):
        home = chance.choice(homes)
        phone = f"+919{number % 10**9:09d}"
        body = orjson.dumps(
            {
                "listing_id": home.id,
                "full_name": "Rohan Deshmukh",
                "phone": phone,
                "message": "Is the flat free for a visit on Saturday?",
                "source": "website",
            }
        )
        lines = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        yield Request(
            f"POST /v1/enquiries HTTP/1.1\r\n{head}{lines}\r\n".encode() + body,
            partial(_is_enquiry, home, phone),
        )


def _logins(head: str, chance: random.Random) -> Iterator[Request]:
    """Everybody tries once. Whether anybody has the phone makes no difference to the work."""
    for number in count(chance.randrange(10**8)):
        body = orjson.dumps({"phone": f"+917{number % 10**9:09d}", "password": "not her password"})
        lines = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        yield Request(
            f"POST /v1/auth/login HTTP/1.1\r\n{head}{lines}\r\n".encode() + body, _is_refusal
        )


def _is_refusal(status: int, body: Any) -> bool:
    """Compared and found wrong, or turned away because too many were in the queue."""
    answer = (status, body["error"]["code"])
    return answer in {(401, "CREDENTIALS_INVALID"), (429, "RATE_LIMITED")}


def _is_listing(home: Home, status: int, body: Any) -> bool:
    known = (home.id, home.city, home.list_price)
    return status == 200 and (body["id"], _place(body), body["list_price"]) == known


def _is_page(home: Home, status: int, body: Any) -> bool:
    found = body["listings"]
    fits = all(
        _place(listing) == home.city and (home.bhk is None or listing["bhk"] == home.bhk)
        for listing in found
    )
    return status == 200 and 0 < len(found) <= PAGE and fits


def _is_enquiry(home: Home, phone: str, status: int, body: Any) -> bool:
    known = (home.id, phone)
    return status == 201 and bool(body["id"]) and (body["listing_id"], body["phone"]) == known


def _place(listing: dict[str, Any]) -> object:
    """The city, which the platform has in an address of its own."""
    return listing["address"]["city"] if "address" in listing else listing["city"]
