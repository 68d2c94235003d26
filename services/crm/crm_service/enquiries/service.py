"""Enquiring: whose lead it becomes, and what becomes of the ones nobody owns yet."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
from google.protobuf.message import Message

from chassis.database import Transaction
from chassis.errors import Conflict, InvalidArgument, NotFound, Unavailable, Violation
from chassis.ids import new_id
from chassis.outbox import NewEvent
from chassis.protobuf import fill, timestamp
from crm_service.activities.domain import ActivityKind
from crm_service.activities.repository import ActivityRepository
from crm_service.clients import Owners
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
        owners: Mapping[str, Owners],
    ) -> None:
        self._enquiries = enquiries
        self._leads = leads
        self._activities = activities
        self._pipeline = pipeline
        self._owners = owners

    async def owner_of(self, enquiry: Enquiry) -> Owner | None:
        """Who is to answer: the listing's agent, the project's builder; None when not active or not to be asked for.

        Raises InvalidArgument when nobody may enquire about the target. To be asked outside any transaction.
        """
        kind = enquiry.target_kind
        try:
            found = await self._owners[kind].owner_of(enquiry.target_id)
        except NotFound:
            found = None
        except Unavailable:
            log.warning("owner unknown, lead stays unassigned", target_id=str(enquiry.target_id))
            return None
        if found is None or not found.public:
            raise InvalidArgument(Violation(f"{kind}_id", f"must be the id of a public {kind}"))
        return found.owner if found.active else None

    def draft(self, enquiry: Enquiry, owner: Owner | None) -> Draft:
        """The lead that `enquiry` is to become, in the name of the current call."""
        lead = NewLead(new_id(), enquiry, owner, self._pipeline.due_from_now())
        lead_id = str(lead.id)
        told: list[Message] = [LeadCreated(lead_id=lead_id)]
        if owner is not None:
            assigned = LeadAssigned(sla_due_at=timestamp(lead.due))
            ids = {"owner_agent_id": owner.agent_id, "owner_builder_id": owner.builder_id}
            fill(assigned, lead, lead_id=lead.id, **ids)
            told.append(assigned)
        return Draft(lead, tuple(NewEvent.of(payload, lead.id) for payload in told))

    async def add(self, tx: Transaction, drafts: Sequence[Draft]) -> list[Draft]:
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
            if owner is not None and await self._is_suspended(tx, owner.agent_id):
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
        elif owner is not None and not lead.is_owned:
            await self._pipeline.give(tx, lead, owner)

    async def _reengage(self, tx: Transaction, lead: Lead, owner: Owner | None) -> None:
        """Take up a lost lead again, by its target's owner of today or else its owner of old, unless suspended."""
        stays = (
            lead.is_owned
            and (owner is None or owner.has(lead))
            and not await self._is_suspended(tx, lead.owner_agent_id)
        )
        lead = await self._pipeline.move(
            tx,
            lead,
            LeadStage.REENGAGED,
            "Enquired again.",
            lost_reason=None,
            first_responded_at=None,
            owner_agent_id=lead.owner_agent_id if stays else None,
            owner_builder_id=lead.owner_builder_id if stays else None,
            **self._pipeline.clock_from_now() if stays else {"sla_due_at": None},
        )
        if stays:
            await self._pipeline.announce(tx, lead)
        elif owner is not None:
            await self._pipeline.give(tx, lead, owner)

    async def _is_suspended(self, tx: Transaction, agent_id: uuid.UUID | None) -> bool:
        return agent_id is not None and await self._leads.is_suspended(tx, agent_id)

    async def owner_now(self, target_kind: str, target_id: uuid.UUID) -> Owner | None:
        """The owner of a lead that waits; None when there is no such target. To be asked outside any transaction.

        Raises Conflict when the owner is not active, Unavailable when it can't be asked for.
        """
        try:
            found = await self._owners[target_kind].owner_now(target_id)
        except NotFound:
            return None
        if not found.active:
            raise Conflict(f"The {target_kind}'s owner is not active.")
        return found.owner

    async def assign_later(self, tx: Transaction, lead_id: uuid.UUID, owner: Owner | None) -> None:
        """Give a lead that waited to `owner`, unless suspended (Conflict); None is for a target that never was."""
        lead = await self._leads.locked(tx, lead_id)
        if lead.is_owned or not lead.is_open:
            return  # Somebody was quicker.
        if owner is None:
            reason = f"no such {lead.target_kind}"
            await self._pipeline.move(
                tx, lead, LeadStage.JUNK, f"There is {reason}.", lost_reason=reason
            )
        else:
            await self._pipeline.give(tx, lead, owner)
