"""From the stream to the effect: once each and in order, whatever is delivered twice, dies, sleeps or fails."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text

from chassis import events, metrics
from chassis.database import Database, Transaction
from chassis.events import Consumer, LeaseLost
from chassis.ids import new_id
from chassis.process import background, cancel
from chassis.redis import stream_of
from chassis.relay import _UNPUBLISHED
from propmubi.agents.v1.events_pb2 import AgentSuspended, AgentVerified
from propmubi.common.v1.event_pb2 import Event

STREAM = stream_of("agents")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "FIRST_RETRY_SECONDS", 0.001)
    monkeypatch.setattr(events, "REDRIVE_SECONDS", 0.05)
    monkeypatch.setattr(events, "BACKOFF_SECONDS", 0.05)
    monkeypatch.setattr("chassis.relay.BACKOFF_SECONDS", 0.05)


class Handler:
    """Notes what it applies; what is in `poison` fails after the effect was written."""

    def __init__(self) -> None:
        self.poison: set[str] = set()
        self.tried: list[str] = []
        self.slow = asyncio.Event()
        self.slow.set()

    async def __call__(self, tx: Transaction, payload: AgentVerified, event: Event) -> None:
        self.tried.append(payload.user_id)
        await tx.execute(
            text("insert into effect (aggregate_id, name) values (:id, :name)"),
            {"id": uuid.UUID(event.aggregate_id), "name": payload.user_id},
        )
        await self.slow.wait()
        if payload.user_id in self.poison:
            raise RuntimeError("poison")


def consumer_of(bench: Any, handler: Handler, database: Database | None = None) -> Consumer:
    return Consumer(
        database or bench.database, bench.redis, "crm", "agents", {AgentVerified: handler}
    )


@asynccontextmanager
async def running(bench: Any, *consumers: Consumer) -> AsyncIterator[None]:
    relay = bench.relay()
    async with background(relay.run(), *(consumer.run() for consumer in consumers)):
        yield


async def put(bench: Any, aggregate_id: uuid.UUID, name: str, sequence: int) -> None:
    """Add an event to the stream by hand."""
    event = Event(id=str(new_id()), aggregate_id=str(aggregate_id), sequence=sequence)
    event.payload.Pack(AgentVerified(user_id=name))
    await bench.redis.xadd(STREAM, {"event": event.SerializeToString()})


def reached(bench: Any, aggregate_id: uuid.UUID, *names: str) -> Callable[[], Any]:
    async def condition() -> bool:
        return bool(await bench.effects(aggregate_id) == list(names))

    return condition


async def unfinished(bench: Any) -> int:
    return int((await bench.redis.xpending(STREAM, "crm"))["pending"])


async def letters(bench: Any) -> list[tuple[int, int]]:
    rows = await bench.rows("select sequence, attempts from dead_letter order by sequence")
    return [tuple(row) for row in rows]


async def test_what_is_delivered_twice_is_applied_once(
    bench: Any, until: Callable[..., Any]
) -> None:
    one = new_id()
    for sequence in (1, 2, 1, 2, 3, 2):
        await put(bench, one, str(sequence), sequence)
    async with running(bench, consumer_of(bench, Handler())):
        await until(reached(bench, one, "1", "2", "3"))
        await until(lambda: _is(unfinished(bench), 0))
    assert (await bench.rows("select sequence from inbox"))[0].sequence == 3


async def test_an_effect_that_fails_leaves_no_trace(bench: Any, until: Callable[..., Any]) -> None:
    one, handler = new_id(), Handler()
    handler.poison.add("bad")
    await put(bench, one, "bad", 1)
    async with running(bench, consumer_of(bench, handler)):
        await until(lambda: _is(letters(bench), [(1, events.ATTEMPTS)]))
    assert handler.tried == ["bad"] * events.ATTEMPTS
    assert await bench.effects(one) == []
    assert await bench.rows("select 1 from inbox") == []


async def _is(query: Any, wanted: object) -> bool:
    return bool(await query == wanted)


async def test_later_events_of_a_poisoned_aggregate_wait_and_others_go_on(
    bench: Any, until: Callable[..., Any]
) -> None:
    sick, well, handler = new_id(), new_id(), Handler()
    handler.poison.add("bad")
    async with running(bench, consumer_of(bench, handler)):
        await bench.publish(sick, "good", "bad", "next", "last")
        await bench.publish(well, "one", "two")
        await until(reached(bench, well, "one", "two"))
        await until(lambda: _is(letters(bench), [(2, 5), (3, 0), (4, 0)]))
        assert await bench.effects(sick) == ["good"]
        # What was applied before it and comes again is no letter.
        await put(bench, sick, "good", 1)
        await put(bench, sick, "next", 3)
        # Redriven while it still fails, it stays the first.
        await bench.rows("update dead_letter set attempts = 0 returning 1")
        await until(lambda: _is(letters(bench), [(2, 5), (3, 0), (4, 0)]))
        handler.poison.clear()
        await bench.rows("update dead_letter set attempts = 0 where sequence = 2 returning 1")
        await until(reached(bench, sick, "good", "bad", "next", "last"))
        await until(lambda: _is(letters(bench), []))
        await bench.publish(sick, "after")
        await until(reached(bench, sick, "good", "bad", "next", "last", "after"))


async def test_giving_a_poisoned_event_up_lets_the_others_go_on(
    bench: Any, until: Callable[..., Any]
) -> None:
    one, handler = new_id(), Handler()
    handler.poison.add("bad")
    async with running(bench, consumer_of(bench, handler)):
        await bench.publish(one, "bad", "next")
        await until(lambda: _is(letters(bench), [(1, 5), (2, 0)]))
        await bench.rows("delete from dead_letter where attempts > 0 returning 1")
        await until(reached(bench, one, "next"))


async def test_a_letter_of_what_was_applied_meanwhile_holds_nothing_up(
    bench: Any, until: Callable[..., Any]
) -> None:
    one, handler = new_id(), Handler()
    async with running(bench, consumer_of(bench, handler)):
        await bench.publish(one, "one")
        await until(reached(bench, one, "one"))
        event = Event(id=str(new_id()), aggregate_id=str(one), sequence=1)
        event.payload.Pack(AgentVerified(user_id="one"))
        async with bench.database.transaction() as tx:
            await consumer_of(bench, handler)._set_aside(tx, event, 5, "a slow predecessor")
        await bench.publish(one, "two")
        await until(reached(bench, one, "one", "two"))
        await until(lambda: _is(letters(bench), []))


async def test_a_wiped_redis_repeats_nothing_and_loses_nothing(
    bench: Any, until: Callable[..., Any]
) -> None:
    one, handler = new_id(), Handler()
    async with running(bench, consumer_of(bench, handler)):
        await bench.publish(one, "1", "2")
        await until(reached(bench, one, "1", "2"))
        handler.slow.clear()
        await bench.publish(one, "3")  # Under way, when …
        await until(lambda: _is(_tried(handler), 3))
        await bench.publish(one, "4")
        await bench.redis.flushall()
        await bench.publish(one, "5")
        handler.slow.set()
        await until(reached(bench, one, "1", "2", "3", "4", "5"))
        await bench.publish(one, "6")
        await until(reached(bench, one, "1", "2", "3", "4", "5", "6"))


async def _tried(handler: Handler) -> int:
    return len(handler.tried)


@pytest.mark.parametrize("lost", ["group", "stream"])
async def test_a_lost_group_or_stream_is_made_anew(
    bench: Any, until: Callable[..., Any], lost: str
) -> None:
    one = new_id()
    async with running(bench, consumer_of(bench, Handler())):
        await bench.publish(one, "1", "2")
        await until(reached(bench, one, "1", "2"))
        if lost == "group":
            await bench.redis.xgroup_destroy(STREAM, "crm")
        else:
            await bench.redis.delete(STREAM)
        await bench.publish(one, "3")
        await until(reached(bench, one, "1", "2", "3"))
    assert len(await bench.redis.xrange(STREAM)) >= 3


async def test_a_consumer_that_was_parted_with_comes_back_to_all_it_missed_in_order(
    bench: Any, until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream was trimmed meanwhile: what it holds still is not applied before what it holds no more."""
    monkeypatch.setattr("chassis.relay.STREAM_LENGTH", 100)
    monkeypatch.setattr("chassis.relay._UNPUBLISHED", _UNPUBLISHED.limit(50))
    monkeypatch.setattr("chassis.relay.ABSENT_SECONDS", 0.1)
    one, crm = new_id(), consumer_of(bench, Handler())
    async with running(bench):
        async with background(crm.run()):
            await bench.publish(one, "0")
            await until(reached(bench, one, "0"))
        names = [str(number) for number in range(1, 301)]
        await bench.publish(one, *names)

        async def published() -> bool:
            return not await bench.rows("select 1 from outbox where published_at is null")

        await until(published)
        monkeypatch.setattr("chassis.relay.ABSENT_SECONDS", 60.0)
        assert await bench.redis.xlen(STREAM) < 300
        assert await bench.redis.xinfo_groups(STREAM) == []
        async with background(crm.run()):
            await until(reached(bench, one, "0", *names))
            await bench.publish(one, "last")
            await until(reached(bench, one, "0", *names, "last"))


async def test_a_stream_that_is_filled_again_waits_for_the_consumer_that_it_is_filled_for(
    bench: Any, until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, handler = new_id(), Handler()
    relay = bench.relay()
    assert await relay._lease.take()
    names = [str(number) for number in range(400)]
    await bench.publish(one, *names)
    await relay.publish_batch()
    await bench.redis.xtrim(STREAM, maxlen=10, approximate=False)
    monkeypatch.setattr("chassis.relay.STREAM_LENGTH", 100)
    monkeypatch.setattr("chassis.relay._UNPUBLISHED", _UNPUBLISHED.limit(50))
    await relay._lease.give_up()
    handler.slow.clear()
    async with running(bench, consumer_of(bench, handler)):
        await until(lambda: _is(_tried(handler), 1))

        async def waits() -> bool:
            [group] = await bench.redis.xinfo_groups(STREAM)
            return 50 <= (group["lag"] or 0) <= 100

        await until(waits)
        handler.slow.set()
        await until(reached(bench, one, *names))


async def test_what_a_dead_replica_had_read_comes_first(
    bench: Any, until: Callable[..., Any]
) -> None:
    one = new_id()
    for sequence in (1, 2, 3):
        await put(bench, one, str(sequence), sequence)
    await bench.redis.xgroup_create(STREAM, "crm", id="0")
    await bench.redis.xreadgroup("crm", "died", {STREAM: ">"}, count=2)
    async with running(bench, consumer_of(bench, Handler())):
        await until(reached(bench, one, "1", "2", "3"))


async def test_of_two_replicas_one_consumes_and_the_other_takes_over(
    bench: Any, until: Callable[..., Any]
) -> None:
    one, first, second = new_id(), Handler(), Handler()
    other = await bench.replica()
    async with running(bench):
        async with background(consumer_of(bench, first).run()):
            await bench.publish(one, "1")
            await until(reached(bench, one, "1"))
            async with background(consumer_of(bench, second, other).run()):
                await bench.publish(one, "2", "3")
                await until(reached(bench, one, "1", "2", "3"))
        assert (first.tried, second.tried) == (["1", "2", "3"], [])
        async with background(consumer_of(bench, second, other).run()):
            await bench.publish(one, "4")
            await until(reached(bench, one, "1", "2", "3", "4"))


async def test_a_replica_that_slept_through_its_lease_applies_nothing(bench: Any) -> None:
    one, handler = new_id(), Handler()
    sleeper, successor = consumer_of(bench, handler), consumer_of(bench, handler)
    assert await sleeper._lease.take()
    await bench.rows("update lease set expires_at = now() - interval '1 second' returning 1")
    assert await successor._lease.take()
    event = Event(id=str(new_id()), aggregate_id=str(one), sequence=2)
    event.payload.Pack(AgentVerified(user_id="too early"))
    with pytest.raises(LeaseLost):
        await sleeper._meet({b"event": event.SerializeToString()})
    assert handler.tried == []
    await successor._meet({b"event": event.SerializeToString()})
    assert handler.tried == ["too early"]


async def test_what_a_sleeper_took_from_the_stream_is_met_in_its_place(
    bench: Any, until: Callable[..., Any]
) -> None:
    one, handler = new_id(), Handler()
    async with running(bench, consumer_of(bench, handler)):
        await bench.publish(one, "1")
        await until(reached(bench, one, "1"))
        handler.slow.clear()
        await put(bench, one, "2", 2)
        await until(lambda: _is(_tried(handler), 2))
        await put(bench, one, "3", 3)
        await bench.redis.xreadgroup("crm", "sleeper", {STREAM: ">"})
        await put(bench, one, "4", 4)
        handler.slow.set()
        await until(reached(bench, one, "1", "2", "3", "4"))


async def test_a_consumer_outlives_lost_connections_and_counts_no_try(
    bench: Any, until: Callable[..., Any]
) -> None:
    one, handler = new_id(), Handler()
    consumer = asyncio.ensure_future(consumer_of(bench, handler).run())
    try:
        handler.slow.clear()
        await put(bench, one, "1", 1)
        await until(lambda: _is(_tried(handler), 1))
        await bench.end_connections()
        handler.slow.set()
        await until(reached(bench, one, "1"))
        assert not consumer.done()
        assert await letters(bench) == []
    finally:
        await cancel(consumer)


async def test_what_is_no_event_or_none_of_ours_is_passed_over(
    bench: Any, until: Callable[..., Any]
) -> None:
    one = new_id()
    await bench.redis.xadd(STREAM, {"event": b"\xff\xff"})
    await bench.redis.xadd(STREAM, {"other": b"x"})
    nameless = Event(aggregate_id="not an id", sequence=1)
    nameless.payload.Pack(AgentVerified(user_id="x"))
    await bench.redis.xadd(STREAM, {"event": nameless.SerializeToString()})
    other = Event(aggregate_id=str(one), sequence=1)
    other.payload.Pack(AgentSuspended())
    await bench.redis.xadd(STREAM, {"event": other.SerializeToString()})
    await put(bench, one, "2", 2)
    async with running(bench, consumer_of(bench, Handler())):
        await until(reached(bench, one, "2"))


async def test_the_lag_is_measured(bench: Any, until: Callable[..., Any]) -> None:
    one, handler = new_id(), Handler()
    consumer = consumer_of(bench, handler)
    await bench.redis.xgroup_create(STREAM, "crm", mkstream=True, id="0")
    for sequence in (1, 2, 3):
        await put(bench, one, str(sequence), sequence)
    await bench.redis.xreadgroup("crm", "x", {STREAM: ">"}, count=1)

    async def behind() -> float:
        await consumer._measure()
        return float(metrics.STREAM_LAG.labels("agents")._value.get())

    async def caught_up() -> bool:
        return await behind() == 0

    assert await behind() == 3
    async with running(bench, consumer):
        await until(caught_up)
    assert await bench.effects(one) == ["1", "2", "3"]


async def test_a_replica_that_no_longer_consumes_tells_nothing_of_the_stream(
    bench: Any, until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LEASE_SECONDS", 0.2)
    metrics.DEAD_LETTERS.clear()

    def told() -> list[Any]:
        return [sample for one in metrics.DEAD_LETTERS.collect() for sample in one.samples]

    async with running(bench, consumer_of(bench, Handler())):

        async def tells() -> bool:
            return bool(told())

        await until(tells)
        await bench.rows(
            "update lease set holder = gen_random_uuid(), expires_at = 'infinity' returning 1"
        )

        async def silent() -> bool:
            return not told()

        await until(silent)
