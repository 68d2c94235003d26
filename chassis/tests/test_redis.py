"""The client of Redis, on the event loop that serving processes run on."""

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
