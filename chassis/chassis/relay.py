"""The relay: publishes a service's outbox to its Redis stream.

The table is the log; the stream is a copy of its last week, or of less. The relay publishes what is not marked as
published, in order within each aggregate, then marks it: a crash between the two publishes again, and the consumers'
inboxes drop what they know. A marker key beside the stream carries the moment of the last publication, and so do the
rows: a marker that is missing tells that Redis was wiped, one that is older than the rows that it came back from an
older copy. Then nothing is added, so that no event can overtake those that were lost, before what the stream no longer
holds waits to be published again.

A stream is not trimmed under a consumer that has not met its events: the relay waits for one that is far behind. It
does not wait for one that reads no more, which is parted with, and has the stream filled again when it comes back. Nor
does what is young wait, where a stream is also followed without a group: a revocation is held up by nobody's consumer.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
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
from chassis.redis import AWAY, FIELDS_OF, marker_of, stream_of
from chassis.tables import outbox
from propmubi.common.v1.event_pb2 import Event

BATCH = 500
# How long an event of another replica may wait to be seen; our own wake the relay at once.
POLL_SECONDS = 0.25
# After a batch, so that under load a batch is many events: each costs a look, a script, and a commit to mark it.
PACE_SECONDS = 0.04
STREAM_LENGTH = 200_000
KEPT = timedelta(days=7)
# A consumer that reads asks every second, or after a batch of slow events.
ABSENT_SECONDS = 60.0
SWEEP_SECONDS = 600.0
SWEEP_BATCH = 1_000
BACKOFF_SECONDS = 1.0

log = structlog.get_logger()

# Moments are microseconds since 1970 by Postgres's clock, 0 for a stream that is to be filled from its beginning.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
PUBLISHED = -1
FULL = -2

# Trims what was added before a time in milliseconds, but nothing that a group has not finished.
_TRIM = FIELDS_OF + """
local function place(id)
    local milliseconds, number = string.match(id, '(%d+)-(%d+)')
    return {tonumber(milliseconds), tonumber(number)}
end
local function trim(stream, before, how)
    local first = {before, 0}
    for _, group in ipairs(redis.call('xinfo', 'groups', stream)) do
        group = fields_of(group)
        local unfinished = redis.call('xpending', stream, group.name)
        local needed
        if unfinished[1] > 0 then
            needed = place(unfinished[2])
        else
            needed = place(group['last-delivered-id'])
            needed[2] = needed[2] + 1
        end
        if needed[1] < first[1] or needed[1] == first[1] and needed[2] < first[2] then
            first = needed
        end
    end
    redis.call('xtrim', stream, 'minid', how, string.format('%.0f-%.0f', first[1], first[2]))
end
local time = redis.call('time')
local now = time[1] * 1000 + time[2] / 1000
"""
# All of a batch or nothing: an event left out would be taken for a duplicate once a later one was applied. The answer
# is PUBLISHED; or FULL, where ARGV[5] is 1 and the batch would leave a consumer too far behind; or, of a stream that
# holds less than was published, the moment until which it holds all. What is younger than ARGV[4] milliseconds is not
# trimmed, however long that makes the stream.
_PUBLISH = _TRIM + """
local marker = tonumber(redis.call('get', KEYS[1]) or '')
if not marker or marker > 0 and redis.call('exists', KEYS[2]) == 0 then
    return 0
end
if marker < tonumber(ARGV[2]) then
    return marker
end
if #ARGV == 5 then
    return -1
end
if ARGV[5] == '1' and redis.call('exists', KEYS[2]) == 1 then
    for _, group in ipairs(redis.call('xinfo', 'groups', KEYS[2])) do
        if (fields_of(group).lag or 0) + #ARGV - 5 > tonumber(ARGV[1]) then
            return -2
        end
    end
end
for place = 6, #ARGV do
    redis.call('xadd', KEYS[2], '*', 'event', ARGV[place])
end
redis.call('set', KEYS[1], string.format('%.0f', math.max(marker, ARGV[3])))
local more = redis.call('xlen', KEYS[2]) - ARGV[1]
if more > 0 then
    local oldest = redis.call('xrange', KEYS[2], '-', '+', 'count', math.min(more, 1000))
    trim(KEYS[2], math.min(now - ARGV[4], place(oldest[#oldest][1])[1]), '~')
end
return -1
"""
_FORGET = _TRIM + """
if redis.call('exists', KEYS[1]) == 1 then
    trim(KEYS[1], math.floor(now - ARGV[1]), '=')
end
"""
_UNPUBLISHED = (
    select(outbox, func.clock_timestamp().label("looked_at"))
    .where(outbox.c.published_at.is_(None))
    .order_by(outbox.c.position)
    .limit(BATCH)
)
_MARK = (
    update(outbox)
    .where(outbox.c.position == func.any(bindparam("positions")))
    .values(published_at=bindparam("moment"))
)
# Those published last are among the last: events wait for milliseconds, in the order of their positions.
_RECENT = (
    select(outbox.c.published_at)
    .where(outbox.c.published_at.is_not(None))
    .order_by(outbox.c.position.desc())
    .limit(2 * BATCH)
    .subquery()
)
_LAST_PUBLISHED = select(func.max(_RECENT.c.published_at).label("moment"))
_PUBLISH_AGAIN = (
    update(outbox).where(outbox.c.published_at > bindparam("since")).values(published_at=None)
)
# By position, which the primary key orders, since nothing else does.
_OLDEST = select(outbox.c.position).order_by(outbox.c.position).limit(SWEEP_BATCH)
_SWEEP = delete(outbox).where(
    outbox.c.position.in_(_OLDEST),
    outbox.c.published_at.is_not(None),
    outbox.c.occurred_at < func.now() - KEPT,
)


class Relay:
    """Publishes the events of `service`; one replica at a time does."""

    def __init__(
        self, database: Database, redis: Redis, service: str, *, kept_seconds: float = 0.0
    ) -> None:
        """Who follows its stream without a group finds there what is younger than `kept_seconds`, all of it."""
        self._database = database
        self._redis = redis
        self._source = service
        self._kept_seconds = kept_seconds
        self._stream = stream_of(service)
        self._marker = marker_of(service)
        self._publish = redis.register_script(_PUBLISH)
        self._forget = redis.register_script(_FORGET)
        self._lease = Lease(database, "outbox-relay")
        # When an event was last published, as far as this replica knows.
        self._published = 0

    async def run(self) -> None:
        """Relay until cancelled."""
        try:
            while True:
                try:
                    await self._relay_while_ours()
                    self._measure_no_more()
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
                if not renew_at:
                    await self.look_back()
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
        rows = await self._unpublished()
        patient = True
        while (held_until := await self._add(rows, patient=patient)) != PUBLISHED:
            if held_until != FULL:
                await self._publish_again(held_until)
                rows = await self._unpublished()
                continue
            parted = await self._part_with_absent(len(rows))
            patient = not self._is_young(rows[0])
            if patient and not parted:
                log.warning("relay waits for a consumer", stream=self._stream)
                await asyncio.sleep(BACKOFF_SECONDS)
                return 0
        if rows:
            await self._mark(rows)
        return len(rows)

    async def look_back(self) -> None:
        """Learn until when other replicas, or this one before it was started, have published."""
        [last] = await self._database.fetch(_LAST_PUBLISHED)
        if last["moment"] is not None:
            self._published = max(self._published, (last["moment"] - EPOCH) // MICROSECOND)

    async def _unpublished(self) -> Sequence[Any]:
        """The events to publish next, measured before they are: while Redis is away their age must be seen to grow."""
        rows = await self._database.fetch(_UNPUBLISHED)
        age = max(0.0, time.time() - rows[0]["occurred_at"].timestamp()) if rows else 0.0
        metrics.OUTBOX_AGE_SECONDS.labels(self._source).set(age)
        metrics.OUTBOX_UNPUBLISHED.labels(self._source).set(len(rows))
        return rows

    def _measure_no_more(self) -> None:
        """Another replica relays, and tells of it: what we saw last would stand for ever."""
        metrics.OUTBOX_AGE_SECONDS.remove(self._source)
        metrics.OUTBOX_UNPUBLISHED.remove(self._source)

    def _is_young(self, row: Any) -> bool:
        """Whether those who follow the stream without a group want it."""
        age = row["looked_at"] - row["occurred_at"]
        return bool(age < timedelta(seconds=self._kept_seconds))

    async def _part_with_absent(self, more: int) -> bool:
        """Forget the consumers that `more` events would leave too far behind and that read no more; whether there were
        any. One that comes back meanwhile has lost nothing: it finds no group, and has the stream filled again.
        """
        absent = [
            group["name"]
            for group in await self._redis.xinfo_groups(self._stream)
            if (group["lag"] or 0) + more > STREAM_LENGTH
            and all(
                reader["idle"] > ABSENT_SECONDS * 1000
                for reader in await self._redis.xinfo_consumers(self._stream, group["name"])
            )
        ]
        for name in absent:
            await self._redis.xgroup_destroy(self._stream, name)
            log.error("consumer reads no more", stream=self._stream, consumer=name.decode())
        return bool(absent)

    async def _add(self, rows: Sequence[Any], *, patient: bool = True) -> int:
        """Add `rows` to the stream: PUBLISHED. Nothing is added where it holds what was published only until a moment,
        which is the answer, nor by the `patient` where it is FULL.
        """
        messages = [_message(row).SerializeToString() for row in rows]
        # Later than the last, whatever the clock says.
        looked_at = (rows[0]["looked_at"] - EPOCH) // MICROSECOND if rows else 0
        moment = max(looked_at, self._published + 1)
        held_until = await self._publish(
            keys=[self._marker, self._stream],
            args=[
                STREAM_LENGTH,
                self._published,
                moment,
                round(self._kept_seconds * 1000),
                int(patient),
                *messages,
            ],
        )
        if rows and held_until == PUBLISHED:
            self._published = moment
        return int(held_until)

    async def _mark(self, rows: Sequence[Any]) -> None:
        marked = {
            "positions": [row["position"] for row in rows],
            "moment": EPOCH + self._published * MICROSECOND,
        }
        async with self._database.transaction() as tx:
            # A relay that slept through its lease may meet rows that its successor publishes again.
            await tx.execute(_MARK.where(self._lease.held()), marked)
        for row in rows:
            metrics.EVENTS_PUBLISHED.labels(row["name"]).inc()

    async def _publish_again(self, held_until: int) -> None:
        """Have what was published after `held_until` wait once more."""
        since = EPOCH + held_until * MICROSECOND
        async with self._database.transaction() as tx:
            again = await tx.execute(_PUBLISH_AGAIN, {"since": since})
        self._published = held_until
        await self._redis.set(self._marker, held_until)
        log.warning("stream is filled from the outbox", stream=self._stream, events=again.rowcount)

    async def sweep(self) -> None:
        """Forget events older than KEPT, here and in the stream, and what else is past its time."""
        await self._forget(keys=[self._stream], args=[KEPT // timedelta(milliseconds=1)])
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
