"""The pytest plugin gives each test servers and databases of its own."""

import socket
from collections.abc import Callable

import asyncpg
import pytest

from devstack.postgres import Postgres
from devstack.valkey import Valkey


@pytest.mark.parametrize("attempt", [1, 2])
async def test_a_database_is_empty_in_every_test(empty_database: str, attempt: int) -> None:
    connection = await asyncpg.connect(empty_database)
    await connection.execute("create table note (words text)")
    await connection.close()


async def test_the_server_is_postgresql_18_with_statistics(postgres: Postgres) -> None:
    connection = await asyncpg.connect(postgres.url())
    assert connection.get_server_version().major == 18
    assert "pg_stat_statements" in await connection.fetchval("show shared_preload_libraries")
    await connection.close()


@pytest.mark.parametrize("attempt", [1, 2])
def test_valkey_is_empty_in_every_test(redis_url: str, valkey: Valkey, attempt: int) -> None:
    with socket.create_connection(("127.0.0.1", valkey.port)) as connection:
        connection.sendall(b"SET note here NX\r\n")
        assert connection.recv(16) == b"+OK\r\n"


def test_free_ports_can_be_listened_on(free_port: Callable[[], int]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
