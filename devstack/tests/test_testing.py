"""The pytest plugin gives each test servers and databases of its own."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from devstack import process
from devstack.leaks import leaks
from devstack.postgres import Postgres
from devstack.process import spawn
from devstack.testing import ServiceDatabase
from devstack.valkey import Valkey


@pytest.mark.parametrize("attempt", [1, 2])
async def test_a_database_is_empty_in_every_test(empty_database: str, attempt: int) -> None:
    connection = await asyncpg.connect(empty_database)
    await connection.execute("create table note (words text)")
    await connection.close()


@pytest.mark.parametrize("attempt", [1, 2])
async def test_a_services_database_is_as_migrated_in_every_test(
    service_database: ServiceDatabase, attempt: int
) -> None:
    connection = await asyncpg.connect(await service_database("crm"))
    for table in ("event_sequence", "outbox", "leads"):
        assert await connection.fetchval(f"select count(*) from {table}") == 0
    # More than is worth deleting row by row.
    await connection.execute(
        "insert into event_sequence select gen_random_uuid(), 1 from generate_series(1, 30000)"
    )
    first = await connection.fetchval("""
        insert into outbox (id, aggregate_id, sequence, name, payload, correlation_id, traceparent)
        values (gen_random_uuid(), gen_random_uuid(), 1, '', '', '', '') returning position
        """)
    assert first == 1
    await connection.close()
    again = await asyncpg.connect(await service_database("crm"))
    assert await again.fetchval("select count(*) from outbox") == 1
    await again.close()


async def test_the_server_is_postgresql_18_with_statistics(postgres: Postgres) -> None:
    connection = await asyncpg.connect(postgres.url())
    assert connection.get_server_version().major == 18
    assert "pg_stat_statements" in await connection.fetchval("show shared_preload_libraries")
    await connection.close()


async def test_what_a_constraint_refuses_is_not_in_the_servers_log(
    postgres: Postgres, empty_database: str
) -> None:
    connection = await asyncpg.connect(empty_database)
    await connection.execute("create table person (phone_of_this_test text unique)")
    for _ in range(2):
        with suppress(asyncpg.UniqueViolationError):
            await connection.execute("insert into person values ($1)", "+919876543210")
    await connection.close()
    log = postgres.log.read_text()
    assert "person_phone_of_this_test_key" in log
    assert leaks(log) == []


@pytest.mark.parametrize("attempt", [1, 2])
def test_valkey_is_empty_in_every_test(redis_url: str, valkey: Valkey, attempt: int) -> None:
    with socket.create_connection(("127.0.0.1", valkey.port)) as connection:
        connection.sendall(b"SET note here NX\r\n")
        assert connection.recv(16) == b"+OK\r\n"


async def test_children_start_whole_while_grpc_is_at_work(tmp_path: Path) -> None:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for _ in range(30):
            calls = [
                asyncio.ensure_future(stub.Check(health_pb2.HealthCheckRequest())) for _ in range(8)
            ]
            await asyncio.sleep(0)
            child = spawn([sys.executable, "-S", "-c", ""], log=tmp_path / "log")
            await asyncio.gather(*calls, return_exceptions=True)
            assert child.wait() == 0
    await server.stop(None)
    assert (tmp_path / "log").read_text() == ""


def test_free_ports_can_be_listened_on(free_port: Callable[[], int]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))


def test_a_port_that_was_used_just_now_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # As servers do.
        listener.bind(("127.0.0.1", process.free_port()))
        listener.listen()
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = listener.accept()
            accepted.close()  # Whoever closes first keeps the port for a minute.
    monkeypatch.setattr(process, "_ports", iter([port, process.free_port()]))
    assert process.port_is_free(port)
    assert process.free_port() != port


def test_no_port_is_given_twice_not_even_to_two_processes() -> None:
    code = """
import random
from devstack.process import free_port
random.seed(1)  # Both try the same ports.
print(*(free_port() for _ in range(150)), flush=True)
input()
"""
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdin=PIPE, stdout=PIPE, text=True)
        for _ in range(2)
    ]
    ports = [int(port) for one in both for port in one.stdout.readline().split()]  # type: ignore[union-attr]  # It is a pipe.
    first = process.free_port(5)
    ports += [*range(first, first + 5), process.free_port()]
    for one in both:
        one.communicate("\n")
    assert len(ports) == len(set(ports)) == 2 * 150 + 6
