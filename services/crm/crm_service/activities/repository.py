"""The SQL of activities."""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, Uuid, bindparam, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from chassis.database import Database, Transaction
from chassis.ids import new_id
from crm_service.activities.domain import Activity, ActivityKind
from crm_service.activities.models import activities
from crm_service.leads.domain import LeadStage

_COLUMNS = [column for column in activities.c if column is not activities.c.reference]


class ActivityRepository:
    """Activities in Postgres. They are added and never changed, but for the words of who is to be forgotten."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_page(
        self, lead_id: uuid.UUID, *, before: uuid.UUID | None, limit: int
    ) -> list[Activity]:
        """A lead's timeline, newest first, beginning after the id `before`."""
        statement = select(*_COLUMNS).where(activities.c.lead_id == bindparam("lead_id"))
        if before is not None:
            statement = statement.where(activities.c.id < bindparam("before"))
        rows = await self._database.fetch(
            statement.order_by(activities.c.id.desc()).limit(bindparam("limit")),
            {"lead_id": lead_id, "before": before, "limit": limit},
            key=("activities.list_page", before is not None),
        )
        return [_activity(row) for row in rows]

    async def add(
        self,
        tx: Transaction,
        lead_id: uuid.UUID,
        kind: ActivityKind,
        text: str,
        *,
        user_id: uuid.UUID | None = None,
        from_stage: LeadStage | None = None,
        to_stage: LeadStage | None = None,
    ) -> Activity:
        added = await tx.execute(
            insert(activities)
            .values(
                id=new_id(),
                lead_id=lead_id,
                kind=kind,
                text=text,
                user_id=user_id,
                from_stage=from_stage,
                to_stage=to_stage,
            )
            .returning(*_COLUMNS)
        )
        return _activity(added.mappings().one())

    async def add_to_all(self, tx: Transaction, lead_ids: Sequence[uuid.UUID], text: str) -> None:
        """The same entry of the platform on many timelines."""
        if lead_ids:
            await tx.execute(
                insert(activities),
                [
                    {"id": new_id(), "lead_id": lead_id, "kind": ActivityKind.SYSTEM, "text": text}
                    for lead_id in lead_ids
                ],
            )

    async def mask(self, tx: Transaction, lead_ids: Sequence[uuid.UUID]) -> None:
        """Forget what was said of and by the person of these leads. The table is append-only but for this function."""
        await tx.execute(
            select(func.mask_activities(bindparam("ids", type_=ARRAY(Uuid)))), {"ids": [*lead_ids]}
        )

    async def add_once(
        self,
        tx: Transaction,
        lead_id: uuid.UUID,
        kind: ActivityKind,
        text: str,
        reference: str | None,
    ) -> None:
        """Add an entry about `reference`, unless the timeline has one."""
        await tx.execute(
            upsert(activities)
            .values(
                id=new_id(),
                lead_id=lead_id,
                kind=kind,
                text=text,
                reference=reference,
            )
            .on_conflict_do_nothing()
        )


def _activity(row: Any) -> Activity:
    values = dict(row)
    for field in ("from_stage", "to_stage"):
        values[field] = values[field] and LeadStage(values[field])
    values["kind"] = ActivityKind(values["kind"])
    return Activity(**values)
