"""Consumers: other services' events, applied once each and in order per aggregate.

One replica at a time follows a stream (a lease), through a Redis consumer group. The event's effect and its place in
the inbox are written in one transaction, so that what is delivered twice is applied once. An event that fails five
times is set aside in `dead_letter`, later ones of its aggregate wait there behind it, and all go on when redriven.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from google.protobuf.message import DecodeError, Message
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from chassis import metrics
from chassis.context import background_call, enter
from chassis.database import Database, Transaction
from chassis.errors import Unavailable
from chassis.lease import SECONDS as LEASE_SECONDS
from chassis.lease import Lease
from chassis.outbox import event_name
from chassis.redis import BLOCK_MILLISECONDS, stream_of
from chassis.tables import dead_letter, inbox
from chassis.tracing import parent_of, tracer
from propmubi.common.v1.event_pb2 import Event

ATTEMPTS = 5
FIRST_RETRY_SECONDS = 0.1
BACKOFF_SECONDS = 1.0
BATCH = 100
REDRIVE_SECONDS = 5.0

log = structlog.get_logger()

# Applies an event within the given transaction. It may be tried again, so it does nothing outside of it.
Handler = Callable[[Transaction, Any, Event], Awaitable[None]]
Away = (RedisError, Unavailable, OSError, TimeoutError)


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
        self._handlers = {
            kind.DESCRIPTOR.full_name: (kind, handler) for kind, handler in handlers.items()
        }
        self._lease = Lease(database.engine, f"consumer/{source}")

    async def run(self) -> None:
        """Consume until cancelled."""
        try:
            while True:
                try:
                    await self._consume_while_ours()
                except Away as error:
                    log.warning("consumer waits", source=self._source, error=type(error).__name__)
                await asyncio.sleep(BACKOFF_SECONDS)
        finally:
            with contextlib.suppress(*Away):
                await self._lease.give_up()

    async def _consume_while_ours(self) -> None:
        renew_at = redrive_at = 0.0
        pending = True
        while True:
            now = time.monotonic()
            if now >= renew_at:
                if not await self._lease.take():
                    return
                renew_at = now + LEASE_SECONDS / 3
            if now >= redrive_at:
                await self._redrive()
                redrive_at = now + REDRIVE_SECONDS
            try:
                # What a predecessor was given and did not finish comes before anything new.
                entries = await (self._claim() if pending else self._read())
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                await self._create_group()
                continue
            pending = pending and bool(entries)
            for entry_id, fields in entries:
                await self._meet(fields)
                await self._redis.xack(self._stream, self._group, entry_id)

    async def _claim(self) -> list[Any]:
        _, entries, *_ = await self._redis.xautoclaim(
            self._stream, self._group, self._lease.holder.hex, min_idle_time=0, count=BATCH
        )
        return [(entry_id, fields) for entry_id, fields in entries if fields]

    async def _read(self) -> list[Any]:
        answer = await self._redis.xreadgroup(
            self._group,
            self._lease.holder.hex,
            {self._stream: ">"},
            count=BATCH,
            block=BLOCK_MILLISECONDS,
        )
        return entries_of(answer)

    async def _create_group(self) -> None:
        with contextlib.suppress(ResponseError):  # BUSYGROUP: there is one already.
            await self._redis.xgroup_create(self._stream, self._group, id="0", mkstream=True)

    async def _meet(self, fields: Mapping[bytes, bytes]) -> None:
        event = decode(fields)
        if event is None or event.payload.TypeName() not in self._handlers:
            return
        attempt = 0
        while True:
            try:
                outcome = await self._apply(event)
            except Away as error:
                # Not the event's fault: it waits until the database is back.
                log.warning("event waits", event_id=event.id, error=type(error).__name__)
                await asyncio.sleep(BACKOFF_SECONDS)
                continue
            except Exception as error:
                attempt += 1
                log.warning("event failed", event_id=event.id, attempt=attempt, exc_info=error)
                if attempt < ATTEMPTS:
                    await asyncio.sleep(FIRST_RETRY_SECONDS * 2**attempt)
                    continue
                outcome = "dead_letter"
                await self._set_aside(event, repr(error))
            metrics.EVENTS_CONSUMED.labels(self._source, self._name_of(event), outcome).inc()
            return

    async def _apply(self, event: Event, *, redriven: bool = False) -> str:
        kind, handler = self._handlers[event.payload.TypeName()]
        payload = kind()
        event.payload.Unpack(payload)
        enter(background_call(event_name(payload), correlation_id=event.correlation_id))
        aggregate_id = uuid.UUID(event.aggregate_id)
        with tracer.start_as_current_span(
            f"consume {event_name(payload)}", parent_of(event.traceparent)
        ):
            async with self._database.transaction() as tx:
                if not redriven and await self._waits(tx, aggregate_id):
                    await self._add_dead_letter(
                        tx, event, "waits behind an earlier event", ATTEMPTS
                    )
                    return "waiting"
                if not await self._advance(tx, aggregate_id, event.sequence):
                    return "duplicate"
                await handler(tx, payload, event)
                if redriven:
                    await tx.execute(
                        delete(dead_letter).where(*self._letter(aggregate_id, event.sequence))
                    )
            log.info(
                "event applied", event=event_name(payload), event_id=event.id, source=self._source
            )
        return "applied"

    async def _advance(self, tx: Transaction, aggregate_id: uuid.UUID, sequence: int) -> bool:
        """Move the inbox to `sequence`; False when it was there already. The row's lock makes it exact."""
        moved = await tx.execute(
            insert(inbox)
            .values(source=self._source, aggregate_id=aggregate_id, sequence=sequence)
            .on_conflict_do_update(
                index_elements=[inbox.c.source, inbox.c.aggregate_id],
                set_={"sequence": sequence, "applied_at": func.now()},
                where=inbox.c.sequence < sequence,
            )
            .returning(inbox.c.sequence)
        )
        return moved.first() is not None

    async def _waits(self, tx: Transaction, aggregate_id: uuid.UUID) -> bool:
        found = await tx.execute(
            select(dead_letter.c.sequence).where(*self._letter(aggregate_id)).limit(1)
        )
        return found.first() is not None

    async def _set_aside(self, event: Event, error: str) -> None:
        async with self._database.transaction() as tx:
            await self._add_dead_letter(tx, event, error, ATTEMPTS)

    async def _add_dead_letter(
        self, tx: Transaction, event: Event, error: str, attempts: int
    ) -> None:
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

    async def _redrive(self) -> None:
        """Try again what somebody asked to be tried again, in order, up to the first that fails still."""
        mine = dead_letter.c.source == self._source
        async with self._database.engine.connect() as connection:
            letters = (
                await connection.execute(
                    select(dead_letter)
                    .where(mine, dead_letter.c.attempts == 0)
                    .order_by(dead_letter.c.aggregate_id, dead_letter.c.sequence)
                )
            ).all()
            waiting = await connection.scalar(
                select(func.count()).select_from(dead_letter).where(mine)
            )
        metrics.DEAD_LETTERS.labels(self._source).set(waiting or 0)
        stuck: set[uuid.UUID] = set()
        for letter in letters:
            if letter.aggregate_id in stuck:
                continue
            try:
                await self._apply(Event.FromString(letter.event), redriven=True)
            except Away:
                raise
            except Exception as error:
                log.warning(
                    "redriven event failed", aggregate_id=str(letter.aggregate_id), exc_info=error
                )
                stuck.add(letter.aggregate_id)
                async with self._database.transaction() as tx:
                    await tx.execute(
                        update(dead_letter)
                        .where(*self._letter(letter.aggregate_id))
                        .values(attempts=ATTEMPTS, error=repr(error))
                    )

    def _letter(self, aggregate_id: uuid.UUID, sequence: int | None = None) -> list[Any]:
        where = [dead_letter.c.source == self._source, dead_letter.c.aggregate_id == aggregate_id]
        return where if sequence is None else [*where, dead_letter.c.sequence == sequence]

    def _name_of(self, event: Event) -> str:
        kind, _ = self._handlers[event.payload.TypeName()]
        return event_name(kind())


async def follow(
    redis: Redis,
    source: str,
    seconds_back: float,
    on_event: Callable[[Event], None],
    on_gap: Callable[[bool], None],
) -> None:
    """Show `on_event` every event of `source` from `seconds_back` ago on, until cancelled, in this process alone.

    `on_gap` hears True when the stream can't be read, and False when it can again: events are not lost in between.
    """
    position = f"{int((time.time() - seconds_back) * 1000)}-0"
    while True:
        try:
            answer = await redis.xread(
                {stream_of(source): position}, count=BATCH, block=BLOCK_MILLISECONDS
            )
        except (RedisError, OSError) as error:
            log.warning("stream can't be followed", source=source, error=type(error).__name__)
            on_gap(True)
            await asyncio.sleep(BACKOFF_SECONDS)
            continue
        on_gap(False)
        for entry_id, fields in entries_of(answer):
            event = decode(fields)
            if event is not None:
                on_event(event)
            position = entry_id.decode()


def entries_of(answer: Any) -> list[Any]:
    """The entries in an answer about one stream, in RESP2 (pairs) or RESP3 (a map)."""
    if not answer:
        return []
    [(_, entries)] = answer.items() if isinstance(answer, dict) else answer
    return list(entries[0] if isinstance(answer, dict) else entries)


def decode(fields: Mapping[bytes, bytes]) -> Event | None:
    """The event of a stream's entry, or None when it is none of ours."""
    try:
        return Event.FromString(fields[b"event"])
    except (KeyError, DecodeError):
        log.exception("not an event")
        return None
