"""Postgres: one pool per process, transactions that carry their events and their idempotency record, quick reads.

Redis, SMS and calls to other services have no place inside a transaction.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import asyncpg
import structlog
from google.protobuf.message import Message
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from sqlalchemy import Executable, Select, event
from sqlalchemy.engine import CursorResult, make_url
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from chassis import idempotency, metrics, outbox
from chassis.context import current_call_or_none
from chassis.errors import Unavailable
from chassis.settings import ServiceSettings
from chassis.tracing import tracer

POOL_TIMEOUT_SECONDS = 5.0
STATEMENT_TIMEOUT = "15s"
AWAY = "The database can't be reached just now: try again."
# What asyncpg says when Postgres goes away under a statement.
LOST = (
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    OSError,
)

log = structlog.get_logger()
MessageT = TypeVar("MessageT", bound=Message)


class Transaction:
    """One unit of work: its statements, the events it causes and, where a caller may repeat it, its reply."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection
        self._events: list[outbox.NewEvent] = []
        self._reply: Message | None = None

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        return await self.connection.execute(statement, parameters)

    def publish(self, payload: Message, aggregate_id: uuid.UUID) -> None:
        """Tell the other services, once this transaction is committed and not before."""
        self._events.append(outbox.NewEvent(aggregate_id, payload))

    def reply(self, message: MessageT) -> MessageT:
        """Answer the call with `message`, now and whenever it is repeated under its Idempotency-Key."""
        self._reply = message
        return message

    async def finish(self) -> bool:
        """Write the events and the idempotency record; whether there were events."""
        await outbox.write(self.connection, self._events)
        if self._reply is not None:
            await idempotency.record(self.connection, self._reply)
        return bool(self._events)


class Database:
    """A service's schema. Open it with `open_database`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        # Set when events were committed, so that the relay need not wait for its next look.
        self.events_committed = asyncio.Event()
        self._compiled: dict[Any, tuple[str, Sequence[tuple[str, Any]]]] = {}
        self._dialect = engine.dialect

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction, committed when the block ends and rolled back when it raises.

        Raises Replayed when the current call repeats one that was answered under its Idempotency-Key.
        """
        async with self._connection() as connection, connection.begin():
            await idempotency.begin(connection)
            transaction = Transaction(connection)
            yield transaction
            has_events = await transaction.finish()
        if has_events:
            self.events_committed.set()

    async def fetch(
        self,
        statement: Select[Any],
        parameters: Mapping[str, Any] | None = None,
        *,
        key: Any = None,
    ) -> list[asyncpg.Record]:
        """The rows of a read outside any transaction, by column name.

        The statement is compiled once and then goes straight to asyncpg, past most of SQLAlchemy's work on each call:
        write it as a module constant with `bindparam`, or say by `key` which statements are the same. Lists go
        in as `= any(:values)`, since `in` can't be compiled ahead.
        """
        cache_key = statement if key is None else key
        compiled = self._compiled.get(cache_key)
        if compiled is None:
            query = statement.compile(dialect=self._dialect)
            names = [(name, query.params[name]) for name in query.positiontup or ()]
            compiled = self._compiled[cache_key] = (str(query), names)
        sql, binds = compiled
        given = parameters or {}
        values = [given.get(name, default) for name, default in binds]
        return await self._fetch(sql, values)

    async def fetch_one(
        self,
        statement: Select[Any],
        parameters: Mapping[str, Any] | None = None,
        *,
        key: Any = None,
    ) -> asyncpg.Record | None:
        """The first row of `fetch`, if any."""
        rows = await self.fetch(statement, parameters, key=key)
        return rows[0] if rows else None

    async def _fetch(self, sql: str, values: Sequence[Any]) -> list[asyncpg.Record]:
        pooled = await self._raw()
        try:
            driver: Any = pooled.driver_connection
            with _observed(sql):
                rows: list[asyncpg.Record] = await driver.fetch(sql, *values)
        except LOST as error:
            pooled.invalidate(error)
            raise Unavailable(AWAY) from error
        except BaseException:
            # A cancelled query may still be running on the connection: don't hand it to the next caller.
            pooled.invalidate()
            raise
        finally:
            pooled.close()
        return rows

    async def _raw(self) -> Any:
        started = time.perf_counter()
        try:
            pooled = await self.engine.raw_connection()
            # Those that Postgres closed while they lay in the pool.
            while pooled.driver_connection.is_closed():  # type: ignore[union-attr]
                pooled.invalidate()
                pooled = await self.engine.raw_connection()
        except PoolTimeoutError as error:
            raise Unavailable(AWAY) from error
        metrics.POOL_WAIT_SECONDS.observe(time.perf_counter() - started)
        return pooled

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        started = time.perf_counter()
        connection = self.engine.connect()
        try:
            await connection.start()
        except PoolTimeoutError as error:
            raise Unavailable(AWAY) from error
        metrics.POOL_WAIT_SECONDS.observe(time.perf_counter() - started)
        try:
            yield connection
        finally:
            await asyncio.shield(connection.close())


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
        # Whoever meets a lost connection, a request or the relay, a consumer or a timer, may try again.
        if error.is_disconnect:
            raise Unavailable(AWAY)


async def _connect(*arguments: Any, **options: Any) -> Any:
    """Asyncpg's connect, for callers that may try again."""
    try:
        return await asyncpg.connect(*arguments, **options)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise Unavailable(AWAY) from error


@asynccontextmanager
async def open_database(settings: ServiceSettings) -> AsyncIterator[Database]:
    """The service's database. Connections are made when first needed, so that a start without Postgres is possible."""
    url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(
        url,
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        pool_use_lifo=True,
        connect_args={
            "async_creator_fn": _connect,
            "timeout": POOL_TIMEOUT_SECONDS,
            "statement_cache_size": settings.database_statement_cache_size,
            "prepared_statement_cache_size": settings.database_statement_cache_size,
            "server_settings": {
                "application_name": settings.service_id,
                "statement_timeout": STATEMENT_TIMEOUT,
            },
        },
    )
    _observe_statements(engine)
    try:
        yield Database(engine)
    finally:
        await engine.dispose()
