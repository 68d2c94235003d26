"""Reads whose answers the contract lets the gateway keep (`CachePolicy.gateway_seconds`).

Only what somebody who is not signed in was answered is kept, and only such callers are given it: so nobody is shown
what another one may see.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from prometheus_client import Counter

from chassis.rules import is_map, is_nested
from gateway.exchange import Exchange
from gateway.operation import Operation
from gateway.routes import Handler

ANSWERS: Final = Counter(
    "propmubi_cached_answers_total",
    "Anonymous reads that the gateway may answer itself, and whether it could.",
    ["route", "outcome"],
)


class CachedHandler(Handler):
    """Serves an operation whose answers may be kept."""

    def __init__(self, operation: Operation, **parts: Any) -> None:
        super().__init__(operation, **parts)
        path = operation.path
        self._count_kept, self._count_missed = (
            ANSWERS.labels(path, outcome).inc for outcome in ("kept", "missed")
        )

    async def _reply(self, exchange: Exchange, path: dict[str, str]) -> None:
        policy, cache = self.operation.cache, self._edges.cache
        if exchange.call.principal is not None or policy is None:
            await super()._reply(exchange, path)
            return
        key = exchange.raw_path + b"?" + exchange.query
        answer = cache.get(key)
        if answer is not None:
            self._count_kept()
        else:
            self._count_missed()
            asked_at = cache.clock()
            reply, _ = await self._ask(exchange, path)
            answer = self._written(reply)
            cache.keep(
                key,
                answer,
                {*ids_in(reply), *path.values()},
                asked_at=asked_at,
                seconds=policy.gateway_seconds,
            )
        await self._show(exchange, answer)


def ids_in(reply: Message) -> Iterator[str]:
    """The ids of what a reply shows: its own, and those of the items of its lists."""
    descriptor: Any = reply.DESCRIPTOR
    if "id" in descriptor.fields_by_name:
        yield reply.id  # type: ignore[attr-defined]
    for name in _lists(descriptor):
        for item in getattr(reply, name):
            yield item.id


def _lists(message: Descriptor) -> list[str]:
    return [
        each.name
        for each in message.fields
        if each.is_repeated
        and is_nested(each)
        and not is_map(each)
        and each.message_type is not None
        and "id" in each.message_type.fields_by_name
    ]


def kept_of(operations: Iterable[Operation]) -> set[str]:
    """The services of whose answers some may be kept."""
    return {each.service for each in operations if each.cache and each.cache.gateway_seconds}
