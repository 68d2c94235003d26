"""Page tokens: where the next page begins, signed, so that a client can neither read meaning into one nor forge it."""

import base64
import hashlib
import hmac
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import methodcaller
from typing import Any, TypeVar

import orjson
from google.protobuf.message import Message

from chassis.errors import InvalidArgument, Violation

DEFAULT_SIZE = 20
# What the items of one reply may take together: it may have a MiB, and more than items are in it.
ROOM_BYTES = 900_000

_MAC_BYTES = 16
_PAGING_FIELDS = frozenset({"page_token", "page_size"})

ItemT = TypeVar("ItemT")
ShownT = TypeVar("ShownT")

SizeOf = Callable[[Any], int]
BYTES_OF_MESSAGE: SizeOf = methodcaller("ByteSize")


def by_id(item: Any) -> list[Any]:
    """The position of `item` in a list that is in the order of its ids."""
    return [item.id]


def fitting(
    shown: Iterable[ShownT], room: int = ROOM_BYTES, size_of: SizeOf = BYTES_OF_MESSAGE
) -> list[ShownT]:
    """As many of `shown`, from the first on, as have room in one reply, but one at least. They are messages, unless
    `size_of` says otherwise, or None, which takes no room.
    """
    fit: list[ShownT] = []
    for each in shown:
        room -= 0 if each is None else size_of(each)
        if room < 0 and fit:
            break
        fit.append(each)
    return fit


class PageTokens:
    """Makes the page tokens of a service with `key`, and reads those that it or one of the `former` made."""

    def __init__(self, key: str, *former: str) -> None:
        self._keys = [each.encode() for each in (key, *former)]

    def page(self, request: Any) -> "Page":
        """The page that `request`, a List request, asks for; raises what `position` raises."""
        size = request.page_size or DEFAULT_SIZE
        return Page(self, request, self.position(request), size + 1)

    def issue(self, request: Message, position: Sequence[Any]) -> str:
        """The token of the page of the query `request` that begins after `position`."""
        body = orjson.dumps([_query_of(request), list(position)], default=str)
        return base64.urlsafe_b64encode(_mac(self._keys[0], body) + body).rstrip(b"=").decode()

    def position(self, request: Message) -> list[Any] | None:
        """Where the page asked for by `request.page_token` begins, None for the first.

        Raises InvalidArgument for a token that is not ours or was given for another query.
        """
        token: str = getattr(request, "page_token")  # noqa: B009  Every List request has one.
        if not token:
            return None
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except ValueError as error:
            raise page_token_invalid() from error
        mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not any(hmac.compare_digest(mac, _mac(key, body)) for key in self._keys):
            raise page_token_invalid()
        query, position = orjson.loads(body)
        if query != _query_of(request):
            raise page_token_invalid()
        return list(position)


@dataclass(frozen=True, slots=True)
class Page:
    """A page that is asked for. `limit` is how many items to look for: one more than it shows, to tell whether
    another page follows.
    """

    tokens: PageTokens
    request: Message
    position: list[Any] | None
    limit: int

    @property
    def last_id(self) -> uuid.UUID | None:
        """What a page of a list in the order of its ids begins after, None for the first."""
        return uuid.UUID(self.position[0]) if self.position else None

    def cut(
        self,
        found: Sequence[ItemT],
        show: Callable[[ItemT], ShownT | None],
        position_of: Callable[[ItemT], Sequence[Any]] = by_id,
        size_of: SizeOf = BYTES_OF_MESSAGE,
    ) -> tuple[list[ShownT], str]:
        """What the page shows of what was found, and the token of the next one, empty when there is none.

        `show` makes a message of an item, or None of what is not to be shown. A page ends early where its reply is full
        (AIP-158).
        """
        shown = fitting(map(show, found[: self.limit - 1]), size_of=size_of)
        token = ""
        if len(shown) < len(found):
            token = self.tokens.issue(self.request, position_of(found[len(shown) - 1]))
        return [each for each in shown if each is not None], token


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, "sha256")[:_MAC_BYTES]


def _query_of(request: Message) -> str:
    """A hash of all that `request` asks for but the page."""
    query = type(request)()
    query.CopyFrom(request)
    for field in _PAGING_FIELDS:
        query.ClearField(field)
    body = request.DESCRIPTOR.full_name.encode() + query.SerializeToString(deterministic=True)
    return hashlib.sha256(body).hexdigest()[:16]


def page_token_invalid() -> InvalidArgument:
    """What a page token is answered with that was not given for the query it is sent with, or no longer fits it."""
    return InvalidArgument(
        Violation(
            "page_token", "must be the next_page_token of the page before, of the same query"
        ),
        message="The page token is not valid for this query.",
        reason="PAGE_TOKEN_INVALID",
    )
