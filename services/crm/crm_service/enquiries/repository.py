"""The SQL of enquiries: one statement makes a lead, unless there is one to add to."""

import uuid
from datetime import datetime

from sqlalchemy import DateTime, Text, Uuid, bindparam, func, or_, select, text, update

from chassis.database import Database, Transaction
from chassis.ids import new_id
from crm_service.activities.models import activities
from crm_service.enquiries.domain import Enquiry
from crm_service.leads.domain import Lead, LeadStage, Owner
from crm_service.leads.models import HOLDS_TARGET, UNASSIGNED, contacts, leads
from crm_service.leads.repository import LEADS, lead_of

# Contact, lead, first activity and the owner's notice in one round trip. It makes nothing when the person has a lead for the target that
# is open or lost, in the owner's account, in none, or, where the owner is not known, in any; and nothing when the owner
# is suspended. Two of it at once meet at the unique indexes: the second waits for the first and then makes nothing.
_ADD = text("""
    with contact as (
        insert into contacts (id, account_id, phone, full_name)
        select :contact_id, :account_id, :phone, :full_name
        where not exists (
            select from leads join contacts on contacts.id = leads.contact_id
            where contacts.phone = :phone and leads.target_id = :target_id
            and leads.stage not in ('booked', 'junk')
            and (:account_id is null or leads.account_id is null or leads.account_id = :account_id)
        )
        and not exists (select from suspended_agents where agent_id = :owner_agent_id)
        on conflict (phone, account_id) do update set phone = excluded.phone
        returning id
    ), lead as (
        insert into leads (id, contact_id, account_id, target_kind, target_id, source, sub_source, campaign,
            owner_agent_id, stage, sla_due_at)
        select :lead_id, id, :account_id, :target_kind, :target_id, :source, :sub_source, :campaign,
            :owner_agent_id, :stage, :sla_due_at
        from contact
        on conflict (contact_id, target_id) where stage not in ('booked', 'junk') do nothing
        returning id
    ), activity as (
        insert into activities (id, lead_id, kind, text, to_stage, reference)
        select :activity_id, id, 'message', :text, :stage, :reference from lead
    ), notice as (
        insert into notices (id, lead_id, agent_id)
        select :notice_id, id, :owner_agent_id from lead where :owner_agent_id is not null
    )
    select id from lead
    """).bindparams(
    *(
        bindparam(name, type_=Uuid())
        for name in (
            "contact_id",
            "account_id",
            "lead_id",
            "target_id",
            "owner_agent_id",
            "activity_id",
            "notice_id",
        )
    ),
    *(
        bindparam(name, type_=Text())
        for name in (
            "phone",
            "full_name",
            "target_kind",
            "source",
            "sub_source",
            "campaign",
            "stage",
            "text",
            "reference",
        )
    ),
    bindparam("sla_due_at", type_=DateTime(timezone=True)),
)

_WAITING = (
    select(leads.c.id, leads.c.target_id)
    .where(
        UNASSIGNED,
        leads.c.assign_after <= func.now(),
    )
    .order_by(leads.c.assign_after)
    .limit(bindparam("limit"))
)


class EnquiryRepository:
    """Enquiries in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self, tx: Transaction, enquiry: Enquiry, owner: Owner | None, due: datetime
    ) -> uuid.UUID | None:
        """A new lead with its contact and first activity; None when the person has one already, or `owner` is
        suspended.
        """
        added = await tx.run(
            _ADD,
            {
                "contact_id": new_id(),
                "lead_id": new_id(),
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
                "stage": LeadStage.ASSIGNED if owner else LeadStage.NEW,
                "sla_due_at": due if owner else None,
                "text": enquiry.text,
                "reference": enquiry.reference,
            },
        )
        return added[0]["id"] if added else None

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

    async def waiting(self, limit: int) -> list[tuple[uuid.UUID, uuid.UUID]]:
        """Open leads without an owner whose turn it is, each with its listing, the longest waiting first."""
        rows = await self._database.fetch(_WAITING, {"limit": limit})
        return [(row["id"], row["target_id"]) for row in rows]

    async def ask_again_in(self, tx: Transaction, lead_id: uuid.UUID, seconds: float) -> None:
        await tx.execute(
            update(leads)
            .where(leads.c.id == lead_id)
            .values(assign_after=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds))
        )
