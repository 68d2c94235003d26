"""The embedded servers survive what laptops do to them."""

import signal
from pathlib import Path

import asyncpg
import pytest
from redis import Redis

from devstack.postgres import Postgres
from devstack.process import Problem, free_port
from devstack.valkey import Valkey


async def test_postgres_recovers_what_was_committed_before_kill_9(postgres_folder: Path) -> None:
    server = Postgres(
        postgres_folder, postgres_folder.with_suffix(".log"), free_port(), "only-here"
    )
    server.start()
    connection = await asyncpg.connect(server.url())
    await connection.execute(
        "create table promise (words text); insert into promise values ('kept')"
    )
    assert server.process is not None
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    connection.terminate()
    server.start()
    connection = await asyncpg.connect(server.url())
    assert await connection.fetchval("select words from promise") == "kept"
    await connection.close()
    server.stop()


async def test_a_new_start_ends_the_postgres_that_a_killed_run_left(postgres_folder: Path) -> None:
    left = Postgres(postgres_folder, postgres_folder.with_suffix(".log"), free_port(), "only-here")
    left.start()
    server = Postgres(left.home, left.log, free_port(), "only-here")
    server.start()
    assert left.process is not None
    assert left.process.wait(5) == 0
    connection = await asyncpg.connect(server.url())
    await connection.close()
    server.stop()


def test_valkey_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    server = Valkey(tmp_path / "valkey", tmp_path / "valkey.log", free_port())
    server.start()
    with Redis.from_url(server.url) as client:
        client.set("promise", "kept")
    server.stop()
    server.start()
    with Redis.from_url(server.url) as client:
        assert client.get("promise") == b"kept"
    server.stop()


def test_a_server_that_cannot_start_is_a_problem_that_quotes_it(
    tmp_path: Path, valkey: Valkey
) -> None:
    with pytest.raises(Problem, match="Failed listening"):
        Valkey(tmp_path / "other", tmp_path / "other.log", valkey.port).start()
