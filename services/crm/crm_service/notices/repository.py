"""The SQL of notices."""

import uuid
from collections.abc import Sequence
from dataclasses import fields
from datetime import date, timedelta

from sqlalchemy import bindparam, func, insert, select, update

from chassis.database import Database, Transaction
from chassis.ids import new_id
from crm_service.notices.domain import Notice
from crm_service.notices.models import notices

CLAIM = timedelta(seconds=60)


class NoticeRepository:
    """Notices in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, tx: Transaction, lead_id: uuid.UUID, agent_id: uuid.UUID) -> None:
        """The agent is to be told of the lead, soon after `tx` is committed."""
        await tx.execute(insert(notices).values(id=new_id(), lead_id=lead_id, agent_id=agent_id))

    async def add_of_registration(
        self, tx: Transaction, agent_id: uuid.UUID, valid_to: date
    ) -> None:
        """The agent is to be told that her registration ends on `valid_to`, soon after `tx` is committed."""
        await tx.execute(
            insert(notices).values(id=new_id(), rera_valid_to=valid_to, agent_id=agent_id)
        )

    async def claim(self, tx: Transaction, limit: int) -> list[Notice]:
        """Notices to send, nobody else's for as long as CLAIM."""
        waiting = (
            select(notices.c.id)
            .where(notices.c.ended_at.is_(None), notices.c.claimed_until <= func.now())
            .order_by(notices.c.claimed_until)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        claimed = await tx.execute(
            update(notices)
            .where(notices.c.id.in_(waiting))
            .values(claimed_until=func.now() + CLAIM, attempts=notices.c.attempts + 1)
            .returning(*(notices.c[field.name] for field in fields(Notice)))
        )
        return [Notice(**row) for row in claimed.mappings()]

    async def end(self, tx: Transaction, notice_ids: Sequence[uuid.UUID]) -> None:
        """They were sent, or never will be."""
        await tx.execute(
            update(notices)
            .where(notices.c.id == func.any(bindparam("ids")))
            .values(ended_at=func.now()),
            {"ids": [*notice_ids]},
        )
