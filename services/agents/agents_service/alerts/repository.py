"""The SQL of alerts."""

import uuid
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    Date,
    DateTime,
    Integer,
    SmallInteger,
    Uuid,
    any_,
    bindparam,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from agents_service.alerts.domain import Waiting
from agents_service.alerts.models import alerted, alerts
from chassis.database import Database, Transaction

_IDS = ARRAY(Uuid)
_DUE_AT = bindparam("due_at", type_=DateTime(timezone=True))
_ADD = text("""
    insert into alerts as known (user_id, saved_search_id, homes, listing_id, due_at)
    select user_id, saved_search_id, homes, listing_id, :due_at
    from unnest(:user_ids, :saved_search_ids, :homes, :listing_ids)
        as alert (user_id, saved_search_id, homes, listing_id)
    order by user_id, saved_search_id
    on conflict (user_id, saved_search_id) do update
        set homes = known.homes + excluded.homes, listing_id = excluded.listing_id
    """).bindparams(
    bindparam("user_ids", type_=_IDS),
    bindparam("saved_search_ids", type_=_IDS),
    bindparam("homes", type_=ARRAY(Integer)),
    bindparam("listing_ids", type_=_IDS),
    _DUE_AT,
)

# Twice as many as people, since some have several.
_some = (
    select(alerts.c.user_id)
    .where(alerts.c.due_at <= func.now())
    .order_by(alerts.c.due_at)
    .limit(2 * bindparam("limit"))
    .subquery()
)
_DUE = select(_some.c.user_id).distinct().limit(bindparam("limit"))

# Of those who may be sent one more today, what waits is taken; the others' waits for the morning. Searches that are
# gone have no names.
_TAKE = text("""
    with due as materialized (
        select user_id, saved_search_id from alerts
        where user_id = any(:user_ids) and due_at <= now()
        order by user_id, saved_search_id for update skip locked
    ), counted as (
        insert into alerted (user_id, day, messages)
        select distinct user_id, :today, 1 from due order by user_id
        on conflict (user_id) do update
            set day = excluded.day,
                messages = case when alerted.day = excluded.day then alerted.messages + 1 else 1 end
            where alerted.day <> excluded.day or alerted.messages < :most
        returning user_id
    ), taken as (
        delete from alerts using due, counted
        where alerts.user_id = due.user_id and alerts.saved_search_id = due.saved_search_id
            and counted.user_id = due.user_id
        returning alerts.user_id, alerts.saved_search_id, homes, listing_id
    ), put_off as (
        update alerts set due_at = :morning from due
        where alerts.user_id = due.user_id and alerts.saved_search_id = due.saved_search_id
            and not exists (select from counted where counted.user_id = due.user_id)
    )
    select taken.user_id, saved_search_id, name, homes, listing_id
    from taken join saved_searches on saved_searches.id = saved_search_id
    order by taken.user_id, saved_search_id
    """).bindparams(
    bindparam("user_ids", type_=_IDS),
    bindparam("today", type_=Date()),
    bindparam("most", type_=SmallInteger()),
    bindparam("morning", type_=DateTime(timezone=True)),
)


class AlertRepository:
    """Alerts in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, tx: Transaction, waiting: Sequence[Waiting], due_at: datetime) -> None:
        """Have their owners told of these at `due_at`, or sooner if they are told of others then."""
        await tx.execute(
            _ADD,
            {
                "user_ids": [each.user_id for each in waiting],
                "saved_search_ids": [each.saved_search_id for each in waiting],
                "homes": [each.homes for each in waiting],
                "listing_ids": [each.listing_id for each in waiting],
                "due_at": due_at,
            },
        )

    async def due(self, limit: int) -> list[uuid.UUID]:
        """Some of those who are to be told of something now."""
        rows = await self._database.fetch(_DUE, {"limit": limit})
        return [row[0] for row in rows]

    async def take(
        self,
        tx: Transaction,
        user_ids: Sequence[uuid.UUID],
        *,
        today: date,
        most: int,
        morning: datetime,
    ) -> list[Waiting]:
        """Take what waits for these people, and count a message to each; who had `most` today waits for `morning`."""
        rows = await tx.execute(
            _TAKE, {"user_ids": user_ids, "today": today, "most": most, "morning": morning}
        )
        return [Waiting._make(row) for row in rows]

    async def drop(self, tx: Transaction, user_ids: Sequence[uuid.UUID]) -> None:
        """Tell these people of nothing that waits."""
        await tx.execute(
            delete(alerts).where(alerts.c.user_id == any_(bindparam("ids", type_=_IDS))),
            {"ids": user_ids},
        )

    async def put_back(self, tx: Transaction, waiting: Sequence[Waiting], due_at: datetime) -> None:
        """What was taken for one person was not sent: it waits until `due_at`, and does not count."""
        await self.add(tx, waiting, due_at)
        await tx.execute(
            update(alerted)
            .where(alerted.c.user_id == waiting[0].user_id, alerted.c.messages > 0)
            .values(messages=alerted.c.messages - 1)
        )

    async def forget(self, tx: Transaction, user_id: uuid.UUID) -> None:
        """Forget that somebody was told of anything, or was to be."""
        for table in (alerts, alerted):
            columns: Any = table.c
            await tx.execute(delete(table).where(columns.user_id == user_id))
