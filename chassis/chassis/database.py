"""Postgres: one pool per process, transactions that carry their events and their idempotency record, quick reads.

Redis, SMS and calls to other services have no place inside a transaction.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Hashable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import asyncpg
import structlog
from google.protobuf.message import Message
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from sqlalchemy import Executable, Select, TextClause, UpdateBase, event
from sqlalchemy.engine import CursorResult, make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from chassis import idempotency, metrics, outbox
from chassis.context import current_call_or_none
from chassis.database_errors import away, meaning_of
from chassis.reads import Connection, Reads, connect, read_json
from chassis.settings import ServiceSettings
from chassis.tracing import tracer

POOL_TIMEOUT_SECONDS = 5.0
STATEMENT_TIMEOUT = "15s"
# Compiling costs more than the read: a wrong key shows when it comes again, then the look is saved.
KEY_CHECKS = 1
# Callers may mix filters in more ways than there is room for.
MOST_KEYED = 2_000
AWAY = "The database can't be reached just now: try again."
# What asyncpg says when Postgres goes away under a statement.
LOST = (
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    OSError,
)

# All that asyncpg raises.
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

log = structlog.get_logger()
Statement: TypeAlias = Select[Any] | UpdateBase | TextClause
MessageT = TypeVar("MessageT", bound=Message)


class Transaction:
    """One unit of work: its statements, the events it causes and, where a caller may repeat it, its reply."""

    def __init__(
        self, database: "Database", connection: AsyncConnection, driver: Connection
    ) -> None:
        self.connection = connection
        self._database = database
        self._driver = driver
        self._events: list[outbox.NewEvent] = []
        self._reply: Message | None = None

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        return await self.connection.execute(statement, parameters)

    async def run(
        self, statement: Statement, parameters: Mapping[str, Any] | None = None
    ) -> list[asyncpg.Record]:
        """The rows of a statement that is a module constant, straight from asyncpg, as `Database.fetch` reads them: a
        third of the price of `execute`, where that counts.
        """
        sql, values = self._database.prepared(statement, parameters)
        with _observed(sql):
            return await self._driver.fetch(sql, *values)

    def publish(self, payload: Message, aggregate_id: uuid.UUID) -> None:
        """Tell the other services, once this transaction is committed and not before."""
        self._events.append(outbox.NewEvent.of(payload, aggregate_id))

    def publish_all(self, events: Iterable[outbox.NewEvent]) -> None:
        """The same, of what happened in the course of other calls than the current one."""
        self._events.extend(events)

    def reply(self, message: MessageT) -> MessageT:
        """Answer the call with `message`, now and whenever it is repeated under its Idempotency-Key."""
        self._reply = message
        return message

    async def finish(self) -> bool:
        """Write the events and the idempotency record; whether there were events."""
        await outbox.write(self, self._events)
        if self._reply is not None:
            await idempotency.record(self.connection, self._reply)
        return bool(self._events)

    def count_events(self) -> None:
        """Count what happened, now that it is committed."""
        for committed in self._events:
            metrics.EVENTS.labels(outbox.event_name(committed.payload)).inc()


class Database:
    """A service's schema. Open it with `open_database`."""

    def __init__(self, engine: AsyncEngine, reads: Reads) -> None:
        self.engine = engine
        # Set when events were committed, so that the relay need not wait for its next look.
        self.events_committed = asyncio.Event()
        self._reads = reads
        self._waited = metrics.POOL_WAIT_SECONDS.labels("transactions")
        # Weak, so that a statement made for one call does not stay for ever.
        self._constants: WeakKeyDictionary[Statement, _Compiled] = WeakKeyDictionary()
        self._keyed: dict[Hashable, _Compiled] = {}

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction, committed when the block ends and rolled back when it raises.

        Raises Replayed when the current call repeats one that was answered under its Idempotency-Key, Unavailable
        when Postgres is away or had to end one of two transactions that waited for each other, and DeadlineExceeded
        when a statement took too long.
        """
        async with self._connection() as (connection, driver), driver.transaction():
            await idempotency.begin(connection)
            transaction = Transaction(self, connection, driver)
            yield transaction
            has_events = await transaction.finish()
        if has_events:
            self.events_committed.set()
            transaction.count_events()

    async def fetch(
        self,
        statement: Statement,
        parameters: Mapping[str, Any] | None = None,
        *,
        key: Hashable = None,
        planned_anew: bool = False,
        bitmaps: bool = True,
    ) -> list[asyncpg.Record]:
        """The rows of a read outside any transaction, by column name; raises what `transaction` raises.

        The statement is compiled once and then goes straight to asyncpg, past SQLAlchemy's work on each call: write
        it as a module constant with `bindparam`, or say by `key` which statements are the same. Lists go in as
        `= any(:values)`, since `in` can't be compiled ahead. Where the best plan depends on the parameters, it can be
        `planned_anew` for them, at the price of a millisecond; without `bitmaps` where an index alone has the answer,
        since the planner makes too little of the rows that a bitmap has it read.
        """
        sql, values = self.prepared(statement, parameters, key)
        with _observed(sql):
            return await self._reads.fetch(sql, values, planned_anew=planned_anew, bitmaps=bitmaps)

    async def fetch_one(
        self,
        statement: Statement,
        parameters: Mapping[str, Any] | None = None,
        *,
        key: Hashable = None,
    ) -> asyncpg.Record | None:
        """The first row of `fetch`, if any."""
        rows = await self.fetch(statement, parameters, key=key)
        return rows[0] if rows else None

    def prepared(
        self, statement: Statement, parameters: Mapping[str, Any] | None, key: Hashable = None
    ) -> tuple[str, list[Any]]:
        """`statement` and its parameters as asyncpg takes them."""
        compiled = self._compiled(statement, key)
        given = parameters or {}
        return compiled.sql, [given.get(name, default) for name, default in compiled.binds]

    def _compiled(self, statement: Statement, key: Hashable) -> "_Compiled":
        if key is None:
            compiled = self._constants.get(statement)
            if compiled is None:
                compiled = self._constants[statement] = self._compile(statement)
            return compiled
        compiled = self._keyed.get(key)
        if compiled is None:
            compiled = self._keyed[key] = self._compile(statement)
            if len(self._keyed) > MOST_KEYED:
                del self._keyed[next(iter(self._keyed))]
        elif compiled.checks_left:
            # Two statements under one key would answer each other's questions.
            compiled.checks_left -= 1
            if self._compile(statement) != compiled:
                raise ValueError(f"two different statements have the key {key!r}")
        return compiled

    def _compile(self, statement: Statement) -> "_Compiled":
        query = statement.compile(dialect=self.engine.dialect)
        return _Compiled(
            str(query), [(name, query.params[name]) for name in query.positiontup or ()]
        )

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[AsyncConnection, Connection]]:
        """A connection of SQLAlchemy's, and asyncpg's beneath it, which begins and ends the transaction."""
        started = time.perf_counter()
        connection = self.engine.connect()
        try:
            await connection.start()
        except PoolTimeoutError as error:
            raise away() from error
        self._waited.observe(time.perf_counter() - started)
        driver: Any = (await connection.get_raw_connection()).driver_connection
        try:
            yield connection, driver
        except (*DRIVER_ERRORS, OSError) as error:
            if isinstance(error.__context__, asyncio.CancelledError):
                # Cancelling closed the connection, so that there was nothing to roll back on.
                raise error.__context__ from None
            answer = away() if driver.is_closed() else meaning_of(error)
            if answer is None:
                raise
            raise answer from error
        finally:
            await asyncio.shield(_give_back(connection, driver))


async def _give_back(connection: AsyncConnection, driver: Connection) -> None:
    # One that was cancelled while it rolled back is still within its transaction: nobody gets it any more.
    if driver.is_closed() or driver.is_in_transaction():
        await connection.invalidate()
    await connection.close()


@dataclass(slots=True)
class _Compiled:
    """A statement as asyncpg takes it: its parameters in order, each with the value it has when none is given."""

    sql: str
    binds: list[tuple[str, Any]]
    # How often those that come under the same key are still compared with it.
    checks_left: int = field(default=KEY_CHECKS, compare=False)


@contextmanager
def _observed(sql: str) -> Iterator[None]:
    """A span around a statement, where the request is sampled, and a line in the log, where it is written at all."""
    started = time.perf_counter()
    if trace.get_current_span().is_recording():
        with tracer.start_as_current_span(
            "sql", kind=SpanKind.CLIENT, attributes={"db.query.text": sql}
        ):
            yield
    else:
        yield
    # The relay and the leases ask all the time, for nobody.
    if current_call_or_none() is not None:
        milliseconds = round((time.perf_counter() - started) * 1000, 2)
        log.debug("sql", statement=" ".join(sql.split()), duration_ms=milliseconds)


def _observe_statements(engine: AsyncEngine) -> None:
    """The same for statements that SQLAlchemy executes."""

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def before(
        _connection: Any, _cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool
    ) -> None:
        context.observed = _observed(statement)
        context.observed.__enter__()

    @event.listens_for(engine.sync_engine, "after_cursor_execute")
    def after(
        _connection: Any, _cursor: Any, _statement: str, _parameters: Any, context: Any, _many: bool
    ) -> None:
        context.observed.__exit__(None, None, None)

    @event.listens_for(engine.sync_engine, "handle_error")
    def failed(error: Any) -> None:
        observed = getattr(error.execution_context, "observed", None)
        if observed is not None:
            observed.__exit__(None, None, None)
        if not isinstance(error.original_exception, Exception):
            return  # Cancelled, which costs the connection, but is no word about Postgres.
        answer = away() if error.is_disconnect else meaning_of(error.original_exception)
        if answer is not None:
            raise answer


def _turn_away_closed_connections(engine: AsyncEngine) -> None:
    """Have the pool notice, at no cost, that Postgres was restarted, before a transaction does."""

    @event.listens_for(engine.sync_engine, "checkout")
    def checkout(connection: Any, _record: Any, _proxy: Any) -> None:
        if connection.driver_connection.is_closed():
            raise DisconnectionError


@asynccontextmanager
async def open_database(settings: ServiceSettings) -> AsyncIterator[Database]:
    """The service's database. Connections are made when first needed, so that a start without Postgres is possible.

    Half of the pool is for reads outside transactions, half for transactions.
    """
    url = make_url(settings.database_url.get_secret_value())
    options = {
        "timeout": POOL_TIMEOUT_SECONDS,
        "statement_cache_size": settings.database_statement_cache_size,
        "server_settings": {
            "application_name": settings.service_id,
            "statement_timeout": STATEMENT_TIMEOUT,
            # Our statements are few and run often: planning one anew for each call would cost more than running it.
            # What a plan depends on is written as a literal.
            "plan_cache_mode": "force_generic_plan",
            # No statement runs so long that compiling it would pay, and a wrong guess of the planner's costs 100 ms.
            "jit": "off",
        },
    }
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    readers = max(1, settings.database_pool_size // 2)
    engine = create_async_engine(
        url.set(drivername="postgresql+asyncpg", query={}),
        pool_size=max(1, settings.database_pool_size - readers),
        max_overflow=0,
        # asyncpg itself begins and ends transactions, so that SQLAlchemy's work is paid only by what it executes.
        isolation_level="AUTOCOMMIT",
        # Errors are logged, and parameters are phones, names and hashes.
        hide_parameters=True,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        pool_use_lifo=True,
        connect_args={
            **options,
            "prepared_statement_cache_size": settings.database_statement_cache_size,
            # What the address says behind a `?`, such as sslmode, is asyncpg's to read, as for reads.
            "async_creator_fn": partial(connect, dsn),
        },
    )
    _observe_statements(engine)
    _turn_away_closed_connections(engine)

    async def connect_for_reads() -> Connection:
        return await read_json(await connect(dsn, **options))

    reads = Reads(connect_for_reads, readers, POOL_TIMEOUT_SECONDS)
    try:
        yield Database(engine, reads)
    finally:
        await reads.close()
        await engine.dispose()
