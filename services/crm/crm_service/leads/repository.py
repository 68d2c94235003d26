"""The SQL of leads."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    Text,
    Uuid,
    bindparam,
    delete,
    func,
    literal,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from chassis.database import Database, Transaction
from chassis.errors import Conflict, NotFound, StaleVersion
from chassis.ids import new_id
from crm_service.leads.domain import OPEN, Contact, Lead, LeadStage, Requirement
from crm_service.leads.models import contacts, leads, suspended_agents

# What a person is called whose data was erased.
ERASED = "Erased"

LEADS = select(*leads.c, contacts.c.full_name, contacts.c.phone, contacts.c.do_not_disturb).join(
    contacts
)
REQUIREMENT = ("bhk", "budget_min", "budget_max", "localities", "possession")
COUNTED_UP_TO = 1000

_STAGES = bindparam("stages", type_=ARRAY(Text))
_GET = LEADS.where(leads.c.id == bindparam("id"))
_GET_MANY = LEADS.where(leads.c.id == func.any(bindparam("ids", type_=ARRAY(Uuid))))


class LeadRepository:
    """Leads and their contacts in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, lead_id: uuid.UUID) -> Lead:
        """The lead; raises NotFound."""
        return _existing(await self._database.fetch_one(_GET, {"id": lead_id}))

    async def get_many(self, lead_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Lead]:
        """Leads by their ids."""
        rows = await self._database.fetch(_GET_MANY, {"ids": [*lead_ids]})
        return {row["id"]: lead_of(row) for row in rows}

    async def list_page(
        self,
        own: Mapping[str, uuid.UUID],
        *,
        stages: Sequence[LeadStage],
        before: uuid.UUID | None,
        limit: int,
    ) -> list[Lead]:
        """The leads whose columns have the values of `own`, newest first, beginning after the id `before`."""
        statement = LEADS.where(*_own(own))
        if stages:
            statement = statement.where(leads.c.stage == func.any(_STAGES))
        if before is not None:
            statement = statement.where(leads.c.id < bindparam("before"))
        rows = await self._database.fetch(
            statement.order_by(leads.c.id.desc()).limit(bindparam("limit")),
            {**own, "stages": [*stages], "before": before, "limit": limit},
            key=("leads.list_page", *own, bool(stages), before is not None),
        )
        return [lead_of(row) for row in rows]

    async def count_by_stage(self, own: Mapping[str, uuid.UUID]) -> dict[LeadStage, int]:
        """How many leads of `own` are in each stage, counted up to COUNTED_UP_TO."""
        stage = func.unnest(_STAGES).table_valued("stage", name="wanted").render_derived()
        some = (
            select(literal(1).label("one"))
            .where(leads.c.stage == stage.c.stage, *_own(own))
            .limit(COUNTED_UP_TO)
            .lateral()
        )
        rows = await self._database.fetch(
            select(stage.c.stage, func.count().label("count"))
            .select_from(stage)
            .join(some, true())
            .group_by(stage.c.stage),
            {**own, "stages": [*LeadStage]},
            key=("leads.count_by_stage", *own),
        )
        return {LeadStage(row["stage"]): row["count"] for row in rows}

    async def newest_by_stage(self, own: Mapping[str, uuid.UUID], limit: int) -> list[Lead]:
        """The newest `limit` leads of `own` in each stage."""
        stage = func.unnest(_STAGES).table_valued("stage", name="wanted").render_derived()
        newest = (
            LEADS.where(leads.c.stage == stage.c.stage, *_own(own))
            .order_by(leads.c.id.desc())
            .limit(bindparam("limit"))
            .lateral()
        )
        rows = await self._database.fetch(
            select(newest).select_from(stage).join(newest, true()).order_by(newest.c.id.desc()),
            {**own, "stages": [*LeadStage], "limit": limit},
            key=("leads.newest_by_stage", *own),
        )
        return [lead_of(row) for row in rows]

    async def locked(self, tx: Transaction, lead_id: uuid.UUID) -> Lead:
        """The lead, locked until the transaction ends; raises NotFound."""
        found = await tx.execute(LEADS.where(leads.c.id == lead_id).with_for_update(of=leads))
        return _existing(found.mappings().first())

    async def open_of(self, tx: Transaction, agent_id: uuid.UUID) -> list[uuid.UUID]:
        """The open leads that an agent owns, locked until the transaction ends."""
        found = await tx.execute(
            select(leads.c.id)
            .where(leads.c.owner_agent_id == agent_id, leads.c.stage.in_(OPEN))
            .order_by(leads.c.id)
            .with_for_update()
        )
        return [row.id for row in found]

    async def change(
        self, tx: Transaction, lead: Lead, *, contact: Contact | None = None, **changes: Any
    ) -> Lead:
        """Write `changes` to `lead`, and make it the lead of another `contact`.

        Raises StaleVersion when it changed since it was read, Conflict when its person has another open lead for its
        target in the account it would come to.
        """
        if contact is not None:
            changes["contact_id"] = contact.id
        if "requirement" in changes:
            wanted: Requirement | None = changes.pop("requirement")
            changes |= {name: getattr(wanted, name, None) for name in REQUIREMENT}
        try:
            changed = await tx.execute(
                update(leads)
                .where(leads.c.id == lead.id, leads.c.version == lead.version)
                .values(**changes, version=leads.c.version + 1, updated_at=func.now())
                .returning(*leads.c)
            )
        except IntegrityError as error:
            if "leads_contact_target" not in str(error.orig):
                raise
            raise Conflict(
                "There is an open lead of the same person for the same target."
            ) from error
        row = changed.mappings().first()
        if row is None:
            raise StaleVersion
        return lead_of(row, contact or lead.contact)

    async def contact_in(self, tx: Transaction, account_id: uuid.UUID, contact: Contact) -> Contact:
        """The same person as `account_id` knows her, made known to it where she is not."""
        found = await tx.execute(
            upsert(contacts)
            .values(
                id=new_id(),
                account_id=account_id,
                phone=contact.phone,
                full_name=contact.full_name,
                do_not_disturb=contact.do_not_disturb,
            )
            .on_conflict_do_update(
                index_elements=[contacts.c.phone, contacts.c.account_id],
                set_={"phone": contact.phone},
            )
            .returning(
                contacts.c.id,
                contacts.c.full_name,
                contacts.c.phone,
                contacts.c.do_not_disturb,
            )
        )
        return Contact(**found.mappings().one())

    async def of_phone(self, tx: Transaction, phone: str) -> list[Lead]:
        """The leads of whoever has `phone`, in every account, locked until the transaction ends."""
        found = await tx.execute(
            LEADS.where(contacts.c.phone == phone).order_by(leads.c.id).with_for_update(of=leads)
        )
        return [lead_of(row) for row in found.mappings()]

    async def mask(self, tx: Transaction, phone: str, lead_ids: Sequence[uuid.UUID]) -> None:
        """Forget who had `phone`, and what she looked for by these leads of hers."""
        await tx.execute(
            update(leads)
            .where(leads.c.id == func.any(bindparam("ids")))
            .values(dict.fromkeys(REQUIREMENT)),
            {"ids": [*lead_ids]},
        )
        await tx.execute(
            update(contacts)
            .where(contacts.c.phone == phone)
            .values(
                phone=func.concat("erased:", contacts.c.id),
                full_name=ERASED,
                do_not_disturb=True,
            )
        )

    async def set_do_not_disturb(self, tx: Transaction, phone: str, wanted: bool) -> None:
        """Whether whoever has `phone` is to be left alone, by every account that knows her."""
        await tx.execute(
            update(contacts).where(contacts.c.phone == phone).values(do_not_disturb=wanted)
        )

    async def disown(self, tx: Transaction, lead_ids: Sequence[uuid.UUID]) -> None:
        """Leave leads without an owner; the next look for one begins at once."""
        await tx.execute(
            update(leads)
            .where(leads.c.id == func.any(bindparam("ids")))
            .values(
                owner_agent_id=None,
                sla_due_at=None,
                assign_after=func.now(),
                version=leads.c.version + 1,
                updated_at=func.now(),
            ),
            {"ids": [*lead_ids]},
        )

    async def suspend(self, tx: Transaction, agent_id: uuid.UUID) -> None:
        """The agent is to get no leads. Nobody else writes leads until the transaction ends, so that none that is being
        given to her now escapes `open_of`.
        """
        await tx.execute(text("lock table leads in exclusive mode"))
        await tx.execute(
            upsert(suspended_agents).values(agent_id=agent_id).on_conflict_do_nothing()
        )

    async def reinstate(self, tx: Transaction, agent_id: uuid.UUID) -> None:
        await tx.execute(delete(suspended_agents).where(suspended_agents.c.agent_id == agent_id))

    async def is_suspended(self, tx: Transaction, agent_id: uuid.UUID) -> bool:
        found = await tx.execute(
            select(literal(1)).where(suspended_agents.c.agent_id == agent_id).limit(1)
        )
        return found.first() is not None


def lead_of(row: Any, contact: Contact | None = None) -> Lead:
    """The lead in a row of LEADS, or in one of its table where its `contact` is known."""
    requirement = (
        Requirement(
            bhk=tuple(row["bhk"]),
            budget_min=row["budget_min"],
            budget_max=row["budget_max"],
            localities=tuple(row["localities"]),
            possession=row["possession"],
        )
        if row["bhk"] is not None
        else None
    )
    return Lead(
        id=row["id"],
        contact=contact
        or Contact(
            id=row["contact_id"],
            full_name=row["full_name"],
            phone=row["phone"],
            do_not_disturb=row["do_not_disturb"],
        ),
        account_id=row["account_id"],
        target_kind=row["target_kind"],
        target_id=row["target_id"],
        source=row["source"],
        sub_source=row["sub_source"],
        campaign=row["campaign"],
        requirement=requirement,
        score=row["score"],
        owner_agent_id=row["owner_agent_id"],
        owner_builder_id=row["owner_builder_id"],
        stage=LeadStage(row["stage"]),
        lost_reason=row["lost_reason"],
        assigned_at=row["assigned_at"],
        sla_due_at=row["sla_due_at"],
        first_responded_at=row["first_responded_at"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def not_found() -> NotFound:
    return NotFound("There is no such lead.")


def _existing(row: Any) -> Lead:
    if row is None:
        raise not_found()
    return lead_of(row)


def _own(own: Mapping[str, uuid.UUID]) -> list[Any]:
    return [leads.c[column] == bindparam(column) for column in own]
