"""Connections for reads outside any transaction: straight to asyncpg, past SQLAlchemy's pool and its greenlets.

That halves the price of a small read. They are part of the service's pool, so that slow transactions leave them free.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import asyncpg
import orjson

from chassis import metrics
from chassis.database_errors import away, meaning_of

CLOSE_SECONDS = 5.0
# Many are answered at a time, each by one process: who took another would take it from somebody.
_BEGIN_ANEW = (
    "begin read only; set local plan_cache_mode = force_custom_plan;"
    " set local max_parallel_workers_per_gather = 0"
)

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Reads:
    """At most `size` connections, made when first needed; the one used last is used next."""

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], size: int, wait_seconds: float
    ) -> None:
        self._connect = connect
        self._wait_seconds = wait_seconds
        self._waited = metrics.POOL_WAIT_SECONDS.labels("reads")
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(size)
        self._closing: set[asyncio.Task[None]] = set()

    async def fetch(
        self,
        sql: str,
        values: Sequence[Any],
        *,
        planned_anew: bool = False,
        bitmaps: bool = True,
    ) -> list[asyncpg.Record]:
        """The rows of `sql`. Raises Unavailable when Postgres is away or no connection is free in time."""
        started = time.perf_counter()
        await self._take_turn()
        try:
            connection = await self._connection()
            self._waited.observe(time.perf_counter() - started)
            try:
                if planned_anew:
                    rows = await _planned_anew(connection, sql, values, bitmaps=bitmaps)
                else:
                    rows = await connection.fetch(sql, *values)
            except Exception as error:
                # Whatever it was, the connection is given back, and what is no fault of ours gets its meaning.
                self._give_back(connection)
                answer = away() if connection.is_closed() else meaning_of(error)
                if answer is None:
                    raise
                raise answer from error
            except BaseException:
                # Cancelled: the query may still be running, so nobody gets this connection any more.
                self._discard(connection)
                raise
            self._give_back(connection)
        finally:
            self._free.release()
        return rows

    async def close(self) -> None:
        """Close every connection; no read may be under way."""
        for connection in self._idle:
            self._discard(connection)
        self._idle.clear()
        if self._closing:
            await asyncio.wait(self._closing)

    async def _take_turn(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise away() from error

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return await self._connect()

    def _give_back(self, connection: Connection) -> None:
        if not connection.is_closed():
            self._idle.append(connection)

    def _discard(self, connection: Connection) -> None:
        closing = asyncio.ensure_future(_close(connection))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


async def _planned_anew(
    connection: Connection, sql: str, values: Sequence[Any], *, bitmaps: bool
) -> list[asyncpg.Record]:
    # Within a transaction, so that it is one connection's setting behind a pooler too, and ends with it.
    await connection.execute(f"{_BEGIN_ANEW}; set local enable_bitmapscan = {bitmaps}")
    try:
        rows = await connection.fetch(sql, *values)
    except (asyncpg.PostgresError, asyncpg.InterfaceError):
        if not connection.is_closed():
            await connection.execute("rollback")
        raise
    await connection.execute("rollback")
    return rows


async def _close(connection: Connection) -> None:
    """End what still runs on the server, then the connection."""
    try:
        await connection.close(timeout=CLOSE_SECONDS)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


async def connect(*arguments: Any, **options: Any) -> Connection:
    """A connection of asyncpg's; raises Unavailable where there is no Postgres that lets us in."""
    try:
        connection: Connection = await asyncpg.connect(*arguments, **options)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise away() from error
    return connection


async def read_json(connection: Connection) -> Connection:
    """Have JSON columns arrive as Python values, as SQLAlchemy gives them."""
    await connection.set_type_codec(
        "json", encoder=str.encode, decoder=orjson.loads, schema="pg_catalog", format="binary"
    )
    await connection.set_type_codec(
        "jsonb",
        # One byte before the text is the version of the format.
        encoder=lambda text: b"\x01" + text.encode(),
        decoder=lambda value: orjson.loads(value[1:]),
        schema="pg_catalog",
        format="binary",
    )
    return connection
