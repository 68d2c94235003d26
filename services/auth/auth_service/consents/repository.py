"""The SQL of consents. Whoever writes has locked the user, so that hers are written one after the other."""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, Uuid, bindparam, func, insert, or_, select, update

from auth_service.consents.domain import Consent
from auth_service.consents.models import consents
from auth_service.users.domain import UserStatus
from auth_service.users.models import users
from chassis.database import Database, Transaction
from chassis.ids import new_id

_before = bindparam("before", type_=Uuid())
_LIST = (
    select(consents)
    .where(
        consents.c.user_id == bindparam("user_id"), or_(_before.is_(None), consents.c.id < _before)
    )
    .order_by(consents.c.id.desc())
    .limit(bindparam("limit"))
)
_REACHABLE = (
    select(users.c.id, users.c.phone)
    .join(consents, consents.c.user_id == users.c.id)
    .where(
        users.c.id == func.any(bindparam("user_ids", type_=ARRAY(Uuid()))),
        users.c.status == UserStatus.ACTIVE,
        consents.c.purpose == bindparam("purpose"),
        consents.c.channel == bindparam("channel"),
        consents.c.withdrawn_at.is_(None),
    )
)


class ConsentRepository:
    """Consents in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_page(
        self, user_id: uuid.UUID, *, before: uuid.UUID | None, limit: int
    ) -> list[Consent]:
        """A user's consents, newest first, beginning after the id `before`."""
        rows = await self._database.fetch(
            _LIST, {"user_id": user_id, "before": before, "limit": limit}
        )
        return [Consent(**row) for row in rows]

    async def reachable(
        self, user_ids: Sequence[uuid.UUID], purpose: str, channel: str
    ) -> list[tuple[uuid.UUID, str]]:
        """Those of the users who consent and are active, with their phones."""
        rows = await self._database.fetch(
            _REACHABLE, {"user_ids": user_ids, "purpose": purpose, "channel": channel}
        )
        return [(row["id"], row["phone"]) for row in rows]

    async def live(
        self, tx: Transaction, user_id: uuid.UUID, purpose: str, channel: str
    ) -> Consent | None:
        """The consent that holds, if one does."""
        found = await tx.execute(
            select(consents).where(
                consents.c.user_id == user_id,
                consents.c.purpose == purpose,
                consents.c.channel == channel,
                consents.c.withdrawn_at.is_(None),
            )
        )
        return _consent(found.mappings().first())

    async def add(
        self,
        tx: Transaction,
        user_id: uuid.UUID,
        *,
        purpose: str,
        channel: str,
        notice_version: str,
    ) -> Consent:
        added = await tx.execute(
            insert(consents)
            .values(
                id=new_id(),
                user_id=user_id,
                purpose=purpose,
                channel=channel,
                notice_version=notice_version,
            )
            .returning(consents)
        )
        return Consent(**added.mappings().one())

    async def of(
        self, tx: Transaction, user_id: uuid.UUID, consent_id: uuid.UUID
    ) -> Consent | None:
        """The consent, if it is the user's."""
        found = await tx.execute(
            select(consents).where(consents.c.id == consent_id, consents.c.user_id == user_id)
        )
        return _consent(found.mappings().first())

    async def withdraw(
        self, tx: Transaction, user_id: uuid.UUID, consent_id: uuid.UUID | None = None
    ) -> list[Consent]:
        """End the consent, or all of the user's; those that held until now."""
        ending = update(consents).where(
            consents.c.user_id == user_id, consents.c.withdrawn_at.is_(None)
        )
        if consent_id is not None:
            ending = ending.where(consents.c.id == consent_id)
        ended = await tx.execute(
            ending.values(withdrawn_at=func.clock_timestamp()).returning(consents)
        )
        return [Consent(**row) for row in ended.mappings()]


def _consent(row: Any) -> Consent | None:
    return None if row is None else Consent(**row)
