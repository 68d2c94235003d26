"""The pool: nothing leaks, nothing dirty is handed on, nothing hangs, and what went wrong is said in one way."""

import asyncio
from typing import Any

import asyncpg
import pytest
from sqlalchemy import bindparam, column, func, literal, select, text, values
from sqlalchemy.exc import DBAPIError

from chassis import database as database_module
from chassis.database import Database, open_database
from chassis.errors import DeadlineExceeded, Unavailable

ONE = select(literal(1).label("one"))
SLEEP = select(func.pg_sleep(bindparam("seconds")))
DIVIDE = select((literal(1) / bindparam("by", type_=ONE.selected_columns.one.type)).label("x"))


async def test_a_failed_read_gives_its_connection_back(bench: Any) -> None:
    for _ in range(20):
        with pytest.raises(asyncpg.DivisionByZeroError):
            await bench.database.fetch(DIVIDE, {"by": 0})
        with pytest.raises(asyncpg.DataError):
            await bench.database.fetch(DIVIDE, {"by": "one"})
    assert (await bench.database.fetch_one(ONE))["one"] == 1
    assert len(bench.database._reads._idle) == 1


async def test_cancelled_reads_leave_nothing_dirty_and_nothing_running(
    bench: Any, until: Any
) -> None:
    async with bench.superuser() as server:

        async def running(count: int) -> bool:
            sleeping = "query ilike '%pg_sleep%' and pid <> pg_backend_pid()"
            active = f"datname = current_database() and state = 'active' and {sleeping}"
            query = f"select count(*) from pg_stat_activity where {active}"
            return bool(await server.fetchval(query) == count)

        for _ in range(3):
            reads = [
                asyncio.ensure_future(bench.database.fetch(SLEEP, {"seconds": 60})) for _ in "1234"
            ]
            await until(lambda: running(4))
            for read in reads:
                read.cancel()
            await asyncio.gather(*reads, return_exceptions=True)
            rows = await asyncio.gather(*(bench.database.fetch(ONE) for _ in range(12)))
            assert all(row[0]["one"] == 1 for row in rows)
            await until(lambda: running(0))


async def test_a_cancelled_transaction_rolls_back_and_gives_its_connection_back(bench: Any) -> None:
    async def write() -> None:
        async with bench.database.transaction() as tx:
            await tx.execute(text("insert into effect (name) values ('never')"))
            await tx.execute(text("select pg_sleep(60)"))

    for _ in range(3):
        writes = [asyncio.ensure_future(write()) for _ in range(6)]
        await asyncio.sleep(0.1)
        for one in writes:
            one.cancel()
        ended = await asyncio.gather(*writes, return_exceptions=True)
        # Not one of them by an error that whoever was cancelled would take for Postgres being away.
        assert {type(each) for each in ended} == {asyncio.CancelledError}
    assert await bench.rows("select 1 from effect") == []
    assert bench.database.engine.pool.checkedout() == 0


async def test_a_pool_in_full_use_is_an_error_and_no_hang(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "POOL_TIMEOUT_SECONDS", 0.2)
    async with open_database(bench.settings) as database:
        reads = [asyncio.ensure_future(database.fetch(SLEEP, {"seconds": 1})) for _ in range(4)]
        await asyncio.sleep(0.1)
        with pytest.raises(Unavailable):
            await database.fetch(ONE)
        await asyncio.gather(*reads)
        assert len(await database.fetch(ONE)) == 1
        await _exhaust(database)
        async with database.transaction() as tx:
            await tx.execute(ONE)


async def _exhaust(database: Database) -> None:
    async with (
        database.transaction(),
        database.transaction(),
        database.transaction(),
        database.transaction(),
    ):
        with pytest.raises(Unavailable):
            async with database.transaction():
                pass


async def test_a_statement_that_takes_too_long_is_ended(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "STATEMENT_TIMEOUT", "100ms")
    async with open_database(bench.settings) as database:
        with pytest.raises(DeadlineExceeded):
            await database.fetch(SLEEP, {"seconds": 5})
        with pytest.raises(DeadlineExceeded):
            async with database.transaction() as tx:
                await tx.execute(SLEEP, {"seconds": 5})


async def test_of_two_transactions_that_wait_for_each_other_one_may_try_again(bench: Any) -> None:
    await bench.rows("insert into effect (name) values ('a'), ('b') returning 1")
    async with bench.superuser() as server:
        await server.execute("grant update on agents.effect to agents_app")
    met = asyncio.Barrier(2)

    async def both(first: str, second: str) -> None:
        async with bench.database.transaction() as tx:
            change = text("update effect set aggregate_id = null where name = :name")
            await tx.execute(change, {"name": first})
            await met.wait()
            await tx.execute(change, {"name": second})

    outcomes = await asyncio.gather(both("a", "b"), both("b", "a"), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", "Unavailable"]


async def test_a_fault_of_ours_is_no_error_of_the_domain(bench: Any) -> None:
    with pytest.raises(DBAPIError):
        await bench.rows("select nothing")


async def test_literals_of_a_generated_statement_are_not_mixed_up(bench: Any) -> None:
    async def read(number: int, key: Any = None) -> int:
        [row] = await bench.database.fetch(select(literal(number).label("n")), key=key)
        return int(row["n"])

    assert [await read(number) for number in range(200)] == list(range(200))
    assert len(bench.database._constants) <= 1  # What is made for one call does not stay.
    assert await read(1, key="numbers") == 1
    with pytest.raises(ValueError, match="numbers"):
        await read(2, key="numbers")


async def test_one_key_for_two_statements_is_refused(bench: Any) -> None:
    def statement(descending: bool) -> Any:
        numbers = values(column("n", ONE.selected_columns.one.type), name="v").data([(1,), (2,)])
        rows = select(numbers)
        return rows.order_by(numbers.c.n.desc() if descending else numbers.c.n)

    await bench.database.fetch(statement(descending=True), key="numbers")
    with pytest.raises(ValueError, match="two different statements"):
        await bench.database.fetch(statement(descending=False), key="numbers")


async def test_json_is_read_as_in_a_transaction(bench: Any) -> None:
    query = "select '{\"a\": [1, 2.5, null]}'::jsonb as b, '[1]'::json as j"
    read = (await bench.database.fetch(text(query)))[0]
    [same] = await bench.rows(query.replace(":", "\\:"))
    assert (read["b"], read["j"]) == (same.b, same.j) == ({"a": [1, 2.5, None]}, [1])
