"""Answers kept for a moment.

One is forgotten when an event tells of anything that it shows, and in any case so many seconds after it was asked for:
whatever becomes of Redis and the relay, nothing is shown for longer.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from gateway.exchange import Answer
from propmubi.common.v1.event_pb2 import Event

# How long a call can be under way whose answer an event has made old.
CALL_SECONDS: Final = 31.0
# What an answer takes beside its bytes, and what each id that it shows takes, as tracemalloc counts: to be found by.
ENTRY_BYTES: Final = 768
ID_BYTES: Final = 512

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: Answer
    until: float
    ids: frozenset[str]
    size: int


@dataclass(slots=True)
class AnswerCache:
    """The answers of all operations, by request."""

    # The most memory that all answers together take; none is kept for 0.
    most_bytes: int
    clock: Clock = time.monotonic
    _kept: OrderedDict[bytes, _Kept] = field(default_factory=OrderedDict)
    _keys_of: dict[str, set[bytes]] = field(default_factory=dict)
    _size: int = 0
    # What events told of lately, oldest first: an answer that was asked for before is not kept.
    _told: deque[tuple[float, str]] = field(default_factory=deque)
    _told_at: dict[str, float] = field(default_factory=dict)
    _emptied_at: float = float("-inf")

    def get(self, key: bytes) -> Answer | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.until <= self.clock():
            self._drop(key)
            return None
        return kept.answer

    def keep(
        self, key: bytes, answer: Answer, ids: Collection[str], *, asked_at: float, seconds: float
    ) -> None:
        """Keep an answer that shows `ids` and was asked for at `asked_at`, unless one of them was told of since."""
        until = asked_at + seconds
        if (
            until <= self.clock()
            or asked_at <= self._emptied_at
            or any(asked_at <= self._told_at.get(each, float("-inf")) for each in ids)
        ):
            return
        self._drop(key)
        size = len(key) + len(answer.body) + ENTRY_BYTES + len(ids) * ID_BYTES
        self._kept[key] = _Kept(answer, until, frozenset(ids), size)
        self._size += size
        for each in ids:
            self._keys_of.setdefault(each, set()).add(key)
        self._make_room()

    def heed(self, event: Event) -> None:
        """Forget what shows that to which `event` happened."""
        told, now = event.aggregate_id, self.clock()
        self._told.append((now, told))
        self._told_at[told] = now
        while self._told and self._told[0][0] < now - CALL_SECONDS:
            at, old = self._told.popleft()
            if self._told_at.get(old) == at:
                del self._told_at[old]
        for key in [*self._keys_of.get(told, ())]:
            self._drop(key)

    def on_gap(self, behind: bool) -> None:
        """Forget everything when events don't arrive."""
        if behind:
            self._kept.clear()
            self._keys_of.clear()
            self._size, self._emptied_at = 0, self.clock()

    def _make_room(self) -> None:
        """Forget the oldest: those whose time is over, which nobody may ask for again, and what is too much."""
        now = self.clock()
        while self._kept:
            key, oldest = next(iter(self._kept.items()))
            if self._size <= self.most_bytes and oldest.until > now:
                return
            self._drop(key)

    def _drop(self, key: bytes) -> None:
        kept = self._kept.pop(key, None)
        if kept is None:
            return
        self._size -= kept.size
        for each in kept.ids:
            keys = self._keys_of[each]
            keys.discard(key)
            if not keys:
                del self._keys_of[each]
