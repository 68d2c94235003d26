"""The relay: publishes a service's outbox to its Redis stream.

The table is the log; the stream is a copy of its last week. The relay publishes what is not marked as published, in
order within each aggregate, then marks it: a crash between the two publishes again, and the consumers' inboxes drop
what they know. A marker key beside the stream tells that Redis was not wiped: without it nothing is added, so that
no event can overtake those that were lost, and the whole log is published again.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog
from google.protobuf import any_pb2
from redis.asyncio import Redis
from sqlalchemy import bindparam, delete, func, select, update

from chassis import idempotency, metrics
from chassis.database import Database
from chassis.lease import SECONDS as LEASE_SECONDS
from chassis.lease import Lease
from chassis.protobuf import timestamp
from chassis.redis import AWAY, marker_of, stream_of
from chassis.tables import outbox
from propmubi.common.v1.event_pb2 import Event

BATCH = 500
# How long an event of another replica may wait to be seen; our own wake the relay at once.
POLL_SECONDS = 0.25
# After a batch, so that under load a batch is many events: each costs a look, a script, and a commit to mark it.
PACE_SECONDS = 0.04
STREAM_LENGTH = 200_000
KEPT = timedelta(days=7)
SWEEP_SECONDS = 600.0
SWEEP_BATCH = 1_000
BACKOFF_SECONDS = 1.0

log = structlog.get_logger()

# All of a batch or nothing: an event left out would be taken for a duplicate once a later one was applied. Nothing is
# added to a stream that was lost, alone or with all of Redis, before it is filled again.
_PUBLISH = """
local marker = redis.call('get', KEYS[1])
if not marker or marker == 'filled' and redis.call('exists', KEYS[2]) == 0 then
    return 0
end
for place = 2, #ARGV do
    redis.call('xadd', KEYS[2], 'maxlen', '~', ARGV[1], '*', 'event', ARGV[place])
    redis.call('set', KEYS[1], 'filled')
end
return 1
"""
_UNPUBLISHED = (
    select(outbox).where(outbox.c.published_at.is_(None)).order_by(outbox.c.position).limit(BATCH)
)
_MARK = (
    update(outbox)
    .where(outbox.c.position == func.any(bindparam("positions")))
    .values(published_at=func.now())
)
_PUBLISH_AGAIN = update(outbox).where(outbox.c.published_at.is_not(None)).values(published_at=None)
# By position, which the primary key orders, since nothing else does.
_OLDEST = select(outbox.c.position).order_by(outbox.c.position).limit(SWEEP_BATCH)
_SWEEP = delete(outbox).where(
    outbox.c.position.in_(_OLDEST),
    outbox.c.published_at.is_not(None),
    outbox.c.occurred_at < func.now() - KEPT,
)


class Relay:
    """Publishes the events of `service`; one replica at a time does."""

    def __init__(self, database: Database, redis: Redis, service: str) -> None:
        self._database = database
        self._redis = redis
        self._stream = stream_of(service)
        self._marker = marker_of(service)
        self._publish = redis.register_script(_PUBLISH)
        self._lease = Lease(database, "outbox-relay")

    async def run(self) -> None:
        """Relay until cancelled."""
        try:
            while True:
                try:
                    await self._relay_while_ours()
                except AWAY as error:
                    log.warning("relay waits", error=type(error).__name__)
                await asyncio.sleep(BACKOFF_SECONDS)
        finally:
            with contextlib.suppress(*AWAY):
                await self._lease.give_up()

    async def _relay_while_ours(self) -> None:
        renew_at = sweep_at = 0.0
        committed = self._database.events_committed
        while True:
            now = time.monotonic()
            if now >= renew_at:
                if not await self._lease.take():
                    return
                renew_at = now + LEASE_SECONDS / 2
            if now >= sweep_at:
                await self.sweep()
                sweep_at = now + SWEEP_SECONDS
            committed.clear()
            published = await self.publish_batch()
            if 0 < published < BATCH:
                await asyncio.sleep(PACE_SECONDS)
            elif published == 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await committed.wait()

    async def publish_batch(self) -> int:
        """Publish and mark what is waiting, BATCH events at most; how many."""
        rows = await self._database.fetch(_UNPUBLISHED)
        while not await self._add(rows):
            await self._publish_again()
            rows = await self._database.fetch(_UNPUBLISHED)
        if rows:
            await self._mark(rows)
        metrics.OUTBOX_UNPUBLISHED.set(0 if len(rows) < BATCH else len(rows))
        metrics.OUTBOX_AGE_SECONDS.set(
            max(0.0, time.time() - rows[0]["occurred_at"].timestamp()) if rows else 0
        )
        return len(rows)

    async def _add(self, rows: Sequence[Any]) -> bool:
        """Add `rows` to the stream; False when it was lost."""
        messages = [_message(row).SerializeToString() for row in rows]
        added = await self._publish(
            keys=[self._marker, self._stream], args=[STREAM_LENGTH, *messages]
        )
        return bool(added)

    async def _mark(self, rows: Sequence[Any]) -> None:
        async with self._database.transaction() as tx:
            # A relay that slept through its lease may meet rows that its successor publishes again.
            await tx.execute(
                _MARK.where(self._lease.held()), {"positions": [row["position"] for row in rows]}
            )
        for row in rows:
            metrics.EVENTS_PUBLISHED.labels(row["name"]).inc()

    async def _publish_again(self) -> None:
        async with self._database.transaction() as tx:
            again = await tx.execute(_PUBLISH_AGAIN)
        await self._redis.set(self._marker, "empty")
        log.info("stream filled from the outbox", stream=self._stream, events=again.rowcount)

    async def sweep(self) -> None:
        """Forget events older than KEPT, and what else is past its time."""
        swept = SWEEP_BATCH
        while swept == SWEEP_BATCH:
            async with self._database.transaction() as tx:
                swept = (await tx.execute(_SWEEP)).rowcount
        async with self._database.transaction() as tx:
            await idempotency.sweep(tx.connection)


def _message(row: Any) -> Event:
    return Event(
        id=str(row["id"]),
        aggregate_id=str(row["aggregate_id"]),
        sequence=row["sequence"],
        occurred_at=timestamp(row["occurred_at"]),
        correlation_id=row["correlation_id"],
        traceparent=row["traceparent"],
        payload=any_pb2.Any.FromString(row["payload"]),
    )
