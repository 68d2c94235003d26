"""The SQL of offices and of invitations into them."""

import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from agents_service.agents.models import agents
from agents_service.offices.domain import Invitation, InvitationStatus, Office, OfficeStatus
from agents_service.offices.models import invitations, office_history, offices
from chassis import history
from chassis.database import Database, Transaction
from chassis.errors import AlreadyExists, NotFound, StaleVersion
from chassis.ids import new_id

_GET = select(offices).where(offices.c.id == bindparam("id"))
_INVITATIONS = select(
    invitations.c.id,
    invitations.c.office_id,
    offices.c.office_name,
    invitations.c.agent_id,
    invitations.c.member_mobile_phone,
    invitations.c.status,
    invitations.c.created_at,
).join(offices, offices.c.id == invitations.c.office_id)
_OPEN = invitations.c.status == InvitationStatus.OPEN
# After every id.
_LAST = uuid.UUID(int=(1 << 128) - 1)
_PAGE = (
    _INVITATIONS.where(_OPEN, invitations.c.id < bindparam("before"))
    .order_by(invitations.c.id.desc())
    .limit(bindparam("limit"))
)
_OF_OFFICE = _PAGE.where(invitations.c.office_id == bindparam("office_id"))
_OF_AGENT = _PAGE.where(
    or_(
        invitations.c.agent_id == bindparam("agent_id"),
        invitations.c.member_mobile_phone == bindparam("phone"),
    )
)


class OfficeRepository:
    """Offices in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def forget_invitations(self, tx: Transaction, phone: str) -> None:
        """Forget whom offices invited by `phone`."""
        await tx.execute(delete(invitations).where(invitations.c.member_mobile_phone == phone))

    async def get(self, office_id: uuid.UUID) -> Office:
        """The office; raises NotFound."""
        return _existing(await self._database.fetch_one(_GET, {"id": office_id}))

    async def list_page(
        self, *, status: OfficeStatus, city: str | None, before: uuid.UUID | None, limit: int
    ) -> list[Office]:
        """Offices by status and city, newest first, beginning after the id `before`."""
        statement = select(offices).where(offices.c.office_status == bindparam("status"))
        if city is not None:
            statement = statement.where(func.lower(offices.c.city) == bindparam("city"))
        if before is not None:
            statement = statement.where(offices.c.id < bindparam("before"))
        rows = await self._database.fetch(
            statement.order_by(offices.c.id.desc()).limit(bindparam("limit")),
            {"status": status, "city": city, "before": before, "limit": limit},
            key=("offices.list_page", city is not None, before is not None),
        )
        return [_office(row) for row in rows]

    async def locked(self, tx: Transaction, office_id: uuid.UUID) -> Office:
        """The office, locked until the transaction ends; raises NotFound."""
        found = await tx.execute(select(offices).where(offices.c.id == office_id).with_for_update())
        return _existing(found.mappings().first())

    async def kept(self, tx: Transaction, office_id: uuid.UUID) -> Office:
        """The office, which stays as it is until the transaction ends; raises NotFound."""
        found = await tx.execute(
            select(offices).where(offices.c.id == office_id).with_for_update(read=True)
        )
        return _existing(found.mappings().first())

    async def locked_of_admin(self, tx: Transaction, user_id: uuid.UUID) -> Office | None:
        """The office that a person administers, locked until the transaction ends, if there is one."""
        found = await tx.execute(
            select(offices)
            .join(agents, agents.c.id == offices.c.admin_agent_id)
            .where(agents.c.user_id == user_id)
            .with_for_update(of=offices)
        )
        row = found.mappings().first()
        return None if row is None else _office(row)

    async def add(self, tx: Transaction, **columns: Any) -> Office:
        """A new office; raises AlreadyExists when its founder has one."""
        added = await tx.execute(
            upsert(offices)
            .values(id=new_id(), office_status=OfficeStatus.PENDING_VERIFICATION, **columns)
            .on_conflict_do_nothing(index_elements=[offices.c.admin_agent_id])
            .returning(offices)
        )
        row = added.mappings().first()
        if row is None:
            raise AlreadyExists("You have founded an office already.")
        return _office(row)

    async def change(
        self,
        tx: Transaction,
        office: Office,
        changes: Mapping[str, Any],
        changed_by: str,
        reason: str | None = None,
    ) -> Office:
        """Write `changes` to `office` and to its history; raises StaleVersion when it changed since it was read, and
        AlreadyExists when it is to have an admin who has another.
        """
        try:
            changed = await tx.execute(
                update(offices)
                .where(offices.c.id == office.id, offices.c.version == office.version)
                .values(**changes, version=offices.c.version + 1, updated_at=func.now())
                .returning(offices)
            )
        except IntegrityError as error:
            raise AlreadyExists("She administers another office.") from error
        row = changed.mappings().first()
        if row is None:
            raise StaleVersion
        noted = history.rows(office, changes, changed_by, reason, office_id=office.id)
        if noted:
            await tx.execute(insert(office_history), noted)
        return _office(row)

    async def invite(
        self, tx: Transaction, office: Office, whom: Mapping[str, Any], invited_by: str
    ) -> Invitation:
        """A new invitation; raises AlreadyExists while another one waits for an answer."""
        added = await tx.execute(
            upsert(invitations)
            .values(
                id=new_id(),
                office_id=office.id,
                status=InvitationStatus.OPEN,
                invited_by=invited_by,
                **whom,
            )
            .on_conflict_do_nothing()
            .returning(invitations.c.id)
        )
        invitation_id = added.scalar()
        if invitation_id is None:
            raise AlreadyExists("She is invited already: her answer is awaited.")
        found = await tx.execute(_INVITATIONS.where(invitations.c.id == invitation_id))
        return _invitation(found.mappings().one())

    async def invitations_of(
        self, office_id: uuid.UUID, *, before: uuid.UUID | None, limit: int
    ) -> list[Invitation]:
        """The office's open invitations, newest first, beginning after the id `before`."""
        rows = await self._database.fetch(
            _OF_OFFICE, {"office_id": office_id, "before": before or _LAST, "limit": limit}
        )
        return [_invitation(row) for row in rows]

    async def invitations_for(
        self, agent_id: uuid.UUID, phone: str, *, before: uuid.UUID | None, limit: int
    ) -> list[Invitation]:
        """The open invitations of an agent who has `phone`, newest first, beginning after the id `before`."""
        rows = await self._database.fetch(
            _OF_AGENT,
            {"agent_id": agent_id, "phone": phone, "before": before or _LAST, "limit": limit},
        )
        return [_invitation(row) for row in rows]

    async def locked_invitation(self, tx: Transaction, invitation_id: uuid.UUID) -> Invitation:
        """The invitation, locked until the transaction ends; raises NotFound."""
        found = await tx.execute(
            _INVITATIONS.where(invitations.c.id == invitation_id).with_for_update(of=invitations)
        )
        row = found.mappings().first()
        if row is None:
            raise no_invitation()
        return _invitation(row)

    async def answer(
        self, tx: Transaction, invitation: Invitation, status: InvitationStatus
    ) -> Invitation:
        """Note how `invitation`, which is locked, was answered."""
        await tx.execute(
            update(invitations)
            .where(invitations.c.id == invitation.id)
            .values(status=status, answered_at=func.now())
        )
        found = await tx.execute(_INVITATIONS.where(invitations.c.id == invitation.id))
        return _invitation(found.mappings().one())

    async def take_back(
        self, tx: Transaction, office_id: uuid.UUID, invitation_id: uuid.UUID
    ) -> None:
        """Delete an open invitation; raises NotFound."""
        gone = await tx.execute(
            delete(invitations)
            .where(invitations.c.id == invitation_id, invitations.c.office_id == office_id, _OPEN)
            .returning(invitations.c.id)
        )
        if gone.scalar() is None:
            raise no_invitation()


def not_found() -> NotFound:
    return NotFound("There is no such office.")


def no_invitation() -> NotFound:
    return NotFound("There is no such invitation.")


def _existing(row: Any) -> Office:
    if row is None:
        raise not_found()
    return _office(row)


def _office(row: Any) -> Office:
    return Office(**{**row, "office_status": OfficeStatus(row["office_status"])})


def _invitation(row: Any) -> Invitation:
    return Invitation(**{**row, "status": InvitationStatus(row["status"])})
