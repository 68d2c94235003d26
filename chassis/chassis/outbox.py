"""The outbox: events written in the transaction of the change, and the relay that publishes them to Redis.

The table is the log; the stream is a copy of its last week. The relay publishes what is not marked as published, in
order within each aggregate, then marks it: a crash between the two publishes again, and the consumers' inboxes drop
what they know.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from google.protobuf import any_pb2, timestamp_pb2
from google.protobuf.message import Message
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import ARRAY, bindparam, delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import idempotency, metrics
from chassis.context import current_call_or_none
from chassis.errors import Unavailable
from chassis.ids import new_id
from chassis.lease import SECONDS as LEASE_SECONDS
from chassis.lease import Lease
from chassis.redis import marker_of, stream_of
from chassis.tables import outbox
from chassis.tracing import traceparent
from propmubi.common.v1.event_pb2 import Event
from propmubi.options.v1 import options_pb2

BATCH = 500
# How long an event of another replica may wait to be seen; our own wake the relay at once.
POLL_SECONDS = 0.25
STREAM_LENGTH = 200_000
KEPT = timedelta(days=7)
SWEEP_SECONDS = 600.0
BACKOFF_SECONDS = 1.0

log = structlog.get_logger()

# One statement for all events of a transaction, since each costs a round trip. The counters are locked in one order,
# so that two transactions can't wait for each other, and before positions are drawn.
_WRITE = text("""
    with event as (
        select * from unnest(:ids, :aggregate_ids, :names, :payloads)
            with ordinality as event (id, aggregate_id, name, payload, place)
    ), counted as (
        insert into event_sequence (aggregate_id, last)
        select aggregate_id, count(*) from event group by aggregate_id order by aggregate_id
        on conflict (aggregate_id) do update set last = event_sequence.last + excluded.last
        returning aggregate_id, last
    )
    insert into outbox (id, aggregate_id, sequence, name, payload, correlation_id, traceparent)
    select
        id,
        aggregate_id,
        last - count(*) over (partition by aggregate_id)
            + row_number() over (partition by aggregate_id order by place),
        name,
        payload,
        :correlation_id,
        :traceparent
    from event join counted using (aggregate_id)
    order by place
    """).bindparams(
    bindparam("ids", type_=ARRAY(outbox.c.id.type)),
    bindparam("aggregate_ids", type_=ARRAY(outbox.c.aggregate_id.type)),
    bindparam("names", type_=ARRAY(outbox.c.name.type)),
    bindparam("payloads", type_=ARRAY(outbox.c.payload.type)),
    bindparam("correlation_id", type_=outbox.c.correlation_id.type),
    bindparam("traceparent", type_=outbox.c.traceparent.type),
)
_UNPUBLISHED = (
    select(outbox).where(outbox.c.published_at.is_(None)).order_by(outbox.c.position).limit(BATCH)
)
_MARK = (
    update(outbox)
    .where(outbox.c.position == func.any(bindparam("positions")))
    .values(published_at=func.now())
)


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something that happened to an aggregate, not written yet."""

    aggregate_id: uuid.UUID
    payload: Message


def event_name(payload: Message) -> str:
    """The name the contract gives to the events that `payload` carries, such as "listing.price_changed"."""
    name = str(payload.DESCRIPTOR.GetOptions().Extensions[options_pb2.event])
    if not name:
        raise ValueError(
            f"{payload.DESCRIPTOR.full_name} is no event: add (propmubi.options.v1.event)"
        )
    return name


async def write(connection: AsyncConnection, events: Sequence[NewEvent]) -> None:
    """Write `events`, in their order, in the transaction of `connection`."""
    if not events:
        return
    call = current_call_or_none()
    await connection.execute(
        _WRITE,
        {
            "ids": [new_id() for _ in events],
            "aggregate_ids": [event.aggregate_id for event in events],
            "names": [event_name(event.payload) for event in events],
            "payloads": [_packed(event.payload) for event in events],
            "correlation_id": call.correlation_id if call else "",
            "traceparent": traceparent(),
        },
    )


def _packed(payload: Message) -> bytes:
    packed = any_pb2.Any()
    packed.Pack(payload)
    return packed.SerializeToString()


class Relay:
    """Publishes a service's outbox to its stream; one replica at a time does."""

    def __init__(
        self, engine: AsyncEngine, redis: Redis, service: str, committed: asyncio.Event
    ) -> None:
        """`committed` is set whenever this process committed events."""
        self._engine = engine
        self._redis = redis
        self._stream = stream_of(service)
        self._marker = marker_of(service)
        self._committed = committed
        self._lease = Lease(engine, "outbox-relay")

    async def run(self) -> None:
        """Relay until cancelled."""
        try:
            while True:
                try:
                    await self._relay_while_ours()
                except (RedisError, Unavailable, OSError, TimeoutError) as error:
                    log.warning("relay waits", error=type(error).__name__)
                await asyncio.sleep(BACKOFF_SECONDS)
        finally:
            with contextlib.suppress(OSError, Unavailable):
                await self._lease.give_up()

    async def _relay_while_ours(self) -> None:
        renew_at = sweep_at = 0.0
        while True:
            now = time.monotonic()
            if now >= renew_at:
                if not await self._lease.take():
                    return
                renew_at = now + LEASE_SECONDS / 2
            if now >= sweep_at:
                await self._sweep()
                sweep_at = now + SWEEP_SECONDS
            self._committed.clear()
            if await self.publish_batch() < BATCH:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._committed.wait()

    async def publish_batch(self) -> int:
        """Publish and mark what is waiting, BATCH events at most; how many."""
        async with self._engine.connect() as connection:
            rows = (await connection.execute(_UNPUBLISHED)).all()
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.get(self._marker)
        for row in rows:
            pipeline.xadd(
                self._stream,
                {"event": _message(row).SerializeToString()},
                maxlen=STREAM_LENGTH,
                approximate=True,
            )
        marker, *_ = await pipeline.execute()
        if rows:
            await self._mark(rows)
        if marker is None:
            await self._publish_again()
        metrics.OUTBOX_UNPUBLISHED.set(0 if len(rows) < BATCH else len(rows))
        metrics.OUTBOX_AGE_SECONDS.set(
            max(0.0, time.time() - rows[0].occurred_at.timestamp()) if rows else 0
        )
        return len(rows)

    async def _mark(self, rows: Sequence[Any]) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(_MARK, {"positions": [row.position for row in rows]})
        for row in rows:
            metrics.EVENTS_PUBLISHED.labels(row.name).inc()

    async def _publish_again(self) -> None:
        """The stream is new or was lost: everything the log still has goes out again."""
        async with self._engine.begin() as connection:
            again = await connection.execute(
                update(outbox).where(outbox.c.published_at.is_not(None)).values(published_at=None)
            )
        await self._redis.set(self._marker, 1)
        log.info("stream filled from the outbox", stream=self._stream, events=again.rowcount)

    async def _sweep(self) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(
                delete(outbox).where(outbox.c.published_at < func.now() - KEPT)
            )
            await idempotency.sweep(connection)


def _message(row: Any) -> Event:
    occurred_at = timestamp_pb2.Timestamp()
    occurred_at.FromDatetime(row.occurred_at)
    return Event(
        id=str(row.id),
        aggregate_id=str(row.aggregate_id),
        sequence=row.sequence,
        occurred_at=occurred_at,
        correlation_id=row.correlation_id,
        traceparent=row.traceparent,
        payload=any_pb2.Any.FromString(row.payload),
    )
