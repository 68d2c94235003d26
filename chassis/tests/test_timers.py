"""What the clock starts: on one replica at a time, and again whatever becomes of it."""

import asyncio
from typing import Any

from chassis import service
from chassis.lease import Lease
from chassis.process import background


async def test_one_holder_at_a_time_until_it_gives_up_or_is_late(bench: Any) -> None:
    one, other = Lease(bench.database, "work"), Lease(bench.database, "work", seconds=60)
    assert await one.take()
    assert not await other.take()
    assert await one.take()
    await one.give_up()
    assert await other.take()
    assert not await one.take()
    await one.give_up()  # Of what is not its own: nothing.
    assert not await one.take()
    await bench.rows("update lease set expires_at = now() - interval '1 ms' returning 1")
    assert await one.take()


async def test_a_timer_outlives_faults_of_its_work_and_lost_connections(bench: Any) -> None:
    ran = 0
    enough = asyncio.Event()

    async def work() -> None:
        nonlocal ran
        ran += 1
        if ran == 2:
            await bench.end_connections()
        if ran == 5:
            enough.set()
        raise ValueError("a fault")

    timer = service._repeat(Lease(bench.database, "timer/x"), 0.05, "x", work)
    async with background(timer), asyncio.timeout(10):
        await enough.wait()
