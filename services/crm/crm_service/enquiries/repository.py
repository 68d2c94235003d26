"""The SQL of enquiries: one statement makes leads, unless there are some to add to."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ARRAY, DateTime, Text, Uuid, bindparam, func, or_, select, text, update
from sqlalchemy.types import TypeEngine

from chassis.database import Database, Transaction
from chassis.ids import new_id
from crm_service.activities.models import activities
from crm_service.enquiries.domain import Enquiry, NewLead
from crm_service.leads.domain import Lead, LeadStage, Owner
from crm_service.leads.models import HOLDS_TARGET, UNASSIGNED, contacts, leads
from crm_service.leads.repository import LEADS, lead_of

_COLUMNS: Mapping[str, TypeEngine[Any]] = {
    "contact_id": Uuid(),
    "lead_id": Uuid(),
    "activity_id": Uuid(),
    "notice_id": Uuid(),
    "account_id": Uuid(),
    "phone": Text(),
    "full_name": Text(),
    "target_kind": Text(),
    "target_id": Uuid(),
    "source": Text(),
    "sub_source": Text(),
    "campaign": Text(),
    "owner_agent_id": Uuid(),
    "owner_builder_id": Uuid(),
    "stage": Text(),
    "sla_due_at": DateTime(timezone=True),
    "text": Text(),
    "reference": Text(),
}

# Contacts, leads, first activities and the owners' notices in one round trip, an array for each column. It makes
# nothing of an enquiry whose person has a lead for the target that is open or lost, in the owner's account, in none,
# or, where the owner is not known, in any; and nothing when the owner is suspended. Two of it at once meet at the
# unique indexes: the second waits for the first and then makes nothing. They lock contacts in one order, so that
# neither waits for the other.
_ADD = text(f"""
    with enquiry as (
        select * from unnest({", ".join(f":{name}" for name in _COLUMNS)}) as enquiry ({", ".join(_COLUMNS)})
        where not exists (
            select from leads
            where contact_id = any(array(select id from contacts where contacts.phone = enquiry.phone))
            and target_id = enquiry.target_id and leads.stage not in ('booked', 'junk')
            and (enquiry.account_id is null or leads.account_id is null or leads.account_id = enquiry.account_id)
        )
        and not exists (select from suspended_agents where agent_id = enquiry.owner_agent_id)
    ), contact as (
        insert into contacts (id, account_id, phone, full_name)
        select distinct on (phone, account_id) contact_id, account_id, phone, full_name
        from enquiry order by phone, account_id
        on conflict (phone, account_id) do update set phone = excluded.phone
        returning id, account_id, phone
    ), lead as (
        insert into leads (id, contact_id, account_id, target_kind, target_id, source, sub_source, campaign,
            owner_agent_id, owner_builder_id, stage, sla_due_at)
        select lead_id, contact.id, enquiry.account_id, target_kind, target_id, source, sub_source, campaign,
            owner_agent_id, owner_builder_id, stage, sla_due_at
        from enquiry join contact using (phone)
        where contact.account_id is not distinct from enquiry.account_id
        on conflict (contact_id, target_id) where stage not in ('booked', 'junk') do nothing
        returning id
    ), activity as (
        insert into activities (id, lead_id, kind, text, to_stage, reference)
        select activity_id, lead_id, 'message', text, stage, reference
        from enquiry join lead on lead.id = enquiry.lead_id
    ), notice as (
        insert into notices (id, lead_id, agent_id)
        select notice_id, lead_id, owner_agent_id
        from enquiry join lead on lead.id = enquiry.lead_id where owner_agent_id is not null
    )
    select id from lead
    """).bindparams(  # noqa: S608  Its names are those above.
    *(bindparam(name, type_=ARRAY(kind)) for name, kind in _COLUMNS.items())
)

_WAITING = (
    select(leads.c.id, leads.c.target_id)
    .where(
        UNASSIGNED,
        leads.c.target_kind == bindparam("target_kind"),
        leads.c.assign_after <= func.now(),
    )
    .order_by(leads.c.assign_after)
    .limit(bindparam("limit"))
)


class EnquiryRepository:
    """Enquiries in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, tx: Transaction, new: Sequence[NewLead]) -> set[uuid.UUID]:
        """Make leads with their contacts and first activities; which of them were made.

        Not made is the lead of a person who has one already, or whose owner is suspended. No two of `new` may be of
        one person and target.
        """
        rows = [_row(lead) for lead in new]
        made = await tx.run(_ADD, {name: [row[name] for row in rows] for name in _COLUMNS})
        return {row["id"] for row in made}

    async def existing(self, tx: Transaction, enquiry: Enquiry, owner: Owner | None) -> Lead | None:
        """The lead that `enquiry` adds to, locked until the transaction ends."""
        statement = LEADS.where(
            contacts.c.phone == enquiry.phone,
            leads.c.target_id == enquiry.target_id,
            HOLDS_TARGET,
        )
        if owner is not None:
            account = leads.c.account_id
            statement = statement.where(or_(account.is_(None), account == owner.account_id))
        found = await tx.execute(
            statement.order_by(leads.c.account_id.is_(None), leads.c.id.desc())
            .limit(1)
            .with_for_update(of=leads)
        )
        row = found.mappings().first()
        return None if row is None else lead_of(row)

    async def known(self, tx: Transaction, enquiry: Enquiry) -> uuid.UUID | None:
        """The lead that the same external id of the same person made or added to before, whatever became of it."""
        if enquiry.reference is None:
            return None
        found = await tx.execute(
            select(leads.c.id)
            .join(activities, activities.c.lead_id == leads.c.id)
            .join(contacts, contacts.c.id == leads.c.contact_id)
            .where(
                activities.c.reference == enquiry.reference,
                leads.c.target_id == enquiry.target_id,
                contacts.c.phone == enquiry.phone,
            )
            .limit(1)
        )
        lead_id: uuid.UUID | None = found.scalar()
        return lead_id

    async def waiting(self, target_kind: str, limit: int) -> list[tuple[uuid.UUID, uuid.UUID]]:
        """Open leads without an owner whose turn it is, each with its target, the longest waiting first."""
        rows = await self._database.fetch(_WAITING, {"target_kind": target_kind, "limit": limit})
        return [(row["id"], row["target_id"]) for row in rows]

    async def ask_again_in(self, tx: Transaction, lead_id: uuid.UUID, seconds: float) -> None:
        await tx.execute(
            update(leads)
            .where(leads.c.id == lead_id)
            .values(assign_after=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds))
        )


def _row(new: NewLead) -> dict[str, Any]:
    enquiry, owner = new.enquiry, new.owner
    return {
        "contact_id": new_id(),
        "lead_id": new.id,
        "activity_id": new_id(),
        "notice_id": new_id(),
        "account_id": owner and owner.account_id,
        "phone": enquiry.phone,
        "full_name": enquiry.full_name,
        "target_kind": enquiry.target_kind,
        "target_id": enquiry.target_id,
        "source": enquiry.source,
        "sub_source": enquiry.sub_source,
        "campaign": enquiry.campaign,
        "owner_agent_id": owner and owner.agent_id,
        "owner_builder_id": owner and owner.builder_id,
        "stage": LeadStage.ASSIGNED if owner else LeadStage.NEW,
        "sla_due_at": new.due if owner else None,
        "text": enquiry.text,
        "reference": enquiry.reference,
    }
