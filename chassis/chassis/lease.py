"""Leases: work that one replica at a time may do, such as relaying events.

A lease is a committed row with an expiry, not a lock held open: a replica that dies loses it in seconds, and one that
only seemed dead finds it taken. What the holder does must still be safe to do twice.
"""

from datetime import timedelta

from sqlalchemy import ColumnElement, Interval, bindparam, delete, exists, func, literal
from sqlalchemy.dialects.postgresql import insert

from chassis.database import Database
from chassis.ids import new_id
from chassis.tables import lease

SECONDS = 6.0

_expires_at = func.clock_timestamp() + bindparam("lasts", type_=Interval)
_TAKE = (
    insert(lease)
    .values(name=bindparam("name"), holder=bindparam("holder"), expires_at=_expires_at)
    .on_conflict_do_update(
        index_elements=[lease.c.name],
        set_={"holder": bindparam("holder"), "expires_at": _expires_at},
        where=(lease.c.holder == bindparam("holder"))
        | (lease.c.expires_at < func.clock_timestamp()),
    )
    .returning(literal(1))
)


class Lease:
    """One replica's claim to the work called `name`, good for `seconds` from when it was last taken."""

    def __init__(self, database: Database, name: str, seconds: float = SECONDS) -> None:
        self._database = database
        self._name = name
        self._lasts = timedelta(seconds=seconds)
        self._holder = new_id()

    async def take(self) -> bool:
        """Take or renew the lease; whether it is ours now."""
        async with self._database.transaction() as tx:
            taken = await tx.execute(
                _TAKE, {"name": self._name, "holder": self._holder, "lasts": self._lasts}
            )
            return taken.first() is not None

    async def give_up(self) -> None:
        """Let another replica have it at once."""
        async with self._database.transaction() as tx:
            await tx.execute(
                delete(lease).where(lease.c.name == self._name, lease.c.holder == self._holder)
            )

    def held(self) -> ColumnElement[bool]:
        """In SQL, whether the lease is ours still: what a holder writes may depend on it."""
        return exists().where(
            lease.c.name == self._name,
            lease.c.holder == self._holder,
            lease.c.expires_at > func.clock_timestamp(),
        )
