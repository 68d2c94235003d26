"""From the commit to the stream: nothing that was not committed, all that was, in order, whatever dies."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import event

from chassis import metrics
from chassis.database import Transaction
from chassis.errors import Unavailable
from chassis.ids import new_id
from chassis.process import background, cancel
from chassis.redis import AWAY, marker_of, stream_of
from chassis.relay import _UNPUBLISHED, PUBLISHED, Relay
from devstack.valkey import Valkey
from propmubi.agents.v1.events_pb2 import AgentVerified

STREAM = stream_of("agents")


@asynccontextmanager
async def running(*relays: Relay) -> AsyncIterator[None]:
    async with background(*(relay.run() for relay in relays)):
        yield


async def test_an_event_of_a_transaction_that_fails_is_never_published(bench: Any) -> None:
    lost, kept = new_id(), new_id()

    async def fail(tx: Transaction) -> None:
        tx.publish(AgentVerified(), lost)
        raise RuntimeError("after the event, before the commit")

    with pytest.raises(RuntimeError):
        async with bench.database.transaction() as tx:
            await fail(tx)
    await bench.publish(kept, "one")
    await bench.relay_once(bench.relay())
    [only] = await bench.streamed()
    assert (only.aggregate_id, only.sequence) == (str(kept), 1)


async def test_fifty_transactions_on_one_aggregate_leave_no_gap_and_keep_their_order(
    bench: Any,
) -> None:
    aggregate_id = new_id()

    async def change(number: int) -> None:
        async with bench.database.transaction() as tx:
            tx.publish(AgentVerified(user_id=str(number)), aggregate_id)
            if number % 10 == 9:
                raise RuntimeError

    await asyncio.gather(*(change(number) for number in range(50)), return_exceptions=True)
    await bench.relay_once(bench.relay())
    sequences = [one.sequence for one in await bench.streamed()]
    assert sequences == list(range(1, 46))
    rows = await bench.rows("select sequence from outbox order by position")
    assert [row.sequence for row in rows] == sequences


async def test_a_relay_that_dies_before_it_marks_publishes_again(bench: Any) -> None:
    await bench.publish(new_id(), "one", "two")
    dying = bench.relay()
    assert await dying._lease.take()
    rows = await bench.database.fetch(_UNPUBLISHED)
    await bench.redis.set(marker_of("agents"), 0)
    assert await dying._add(rows) == PUBLISHED
    await dying._lease.give_up()
    await bench.relay_once(bench.relay())
    assert [one.sequence for one in await bench.streamed()] == [1, 2, 1, 2]
    assert await bench.rows("select 1 from outbox where published_at is null") == []


async def test_two_relays_at_once_publish_everything_and_first_copies_in_order(
    bench: Any, until: Callable[..., Any]
) -> None:
    other = await bench.replica()
    ids = [new_id() for _ in range(5)]
    async with running(bench.relay(), bench.relay(other)):
        await asyncio.gather(*(bench.publish(ids[n % 5], str(n)) for n in range(50)))

        async def done() -> bool:
            return not await bench.rows("select 1 from outbox where published_at is null")

        await until(done)
    for aggregate_id in ids:
        first_copies = dict.fromkeys(one.sequence for one in await bench.streamed(aggregate_id))
        assert list(first_copies) == list(range(1, 11))


async def test_a_relay_that_lost_its_lease_marks_nothing(bench: Any) -> None:
    await bench.publish(new_id(), "one")
    sleeper = bench.relay()
    await sleeper.publish_batch()
    assert len(await bench.rows("select 1 from outbox where published_at is null")) == 1


async def test_redis_away_at_the_commit_loses_nothing(
    bench: Any, valkey: Valkey, until: Callable[..., Any]
) -> None:
    aggregate_id = new_id()
    async with running(bench.relay()):
        valkey.stop()
        try:
            await bench.publish(aggregate_id, "one", "two")
        finally:
            valkey.start()

        async def arrived() -> bool:
            return len(await bench.streamed()) >= 2

        await until(arrived)
    assert [one.sequence for one in await bench.streamed()][:2] == [1, 2]


async def test_after_a_wiped_redis_nothing_new_overtakes_what_was_lost(bench: Any) -> None:
    aggregate_id = new_id()
    relay = bench.relay()
    await bench.publish(aggregate_id, "one", "two")
    await bench.relay_once(relay)
    await bench.redis.flushall()
    await bench.publish(aggregate_id, "three")
    await bench.relay_once(relay)
    assert [one.sequence for one in await bench.streamed()] == [1, 2, 3]


class Copy:
    """A copy of what Redis holds of a stream, to come back to: what an older file or a replica that lags holds."""

    def __init__(self, bench: Any) -> None:
        self._redis = bench.redis
        self._keys = (STREAM, marker_of("agents"))

    async def take(self) -> "Copy":
        self._held = {key: await self._redis.dump(key) for key in self._keys}
        return self

    async def restore(self) -> None:
        await self._redis.flushall()
        for key, value in self._held.items():
            await self._redis.restore(key, 0, value)


@pytest.mark.parametrize("started_again", [False, True])
async def test_a_redis_restored_from_an_older_copy_gets_what_it_lost_and_nothing_new_overtakes_it(
    bench: Any, started_again: bool
) -> None:
    aggregate_id, relay = new_id(), bench.relay()
    await bench.publish(aggregate_id, "one", "two")
    await bench.relay_once(relay)
    copy = await Copy(bench).take()
    for name in ("three", "four"):
        await bench.publish(aggregate_id, name)
        await bench.relay_once(relay)
    await copy.restore()
    if started_again:
        await relay._lease.give_up()
        relay = bench.relay()
        await relay.look_back()
    await bench.publish(aggregate_id, "five")
    await bench.relay_once(relay)
    assert [one.sequence for one in await bench.streamed()] == [1, 2, 3, 4, 5]
    await bench.relay_once(relay)
    assert len(await bench.streamed()) == 5
    assert await bench.rows("select 1 from outbox where published_at is null") == []


async def test_an_older_copy_is_noticed_while_nothing_happens(
    bench: Any, until: Callable[..., Any]
) -> None:
    aggregate_id = new_id()

    async def one_arrived() -> bool:
        return len(await bench.streamed()) == 1

    async def both_arrived() -> bool:
        return len(await bench.streamed()) == 2

    async with running(bench.relay()):
        await bench.publish(aggregate_id, "one")
        await until(one_arrived)
        copy = await Copy(bench).take()
        await bench.publish(aggregate_id, "two")
        await until(both_arrived)
        await copy.restore()
        await until(both_arrived)
    assert [one.sequence for one in await bench.streamed()] == [1, 2]


async def test_the_clock_of_another_postgres_does_not_hide_what_was_lost(bench: Any) -> None:
    """After a failover to a server whose clock is behind, later events still have later moments."""
    aggregate_id, relay = new_id(), bench.relay()
    relay._published = int(2e15)  # In 2033.
    await bench.redis.set(marker_of("agents"), relay._published)
    await bench.redis.xadd(STREAM, {"event": b""})
    await bench.publish(aggregate_id, "one")
    copy = await Copy(bench).take()
    await bench.relay_once(relay)
    await copy.restore()
    await bench.relay_once(relay)
    assert [one.sequence for one in await bench.streamed(aggregate_id)] == [1]


async def test_while_redis_is_away_the_age_of_what_waits_is_seen_to_grow(
    bench: Any, valkey: Valkey
) -> None:
    relay = bench.relay()
    await bench.publish(new_id(), "one")
    await bench.rows("update outbox set occurred_at = now() - interval '90 seconds' returning 1")
    valkey.stop()
    try:
        with pytest.raises(AWAY):
            await bench.relay_once(relay)
    finally:
        valkey.start()
    assert metrics.OUTBOX_AGE_SECONDS.labels("agents")._value.get() >= 90
    await bench.relay_once(relay)
    await bench.relay_once(relay)
    assert metrics.OUTBOX_AGE_SECONDS.labels("agents")._value.get() == 0


async def test_a_replica_that_no_longer_relays_tells_nothing_of_the_outbox(
    bench: Any, until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.relay.LEASE_SECONDS", 0.2)

    def told() -> list[Any]:
        return [sample for one in metrics.OUTBOX_AGE_SECONDS.collect() for sample in one.samples]

    metrics.OUTBOX_AGE_SECONDS.clear()
    async with running(bench.relay()):

        async def tells() -> bool:
            return bool(told())

        await until(tells)
        await bench.rows(
            "update lease set holder = gen_random_uuid(), expires_at = 'infinity' returning 1"
        )

        async def silent() -> bool:
            return not told()

        await until(silent)


async def test_an_idle_relay_hardly_asks(bench: Any) -> None:
    relay = bench.relay()
    await bench.relay_once(relay)
    asked = 0

    def count(*_: Any) -> None:
        nonlocal asked
        asked += 1

    reads = bench.database._reads
    fetch = reads.fetch

    async def counted(*arguments: Any, **options: Any) -> Any:
        count()
        return await fetch(*arguments, **options)

    reads.fetch = counted
    event.listen(bench.database.engine.sync_engine, "before_cursor_execute", count)
    async with running(relay):
        await asyncio.sleep(2)  # The span of time that is measured.
    assert 4 <= asked <= 14  # Four looks a second, the lease twice, the sweep once.


async def test_a_commit_wakes_the_relay_at_once(bench: Any) -> None:
    async with running(bench.relay()):
        await bench.redis.xread({STREAM: "$"}, block=600)
        waiting = asyncio.ensure_future(bench.redis.xread({STREAM: "$"}, block=2_000))
        await asyncio.sleep(0.05)
        started = asyncio.get_running_loop().time()
        await bench.publish(new_id(), "one")
        assert await waiting
        assert asyncio.get_running_loop().time() - started < 0.2


async def test_the_relay_outlives_lost_connections(bench: Any, until: Callable[..., Any]) -> None:
    relay = asyncio.ensure_future(bench.relay().run())
    try:
        for count in range(1, 4):
            await bench.end_connections()

            async def arrived(wanted: int = count) -> bool:
                with contextlib.suppress(Unavailable):  # As a caller would, it tries again.
                    await bench.publish(new_id(), "one")
                return len(await bench.streamed()) >= wanted

            await until(arrived)
        assert not relay.done()
    finally:
        await cancel(relay)


async def test_old_rows_are_swept_unless_they_still_wait(bench: Any) -> None:
    relay = bench.relay()
    await bench.publish(new_id(), "old")
    await bench.relay_once(relay)
    await bench.publish(new_id(), "waits")
    await bench.rows("update outbox set occurred_at = now() - interval '8 days' returning 1")
    await bench.publish(new_id(), "young")
    await relay.sweep()
    names = await bench.rows("select published_at is null as waits from outbox order by position")
    assert [row.waits for row in names] == [True, True]
