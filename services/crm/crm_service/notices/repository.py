"""The SQL of notices."""

import uuid
from collections.abc import Sequence
from dataclasses import fields
from datetime import date, timedelta

from sqlalchemy import ARRAY, Uuid, bindparam, func, insert, select, text, update

from chassis.database import Database, Transaction
from chassis.ids import new_id
from crm_service.notices.domain import Notice
from crm_service.notices.models import notices

CLAIM = timedelta(seconds=60)
# The advisory lock of whoever gives notices their places.
_PLACES = 0x6E6F7469636573
# A notice's place is behind all of the same agent and hour that have theirs, and behind the earlier ones that get
# theirs with it.
_CLAIM = text(f"""
    update notices set claimed_until = now() + :claim, attempts = attempts + 1, place = coalesce(place, (
        select nullif(count(*), 0) from notices as other
        where other.agent_id = notices.agent_id
        and other.created_at >= date_trunc('hour', notices.created_at, 'UTC')
        and other.created_at < date_trunc('hour', notices.created_at, 'UTC') + interval '1 hour'
        and (other.place is not null or other.id = any(:ids) and other.id <= notices.id)
        and other.lead_id is not null and notices.lead_id is not null
    ))
    where id = any(:ids)
    returning {", ".join(field.name for field in fields(Notice))}
    """).bindparams(  # noqa: S608  Its names are those of a Notice.
    bindparam("ids", type_=ARRAY(Uuid())), claim=CLAIM
)


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
        """Notices to send, nobody else's for as long as CLAIM; those about leads have their places."""
        # Who claims at the same time would give the same places.
        await tx.execute(select(func.pg_advisory_xact_lock(_PLACES)))
        waiting = await tx.execute(
            select(notices.c.id)
            .where(notices.c.ended_at.is_(None), notices.c.claimed_until <= func.now())
            .order_by(notices.c.claimed_until)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        claimed = await tx.execute(_CLAIM, {"ids": [*waiting.scalars()]})
        return [Notice(**row) for row in claimed.mappings()]

    async def end(self, tx: Transaction, notice_ids: Sequence[uuid.UUID]) -> None:
        """They were sent, or never will be."""
        await tx.execute(
            update(notices)
            .where(notices.c.id == func.any(bindparam("ids")))
            .values(ended_at=func.now()),
            {"ids": [*notice_ids]},
        )
