"""The audit log: who did what to whose account, when and from where. Rows are added, never changed or removed."""

import uuid
from typing import Any

from sqlalchemy import Column, DateTime, Index, Table, Text, Uuid, func, insert
from sqlalchemy.dialects.postgresql import JSONB

from auth_service.metadata import metadata
from chassis.context import current_call
from chassis.database import Transaction
from chassis.ids import new_id

audit_events = Table(
    "audit_events",
    metadata,
    Column("id", Uuid, primary_key=True),
    # Such as "role.granted".
    Column("action", Text, nullable=False),
    # A user's id, or what of the platform did it, such as "event:agents".
    Column("actor", Text, nullable=False),
    Column("user_id", Uuid),
    # Never names, phones or e-mail addresses: this log outlives an erased account.
    Column("details", JSONB, nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("client_address", Text, nullable=False),
    Column("happened_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
Index("audit_events_user_id", audit_events.c.user_id, audit_events.c.id)


async def record(
    tx: Transaction, action: str, *, actor: str, user_id: uuid.UUID | None, **details: Any
) -> None:
    """Write down in `tx` that `actor` did `action` to the account of `user_id`, or to what nobody has an account for."""
    call = current_call()
    await tx.execute(
        insert(audit_events).values(
            id=new_id(),
            action=action,
            actor=actor,
            user_id=user_id,
            details=details,
            correlation_id=call.correlation_id,
            client_address=call.client_address,
        )
    )
