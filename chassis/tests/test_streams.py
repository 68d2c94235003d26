"""How much of the past a stream holds, and which consumers the relay waits for."""

from datetime import timedelta
from typing import Any

import pytest

from chassis.events import entries_of
from chassis.ids import new_id
from chassis.redis import stream_of
from chassis.relay import _UNPUBLISHED
from propmubi.common.v1.event_pb2 import Event

STREAM = stream_of("agents")


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chassis.relay.STREAM_LENGTH", 5)
    monkeypatch.setattr("chassis.relay._UNPUBLISHED", _UNPUBLISHED.limit(2))
    monkeypatch.setattr("chassis.relay.BACKOFF_SECONDS", 0.01)


async def read(bench: Any, group: str, count: int) -> list[int]:
    """The sequences of what the consumer `group`, which is there, reads next."""
    answer = await bench.redis.xreadgroup(group, "active", {STREAM: ">"}, count=count)
    entries = [Event.FromString(fields[b"event"]) for _, fields in entries_of(answer)]
    return [one.sequence for one in entries]


@pytest.mark.usefixtures("_short")
async def test_a_stream_is_not_trimmed_under_a_consumer_that_is_behind(bench: Any) -> None:
    await bench.redis.xgroup_create(STREAM, "crm", id="0", mkstream=True)
    assert await read(bench, "crm", 1) == []
    aggregate_id, relay = new_id(), bench.relay()
    for count in range(4):
        await bench.publish(aggregate_id, "one", "two")
        await bench.relay_once(relay)
        assert len(await bench.streamed()) == min(2 * (count + 1), 4)
    assert await read(bench, "crm", 4) == [1, 2, 3, 4]
    await bench.relay_once(relay)
    await bench.relay_once(relay)
    assert [one.sequence for one in await bench.streamed()] == list(range(1, 9))


@pytest.mark.usefixtures("_short")
async def test_what_is_young_waits_for_no_consumer_where_a_stream_is_followed_and_all_of_it_is_kept(
    bench: Any,
) -> None:
    """Those who verify tokens follow auth's, and are not to wait for a service that is slow."""
    await bench.redis.xgroup_create(STREAM, "crm", id="0", mkstream=True)
    assert await read(bench, "crm", 1) == []
    aggregate_id, relay = new_id(), bench.relay(kept_seconds=600.0)
    for _ in range(100):
        await bench.publish(aggregate_id, "one", "two")
    await bench.rows("update outbox set occurred_at = now() - interval '1 hour' returning 1")
    for _ in range(100):
        await bench.relay_once(relay)
    assert len(await bench.streamed()) == 4  # What is old waits.
    await bench.rows("update outbox set occurred_at = now() returning 1")
    for _ in range(100):
        await bench.relay_once(relay)
    assert await read(bench, "crm", 1000) == list(range(1, 201))


@pytest.mark.usefixtures("_short")
async def test_a_consumer_that_reads_no_more_holds_nobody_up(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.relay.ABSENT_SECONDS", 0.2)
    for group in ("crm", "auth"):
        await bench.redis.xgroup_create(STREAM, group, id="0", mkstream=True)
        assert await read(bench, group, 1) == []
    aggregate_id, relay = new_id(), bench.relay()
    for count in range(4):
        await bench.publish(aggregate_id, "one", "two")
        while await bench.rows("select 1 from outbox where published_at is null"):
            await bench.relay_once(relay)
        assert await read(bench, "auth", 2) == [2 * count + 1, 2 * count + 2]
    [left] = await bench.redis.xinfo_groups(STREAM)
    assert left["name"] == b"auth"


async def test_a_week_after_its_publication_an_event_is_gone_from_the_stream_unless_it_is_needed(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = bench.relay()
    for group in ("crm", "auth"):
        await bench.redis.xgroup_create(STREAM, group, id="0", mkstream=True)
    await bench.publish(new_id(), "one", "two", "three")
    await bench.relay_once(relay)
    await relay.sweep()
    assert len(await bench.streamed()) == 3
    monkeypatch.setattr("chassis.relay.KEPT", timedelta(0))
    assert await read(bench, "auth", 3) == [1, 2, 3]
    assert await read(bench, "crm", 2) == [1, 2]
    await bench.redis.xack(STREAM, "auth", *[key for key, _ in await bench.redis.xrange(STREAM)])
    await bench.redis.xack(STREAM, "crm", (await bench.redis.xrange(STREAM))[0][0])
    await relay.sweep()
    assert [one.sequence for one in await bench.streamed()] == [2, 3]
    await bench.redis.xack(STREAM, "crm", (await bench.redis.xrange(STREAM))[0][0])
    await relay.sweep()
    assert [one.sequence for one in await bench.streamed()] == [3]
    assert await read(bench, "crm", 1) == [3]
    await bench.redis.xack(STREAM, "crm", (await bench.redis.xrange(STREAM))[0][0])
    await relay.sweep()
    assert await bench.streamed() == []
    # A stream that holds nothing is not a lost one.
    await bench.publish(new_id(), "four")
    await bench.relay_once(relay)
    assert len(await bench.streamed()) == 1


async def test_what_is_young_stays_however_long_that_makes_the_stream(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.relay.STREAM_LENGTH", 5)
    aggregate_id, keeps, trims = new_id(), bench.relay(kept_seconds=600.0), bench.relay()
    for _ in range(2):
        await bench.publish(aggregate_id, *(f"{number}" for number in range(200)))
        await bench.relay_once(keeps)
    assert len(await bench.streamed()) == 400
    await keeps._lease.give_up()
    await bench.publish(aggregate_id, "one")
    await bench.relay_once(trims)
    # Whole nodes are trimmed, of a hundred events each.
    assert len(await bench.streamed()) < 300
