"""The client of Redis, on the event loop that serving processes run on."""

import asyncio
from typing import Any

import pytest
import uvloop
from redis.exceptions import ConnectionError as Disconnected

from chassis.redis import client_of


def test_a_connection_that_closed_meanwhile_is_a_lost_one_and_no_fault(redis_url: str) -> None:
    async def send_when_closed() -> None:
        async with client_of(redis_url, retries=0) as client:
            pool: Any = client.connection_pool
            connection = await pool.get_connection()
            connection._writer.transport.abort()
            with pytest.raises(Disconnected):
                await connection.send_command("PING")
            await pool.release(connection)

    uvloop.run(send_when_closed())


async def test_work_on_redis_ends_whenever_it_is_cancelled(redis_url: str) -> None:
    async def work() -> None:
        while True:
            await redis.incr("done")

    async with client_of(redis_url, retries=0, socket_timeout=5.0) as redis:
        await redis.ping()
        for steps in range(60):
            working = asyncio.create_task(work())
            for _ in range(steps):
                await asyncio.sleep(0)
            working.cancel()
            await asyncio.wait([working], timeout=1.0)
            assert working.cancelled(), f"cancelled after {steps} steps of the loop, it goes on"
