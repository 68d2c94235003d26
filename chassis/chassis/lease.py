"""Leases: work that one replica at a time may do, such as relaying events.

A lease is a committed row with an expiry, not a lock held open: a replica that dies loses it in seconds, and one that
only seemed dead finds it taken. What the holder does must still be safe to do twice.
"""

import uuid
from datetime import timedelta

from sqlalchemy import bindparam, delete, func, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.ids import new_id
from chassis.tables import lease

SECONDS = 6.0

_TAKE = (
    insert(lease)
    .values(
        name=bindparam("name"),
        holder=bindparam("holder"),
        expires_at=func.clock_timestamp() + timedelta(seconds=SECONDS),
    )
    .on_conflict_do_update(
        index_elements=[lease.c.name],
        set_={
            "holder": bindparam("holder"),
            "expires_at": func.clock_timestamp() + timedelta(seconds=SECONDS),
        },
        where=(lease.c.holder == bindparam("holder"))
        | (lease.c.expires_at < func.clock_timestamp()),
    )
    .returning(text("1"))
)


class Lease:
    """One replica's claim to the work called `name`."""

    def __init__(self, engine: AsyncEngine, name: str) -> None:
        self._engine = engine
        self._name = name
        self._holder = new_id()

    async def take(self) -> bool:
        """Take or renew the lease for SECONDS; whether it is ours now."""
        async with self._engine.begin() as connection:
            taken = await connection.execute(_TAKE, {"name": self._name, "holder": self._holder})
            return taken.first() is not None

    async def give_up(self) -> None:
        """Let another replica have it at once."""
        async with self._engine.begin() as connection:
            await connection.execute(
                delete(lease).where(lease.c.name == self._name, lease.c.holder == self._holder)
            )

    @property
    def holder(self) -> uuid.UUID:
        return self._holder
