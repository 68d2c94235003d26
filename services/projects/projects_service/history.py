"""Who changed what, from, to, when and why: append-only, for every aggregate of the service."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, DateTime, Index, Table, Text, Uuid, func, insert

from chassis.database import Transaction
from chassis.history import rows
from projects_service.metadata import metadata

# Who changed what the clock changed.
CLOCK = "service:projects"

history = Table(
    "history",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("aggregate_id", Uuid, nullable=False),
    # A person's id, or CLOCK.
    Column("changed_by", Text, nullable=False),
    Column("field", Text, nullable=False),
    Column("from_value", Text),
    Column("to_value", Text),
    Column("reason", Text),
    Column("changed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
Index("history_aggregate_id", history.c.aggregate_id, history.c.id)


async def write(
    tx: Transaction,
    before: Any,
    changes: Mapping[str, Any],
    changed_by: str,
    reason: str | None = None,
) -> None:
    """Note the `changes` to an aggregate that was `before`."""
    noted = rows(before, changes, changed_by, reason, aggregate_id=before.id)
    if noted:
        await tx.execute(insert(history), noted)
