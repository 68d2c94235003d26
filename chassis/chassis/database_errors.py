"""What an error of Postgres means for whoever called: that it is away, was too slow, or that others were in the way.

`database.transaction` and `database.fetch` raise these, so that nobody else needs to know the errors of asyncpg and
SQLAlchemy; all others are faults of ours.
"""

from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError, DisconnectionError, EmulatedDBAPIException
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from chassis.errors import DeadlineExceeded, DomainError, Unavailable

_AWAY: Final = (
    ConnectionError,
    DisconnectionError,
    PoolTimeoutError,
    asyncpg.PostgresConnectionError,
    # Postgres has said goodbye and the socket's end is on its way: asyncpg takes no more, in these words.
    asyncpg.InternalClientError,
    # Shut down, crashed, starting; a query that was cancelled is one of these too, and told apart first.
    asyncpg.exceptions.OperatorInterventionError,
    # Too many connections, a full disk, no memory.
    asyncpg.exceptions.InsufficientResourcesError,
    # What used to be the primary.
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
# Two transactions that can't both go on; the one that was ended succeeds when it is tried again.
_IN_THE_WAY: Final = (
    asyncpg.exceptions.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
)


def meaning_of(error: BaseException) -> DomainError | None:
    """What the caller is told of `error`, or None when it is a fault of ours."""
    driver = _driver_error(error)
    if isinstance(driver, asyncpg.QueryCanceledError):
        return DeadlineExceeded("The database did not answer in time.")
    if isinstance(driver, _IN_THE_WAY):
        return Unavailable("Others were changing the same: try again.")
    closed = isinstance(error, DBAPIError) and error.connection_invalidated
    if closed or isinstance(driver, _AWAY):
        return away()
    return None


def away() -> Unavailable:
    return Unavailable("The database can't be reached just now: try again.")


def _driver_error(error: BaseException) -> BaseException:
    """What asyncpg raised, of which SQLAlchemy tells only the kind."""
    if isinstance(error, DBAPIError | EmulatedDBAPIException):
        return error.driver_exception
    return error
