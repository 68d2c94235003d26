"""The audit log: who did what to whose account, when and from where. Rows are added, never changed or removed; but
where a person was is forgotten with her.
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, DateTime, Index, Table, Text, Uuid, bindparam, func, insert, select
from sqlalchemy.dialects.postgresql import JSONB

from auth_service.metadata import metadata
from chassis.context import current_call
from chassis.database import Database, Transaction
from chassis.ids import first_id, new_id

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
# What everybody did of one kind, and all that one did; newest first: ids are UUIDv7.
Index("audit_events_action_id", audit_events.c.action, audit_events.c.id)
Index("audit_events_actor_id", audit_events.c.actor, audit_events.c.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """A row of the log."""

    id: uuid.UUID
    action: str
    actor: str
    user_id: uuid.UUID | None
    details: Mapping[str, Any]
    correlation_id: str
    client_address: str
    happened_at: datetime


async def record(
    tx: Transaction, action: str, *, actor: str, user_id: uuid.UUID | None, **details: Any
) -> None:
    """Write down in `tx` that `actor` did `action` to the account of `user_id`, or to what is nobody's account."""
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
            # By the clock of the id, so that a page from and until a time is a page of ids.
            happened_at=datetime.now(UTC),
        )
    )


async def forget_addresses(tx: Transaction, user_id: uuid.UUID) -> None:
    """Forget where `user_id`, who is erased, did what is written down, and where somebody tried to sign in as her."""
    await tx.execute(select(func.mask_audit_addresses(user_id)))


async def list_page(
    database: Database,
    *,
    since: datetime | None,
    until: datetime | None,
    before: uuid.UUID | None,
    limit: int,
    **equal: uuid.UUID | str | None,
) -> list[AuditEvent]:
    """What was recorded from `since` until `until`, newest first, beginning after the id `before`; of `equal`, the
    columns by name, None is any.
    """
    bounds = {
        "before": audit_events.c.id < bindparam("before"),
        "since_id": audit_events.c.id >= bindparam("since_id"),
        "until_id": audit_events.c.id < bindparam("until_id"),
    }
    given = {
        **equal,
        "before": before,
        "since_id": since and first_id(since),
        "until_id": until and first_id(until),
    }
    named = tuple(name for name, value in given.items() if value is not None)
    statement = select(audit_events).where(
        *(
            bounds[name] if name in bounds else audit_events.c[name] == bindparam(name)
            for name in named
        )
    )
    rows = await database.fetch(
        statement.order_by(audit_events.c.id.desc()).limit(bindparam("limit")),
        {**given, "limit": limit},
        key=("audit.list_page", *named),
    )
    return [AuditEvent(**row) for row in rows]


def is_person(actor: str) -> bool:
    """Whether it was somebody with an account, and nothing of the platform."""
    return re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", actor) is not None
