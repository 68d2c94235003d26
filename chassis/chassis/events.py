"""Consumers: other services' events, applied once each and in order per aggregate.

One replica at a time follows a stream (a lease), through a Redis consumer group. The event's effect and its place in
the inbox are written in one transaction, so that what is delivered twice is applied once; the transaction also looks
at the lease, so that a replica that slept through its own can't apply an event before those it does not know of. An
event that fails five times is set aside in `dead_letter` and later ones of its aggregate wait there behind it. They
go on in order when somebody redrives it (sets its attempts to 0) or gives it up (deletes it).
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from google.protobuf.message import DecodeError, Message
from opentelemetry.trace import SpanKind
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Text,
    Uuid,
    bindparam,
    delete,
    exists,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningInsert

from chassis import metrics
from chassis.context import background_call, enter
from chassis.database import Database, Transaction
from chassis.errors import Unavailable
from chassis.lease import SECONDS as LEASE_SECONDS
from chassis.lease import Lease
from chassis.outbox import event_name
from chassis.redis import AWAY, BLOCK_MILLISECONDS, FIELDS_OF, marker_of, stream_of
from chassis.tables import dead_letter, inbox
from chassis.tracing import continued
from propmubi.common.v1.event_pb2 import Event

ATTEMPTS = 5
FIRST_RETRY_SECONDS = 0.1
BACKOFF_SECONDS = 1.0
BATCH = 100
REDRIVE_SECONDS = 5.0
# The one name under which a group reads: only the holder of the lease does.
CONSUMER = "active"

log = structlog.get_logger()

# Applies an event within the given transaction. It may be tried again, so it does nothing outside of it.
Handler = Callable[[Transaction, Any, Event], Awaitable[None]]


# Letters of the event's aggregate: before it, and its own.
_of_aggregate = (dead_letter.c.source == bindparam("its_source")) & (
    dead_letter.c.aggregate_id == bindparam("its_aggregate")
)
_waits = exists().where(_of_aggregate, dead_letter.c.sequence <= bindparam("its_sequence"))
_still_waits = exists().where(_of_aggregate, dead_letter.c.sequence < bindparam("its_sequence"))

_earlier = dead_letter.alias("earlier")
_met = func.coalesce(inbox.c.sequence, 0)
# What waits behind no failed event. What the inbox has already, as when a predecessor was slow to fail, is settled.
_REDRIVABLE = (
    select(dead_letter.c.aggregate_id, dead_letter.c.event)
    .outerjoin(
        inbox,
        (inbox.c.source == dead_letter.c.source)
        & (inbox.c.aggregate_id == dead_letter.c.aggregate_id),
    )
    .where(
        dead_letter.c.source == bindparam("source"),
        (dead_letter.c.attempts == 0) | (dead_letter.c.sequence <= _met),
        ~exists().where(
            _earlier.c.source == dead_letter.c.source,
            _earlier.c.aggregate_id == dead_letter.c.aggregate_id,
            _earlier.c.sequence < dead_letter.c.sequence,
            _earlier.c.sequence > _met,
            _earlier.c.attempts > 0,
        ),
    )
    .order_by(dead_letter.c.aggregate_id, dead_letter.c.sequence)
    .limit(BATCH)
)
_LETTERS = select(func.count().label("count")).where(dead_letter.c.source == bindparam("source"))


# A group begins with the first event there ever was, if the stream still holds it. Else the marker is deleted, which
# has the relay fill the stream again from the outbox, and the group begins where that begins: were what is there
# already applied first, what came before it would be taken for duplicates. Valkey knows how far a group lags only if it
# is told how many entries were added before the group begins.
_BEGIN = FIELDS_OF + """
local began, added = '$', 0
if redis.call('exists', KEYS[2]) == 1 then
    local stream = fields_of(redis.call('xinfo', 'stream', KEYS[2]))
    added = stream['entries-added']
    if added == stream.length then
        began, added = '0', 0
    end
end
redis.call('xgroup', 'create', KEYS[2], ARGV[1], began, 'mkstream', 'entriesread', added)
if began == '$' then
    redis.call('del', KEYS[1])
end
"""


class LeaseLost(Exception):
    """Another replica follows the stream now."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a consumer does with one kind of event."""

    payload: type[Message]
    name: str
    handler: Handler


class Consumer:
    """Applies the events of `source` that `handlers` names, by the class of their payload, to `service`'s schema."""

    def __init__(
        self,
        database: Database,
        redis: Redis,
        service: str,
        source: str,
        handlers: Mapping[type[Message], Handler],
    ) -> None:
        self._database = database
        self._redis = redis
        self._group = service
        self._source = source
        self._stream = stream_of(source)
        self._kinds = {
            payload.DESCRIPTOR.full_name: _Kind(payload, event_name(payload()), handler)
            for payload, handler in handlers.items()
        }
        self._begin = redis.register_script(_BEGIN)
        self._lease = Lease(database, f"consumer/{source}")
        self._held = self._lease.held()
        self._advance = {
            True: _advance(self._held, _still_waits),
            False: _advance(self._held, _waits),
        }

    async def run(self) -> None:
        """Consume until cancelled."""
        try:
            while True:
                try:
                    await self._consume_while_ours()
                    self._measure_no_more()
                except LeaseLost:
                    log.info("another replica consumes", source=self._source)
                    self._measure_no_more()
                except AWAY as error:
                    log.warning("consumer waits", source=self._source, error=type(error).__name__)
                await asyncio.sleep(BACKOFF_SECONDS)
        finally:
            with contextlib.suppress(*AWAY):
                await self._lease.give_up()

    async def _consume_while_ours(self) -> None:
        renew_at = look_at = 0.0
        while True:
            if time.monotonic() >= renew_at:
                if not await self._lease.take():
                    return
                renew_at = time.monotonic() + LEASE_SECONDS / 3
            if time.monotonic() >= look_at:
                if await self._redrive():
                    continue
                await self._measure()
                look_at = time.monotonic() + REDRIVE_SECONDS
            try:
                entries = await self._unfinished()
                if not entries:
                    await self._read()
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                await self._create_group()
                continue
            met = []
            for entry_id, fields in entries:
                await self._meet(fields)
                met.append(entry_id)
                if time.monotonic() >= renew_at:
                    break
            if met:
                # At once, because most are of kinds that nobody here asks for. What is met again was applied before.
                await self._redis.xack(self._stream, self._group, *met)

    async def _unfinished(self) -> list[Any]:
        """The oldest entries that were read and not acknowledged, whoever read them: the stream's order holds."""
        cursor: bytes = b"0-0"
        while True:
            cursor, entries, *_ = await self._redis.xautoclaim(
                self._stream, self._group, CONSUMER, 0, start_id=cursor, count=BATCH
            )
            if entries or cursor == b"0-0":
                return list(entries)

    async def _read(self) -> None:
        """Wait for new entries and make them unfinished ones."""
        await self._redis.xreadgroup(
            self._group, CONSUMER, {self._stream: ">"}, count=BATCH, block=BLOCK_MILLISECONDS
        )

    async def _create_group(self) -> None:
        try:
            await self._begin(keys=[marker_of(self._source), self._stream], args=[self._group])
        except ResponseError as error:
            # By another replica.
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _measure(self) -> None:
        behind = 0
        with contextlib.suppress(ResponseError):  # There is no stream yet.
            for group in await self._redis.xinfo_groups(self._stream):
                if group["name"] == self._group.encode():
                    behind = (group["lag"] or 0) + group["pending"]
        metrics.STREAM_LAG.labels(self._source).set(behind)
        [letters] = await self._database.fetch(_LETTERS, {"source": self._source})
        metrics.DEAD_LETTERS.labels(self._source).set(letters["count"])

    def _measure_no_more(self) -> None:
        """Another replica consumes, and tells of it: what we saw last would stand for ever."""
        metrics.STREAM_LAG.remove(self._source)
        metrics.DEAD_LETTERS.remove(self._source)

    async def _meet(self, fields: Mapping[bytes, bytes]) -> None:
        event = decode(fields)
        if event is None or event.payload.TypeName() not in self._kinds:
            return
        outcome = "dead_letter"
        for attempt in range(1, ATTEMPTS + 1):
            try:
                outcome = await self._apply(event)
                break
            except (LeaseLost, Unavailable):
                # Not the event's fault: whoever holds the lease meets it again, before those behind it.
                raise
            except Exception as error:
                # Whatever a handler raises makes the event a poison one: tried again, then set aside with its error.
                log.warning("event failed", event_id=event.id, attempt=attempt, exc_info=error)
                if attempt < ATTEMPTS:
                    await asyncio.sleep(FIRST_RETRY_SECONDS * 2**attempt)
                    continue
                async with self._database.transaction() as tx:
                    await self._set_aside(tx, event, ATTEMPTS, repr(error))
        name = self._kinds[event.payload.TypeName()].name
        metrics.EVENTS_CONSUMED.labels(self._source, name, outcome).inc()

    async def _apply(self, event: Event, *, redriven: bool = False) -> str:
        kind = self._kinds[event.payload.TypeName()]
        payload = kind.payload()
        event.payload.Unpack(payload)
        enter(background_call(kind.name, correlation_id=event.correlation_id))
        with continued(f"consume {kind.name}", event.traceparent, SpanKind.CONSUMER):
            async with self._database.transaction() as tx:
                outcome = await self._admit(tx, event, redriven=redriven)
                if outcome == "applied":
                    await kind.handler(tx, payload, event)
                if outcome == "waiting":
                    await self._set_aside(tx, event, 0, "waits behind an earlier event")
                elif redriven:
                    await tx.execute(delete(dead_letter).where(*self._letter(event)))
            log.info(
                "event met",
                outcome=outcome,
                name=kind.name,
                event_id=event.id,
                source=self._source,
            )
        return outcome

    async def _admit(self, tx: Transaction, event: Event, *, redriven: bool) -> str:
        """Move the inbox to `event`, whose row's lock makes it exact, or say why it can't be moved."""
        place = {
            "its_source": self._source,
            "its_aggregate": uuid.UUID(event.aggregate_id),
            "its_sequence": event.sequence,
        }
        waits = _still_waits if redriven else _waits
        moved = await tx.execute(self._advance[redriven], place)
        if moved.first() is not None:
            return "applied"
        why = select(self._held.label("ours"), waits.label("waits"))
        row = (await tx.execute(why, place)).one()
        if not row.ours:
            raise LeaseLost
        return "waiting" if row.waits else "duplicate"

    async def _set_aside(self, tx: Transaction, event: Event, attempts: int, error: str) -> None:
        await tx.execute(
            insert(dead_letter)
            .values(
                source=self._source,
                aggregate_id=uuid.UUID(event.aggregate_id),
                sequence=event.sequence,
                event=event.SerializeToString(),
                error=error,
                attempts=attempts,
            )
            .on_conflict_do_nothing()
        )

    async def _redrive(self) -> bool:
        """Try what waits behind no failed event, in order; whether there may be more."""
        letters = await self._database.fetch(_REDRIVABLE, {"source": self._source})
        stuck: set[uuid.UUID] = set()
        for letter in letters:
            if letter["aggregate_id"] in stuck:
                continue
            event = Event.FromString(letter["event"])
            try:
                await self._apply(event, redriven=True)
            except (LeaseLost, Unavailable):
                raise
            except Exception as error:
                # The same: it stays aside, with its new error, and those behind it wait on.
                log.warning("redriven event failed", event_id=event.id, exc_info=error)
                stuck.add(letter["aggregate_id"])
                async with self._database.transaction() as tx:
                    await tx.execute(
                        update(dead_letter)
                        .where(*self._letter(event))
                        .values(attempts=ATTEMPTS, error=repr(error))
                    )
        return len(letters) == BATCH

    def _letter(self, event: Event) -> tuple[Any, ...]:
        return (
            dead_letter.c.source == self._source,
            dead_letter.c.aggregate_id == uuid.UUID(event.aggregate_id),
            dead_letter.c.sequence == event.sequence,
        )


def _advance(held: ColumnElement[bool], waits: ColumnElement[bool]) -> ReturningInsert[int]:
    """Move the inbox to an event, unless it is there already, the event waits or the lease is another's."""
    event = select(
        bindparam("its_source", type_=Text),
        bindparam("its_aggregate", type_=Uuid),
        bindparam("its_sequence", type_=BigInteger),
    ).where(held, ~waits)
    moved = insert(inbox).from_select(["source", "aggregate_id", "sequence"], event)
    return moved.on_conflict_do_update(
        index_elements=[inbox.c.source, inbox.c.aggregate_id],
        set_={"sequence": moved.excluded.sequence, "applied_at": func.now()},
        where=inbox.c.sequence < moved.excluded.sequence,
    ).returning(literal(1))


async def follow(
    redis: Redis,
    source: str,
    seconds_back: float,
    on_event: Callable[[Event], None],
    on_gap: Callable[[bool], None],
) -> None:
    """Show `on_event` every event of `source` from `seconds_back` ago on, until cancelled, in this process alone.

    `on_gap` hears True when the stream can't be read, and False once all that is in it by now was shown: events are not
    lost in between.
    """
    position = f"{int((time.time() - seconds_back) * 1000)}-0"
    # Until then nothing is waited for.
    block = None
    while True:
        try:
            answer = await redis.xread({stream_of(source): position}, count=BATCH, block=block)
        except (RedisError, OSError) as error:
            log.warning("stream can't be followed", source=source, error=type(error).__name__)
            block = None
            on_gap(True)
            await asyncio.sleep(BACKOFF_SECONDS)
            continue
        entries = entries_of(answer)
        for entry_id, fields in entries:
            event = decode(fields)
            if event is not None:
                on_event(event)
            position = entry_id.decode()
        if len(entries) < BATCH:
            block = BLOCK_MILLISECONDS
            on_gap(False)


def entries_of(answer: Any) -> list[Any]:
    """The entries in an answer about one stream, in RESP2 (pairs) or RESP3 (a map)."""
    if not answer:
        return []
    [(_, entries)] = answer.items() if isinstance(answer, dict) else answer
    return list(entries[0] if isinstance(answer, dict) else entries)


def decode(fields: Mapping[bytes, bytes]) -> Event | None:
    """The event of a stream's entry, or None when it is none of ours."""
    try:
        event = Event.FromString(fields[b"event"])
        uuid.UUID(event.aggregate_id)
    except (KeyError, DecodeError, ValueError):
        log.exception("not an event")
        return None
    return event
