"""Enquiring: whose lead it becomes, and what becomes of the ones nobody owns yet."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from google.protobuf.message import Message

from chassis.database import Transaction
from chassis.errors import Conflict, InvalidArgument, NotFound, Unavailable, Violation
from chassis.ids import new_id
from chassis.outbox import NewEvent
from chassis.protobuf import timestamp
from crm_service.activities.domain import ActivityKind
from crm_service.activities.repository import ActivityRepository
from crm_service.clients import Agents
from crm_service.enquiries.domain import Enquiry, NewLead
from crm_service.enquiries.repository import EnquiryRepository
from crm_service.leads.domain import Lead, LeadStage, Owner
from crm_service.leads.repository import LeadRepository
from crm_service.leads.service import LeadService
from propmubi.crm.v1.events_pb2 import LeadAssigned, LeadCreated

# How often a lead may be closed, or its owner suspended, while an enquiry about it is being added.
ATTEMPTS = 3

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A lead that is not stored yet, and what the other services are told once it is."""

    lead: NewLead
    events: tuple[NewEvent, ...]


class EnquiryService:
    """The use cases of enquiries. Each write takes the transaction that its caller opened."""

    def __init__(
        self,
        enquiries: EnquiryRepository,
        leads: LeadRepository,
        activities: ActivityRepository,
        pipeline: LeadService,
        agents: Agents,
    ) -> None:
        self._enquiries = enquiries
        self._leads = leads
        self._activities = activities
        self._pipeline = pipeline
        self._agents = agents

    async def owner_of(self, enquiry: Enquiry) -> Owner | None:
        """Who is to answer: the listing's agent; None when she is not active or can't be asked for.

        Raises InvalidArgument when nobody may enquire about the listing. To be asked outside any transaction.
        """
        if enquiry.target_kind != "listing":
            return None  # Projects can't be asked yet whose they are.
        try:
            found = await self._agents.owner_of(enquiry.target_id)
        except NotFound:
            found = None
        except Unavailable:
            log.warning("owner unknown, lead stays unassigned", listing_id=str(enquiry.target_id))
            return None
        if found is None or not found.public:
            raise InvalidArgument(Violation("listing_id", "must be the id of a public listing"))
        return found.owner if found.active else None

    def draft(self, enquiry: Enquiry, owner: Owner | None) -> "Draft":
        """The lead that `enquiry` is to become, in the name of the current call."""
        lead = NewLead(new_id(), enquiry, owner, self._pipeline.due_from_now())
        lead_id = str(lead.id)
        told: list[Message] = [LeadCreated(lead_id=lead_id)]
        if owner is not None:
            due = timestamp(lead.due)
            agent_id = str(owner.agent_id)
            told.append(LeadAssigned(lead_id=lead_id, owner_agent_id=agent_id, sla_due_at=due))
        return Draft(lead, tuple(NewEvent.of(payload, lead.id) for payload in told))

    async def add(self, tx: Transaction, drafts: Sequence["Draft"]) -> "list[Draft]":
        """Make the leads of `drafts`; which were made. The others are for `enquire`: their persons may have leads."""
        # Of one person and target the first goes.
        first = {
            (each.lead.enquiry.phone, each.lead.enquiry.target_id): each
            for each in reversed(drafts)
        }
        made = await self._enquiries.add(tx, [draft.lead for draft in first.values()])
        added = [draft for draft in drafts if draft.lead.id in made]
        for draft in added:
            tx.publish_all(draft.events)
        return added

    async def enquire(
        self, tx: Transaction, enquiry: Enquiry, owner: Owner | None
    ) -> tuple[uuid.UUID, bool]:
        """The lead that `enquiry` made or added to, and whether it was there before."""
        known = await self._enquiries.known(tx, enquiry)
        if known is not None:
            return known, True
        for _ in range(ATTEMPTS):
            draft = self.draft(enquiry, owner)
            if await self.add(tx, [draft]):
                return draft.lead.id, False
            if owner is not None and await self._leads.is_suspended(tx, owner.agent_id):
                owner = None
            lead = await self._enquiries.existing(tx, enquiry, owner)
            if lead is not None:
                await self._add_to(tx, lead, enquiry, owner)
                return lead.id, True
        raise Unavailable("The lead is being changed by others just now: try again.")

    async def _add_to(
        self, tx: Transaction, lead: Lead, enquiry: Enquiry, owner: Owner | None
    ) -> None:
        await self._activities.add_once(
            tx, lead.id, ActivityKind.MESSAGE, enquiry.text, enquiry.reference
        )
        if lead.stage is LeadStage.LOST:
            await self._reengage(tx, lead, owner)
        elif owner is not None and lead.owner_agent_id is None:
            await self._pipeline.give(tx, lead, owner)

    async def _reengage(self, tx: Transaction, lead: Lead, owner: Owner | None) -> None:
        """Take up a lost lead again, by the listing's agent of today or else its owner of old, unless suspended."""
        stays = (
            lead.owner_agent_id is not None
            and (owner is None or owner.agent_id == lead.owner_agent_id)
            and not await self._leads.is_suspended(tx, lead.owner_agent_id)
        )
        lead = await self._pipeline.move(
            tx,
            lead,
            LeadStage.REENGAGED,
            "Enquired again.",
            lost_reason=None,
            first_responded_at=None,
            owner_agent_id=lead.owner_agent_id if stays else None,
            **self._pipeline.clock_from_now() if stays else {"sla_due_at": None},
        )
        if stays:
            await self._pipeline.announce(tx, lead)
        elif owner is not None:
            await self._pipeline.give(tx, lead, owner)

    async def owner_now(self, listing_id: uuid.UUID) -> Owner | None:
        """The owner of a lead that waits; None when there is no such listing. To be asked outside any transaction.

        Raises Conflict when she is not active, Unavailable when agents can't be asked.
        """
        try:
            found = await self._agents.owner_now(listing_id)
        except NotFound:
            return None
        if not found.active:
            raise Conflict("The listing's agent is not active.")
        return found.owner

    async def assign_later(self, tx: Transaction, lead_id: uuid.UUID, owner: Owner | None) -> None:
        """Give a lead that waited to `owner`, unless suspended (Conflict); None is for a listing that never was."""
        lead = await self._leads.locked(tx, lead_id)
        if lead.owner_agent_id is not None or not lead.is_open:
            return  # Somebody was quicker.
        if owner is None:
            await self._pipeline.move(
                tx, lead, LeadStage.JUNK, "There is no such listing.", lost_reason="no such listing"
            )
        else:
            await self._pipeline.give(tx, lead, owner)
