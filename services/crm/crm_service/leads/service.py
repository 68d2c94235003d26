"""What can be done with leads, and by whom."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from chassis.database import Transaction
from chassis.errors import Conflict, InvalidArgument, NotFound, Violation, check_version
from chassis.identity import Principal
from chassis.india import INDIA
from chassis.protobuf import fill
from crm_service.activities.domain import ActivityKind
from crm_service.activities.repository import ActivityRepository
from crm_service.business_hours import BusinessHours
from crm_service.clients import Agents
from crm_service.leads.domain import (
    Lead,
    LeadStage,
    Owner,
    check_move,
    check_move_by_hand,
    check_open,
    check_requirement,
)
from crm_service.leads.repository import LeadRepository, not_found
from crm_service.notices.repository import NoticeRepository
from propmubi.crm.v1.events_pb2 import LeadAssigned, LeadStageChanged

BOARD_COLUMN = 10


class LeadService:
    """The use cases of leads. Each write takes the transaction that its caller opened."""

    def __init__(
        self,
        leads: LeadRepository,
        activities: ActivityRepository,
        notices: NoticeRepository,
        agents: Agents,
        *,
        hours: BusinessHours,
        first_response: timedelta,
    ) -> None:
        self._leads = leads
        self._activities = activities
        self._notices = notices
        self._agents = agents
        self._hours = hours
        self._first_response = first_response

    async def get(self, caller: Principal, lead_id: uuid.UUID) -> Lead:
        """The lead, if `caller` may see it; raises NotFound."""
        lead = await self._leads.get(lead_id)
        if not sees(caller, lead):
            raise not_found()
        return lead

    async def read(self, tx: Transaction, lead_id: uuid.UUID) -> Lead:
        """The lead, locked, whoever asks; raises NotFound."""
        return await self._leads.locked(tx, lead_id)

    async def list_page(
        self,
        caller: Principal,
        *,
        owner_agent_id: uuid.UUID | None,
        stages: Sequence[LeadStage],
        before: uuid.UUID | None,
        limit: int,
    ) -> list[Lead]:
        """A page of the caller's pipeline."""
        own = _own(caller, owner_agent_id)
        if own is None:
            return []
        return await self._leads.list_page(own, stages=stages, before=before, limit=limit)

    async def board(
        self, caller: Principal, owner_agent_id: uuid.UUID | None
    ) -> dict[LeadStage, tuple[int, list[Lead]]]:
        """The caller's pipeline by stage: how many leads, and the newest of them."""
        own = _own(caller, owner_agent_id)
        if own is None:
            return {}
        counts = await self._leads.count_by_stage(own)
        newest = await self._leads.newest_by_stage(own, BOARD_COLUMN)
        return {
            stage: (counts[stage], [lead for lead in newest if lead.stage is stage])
            for stage in LeadStage
            if stage in counts
        }

    async def locked(self, tx: Transaction, caller: Principal, lead_id: uuid.UUID) -> Lead:
        """The lead for `caller` to work on, locked; raises NotFound when it is not hers."""
        lead = await self._leads.locked(tx, lead_id)
        if not works_on(caller, lead):
            raise not_found()
        return lead

    async def update(
        self,
        tx: Transaction,
        caller: Principal,
        lead_id: uuid.UUID,
        changes: Mapping[str, Any],
        expected_version: int | None,
    ) -> Lead:
        """Change requirement and score."""
        lead = await self.locked(tx, caller, lead_id)
        check_version(expected_version, lead.version)
        if changes.get("requirement") is not None:
            check_requirement(changes["requirement"])
        return await self._leads.change(tx, lead, **changes)

    async def set_stage(
        self,
        tx: Transaction,
        caller: Principal,
        lead_id: uuid.UUID,
        to: LeadStage,
        lost_reason: str | None,
    ) -> Lead:
        """Move a lead by hand."""
        lead = await self.locked(tx, caller, lead_id)
        check_move_by_hand(lead.stage, to, lost_reason)
        text = f"Moved from {lead.stage} to {to}" + (f": {lost_reason}" if lost_reason else ".")
        return await self.move(tx, lead, to, text, user_id=caller.user_id, lost_reason=lost_reason)

    async def assignable(self, caller: Principal, agent_id: uuid.UUID) -> Owner:
        """The agent, if `caller` may give her leads; raises InvalidArgument. To be asked outside any transaction."""
        try:
            owner = await self._agents.active(agent_id)
        except NotFound as error:
            raise InvalidArgument(
                Violation("owner_agent_id", "must be an active agent's")
            ) from error
        if not caller.is_admin and owner.office_id != caller.office_id:
            raise InvalidArgument(
                Violation("owner_agent_id", "must be an active agent's of your office")
            )
        return owner

    async def assign(
        self, tx: Transaction, caller: Principal, lead_id: uuid.UUID, owner: Owner
    ) -> Lead:
        """Give an open lead to `owner`, whom `assignable` found."""
        lead = await self._leads.locked(tx, lead_id)
        if not sees(caller, lead):
            raise not_found()
        if lead.owner_agent_id == owner.agent_id:
            raise Conflict("The lead is hers already.", reason="ALREADY_EXISTS")
        return await self.give(tx, lead, owner, user_id=caller.user_id)

    async def give(
        self, tx: Transaction, lead: Lead, owner: Owner, *, user_id: uuid.UUID | None = None
    ) -> Lead:
        """Make `owner` the one who answers an open, locked lead, and start her clock.

        Raises Conflict while she is suspended.
        """
        check_open(lead)
        if owner.agent_id and await self._leads.is_suspended(tx, owner.agent_id):
            raise Conflict("The agent is suspended.")
        changes: dict[str, Any] = {
            "owner_agent_id": owner.agent_id,
            "owner_builder_id": owner.builder_id,
            **self.clock_from_now(),
        }
        if lead.account_id != owner.account_id:
            contact = await self._leads.contact_in(tx, owner.account_id, lead.contact)
            changes |= {"account_id": owner.account_id, "contact": contact}
        if lead.stage is LeadStage.NEW:
            text = "Assigned to the builder." if owner.builder_id else "Assigned to an agent."
            lead = await self.move(tx, lead, LeadStage.ASSIGNED, text, user_id=user_id, **changes)
        else:
            lead = await self._leads.change(tx, lead, **changes)
            text = "Assigned to another agent."
            await self._activities.add(tx, lead.id, ActivityKind.SYSTEM, text, user_id=user_id)
        await self.announce(tx, lead)
        return lead

    async def move(
        self,
        tx: Transaction,
        lead: Lead,
        to: LeadStage,
        text: str,
        *,
        user_id: uuid.UUID | None = None,
        **changes: Any,
    ) -> Lead:
        """Move a locked lead: the row, the timeline and the event at once."""
        check_move(lead.stage, to)
        after = await self._leads.change(tx, lead, stage=to, **changes)
        await self._activities.add(
            tx,
            lead.id,
            ActivityKind.SYSTEM,
            text,
            user_id=user_id,
            from_stage=lead.stage,
            to_stage=to,
        )
        tx.publish(
            LeadStageChanged(lead_id=str(lead.id), from_stage=lead.stage, to_stage=to), lead.id
        )
        return after

    async def announce(self, tx: Transaction, lead: Lead) -> None:
        """`lead` has an owner, whose clock runs: tell the other services and, of an agent's, her."""
        assigned = LeadAssigned()
        fill(assigned, lead, "owner_agent_id", "owner_builder_id", "sla_due_at", lead_id=lead.id)
        tx.publish(assigned, lead.id)
        if lead.owner_agent_id is not None:
            await self._notices.add(tx, lead.id, lead.owner_agent_id)

    async def hold(self, tx: Transaction, lead: Lead, until: datetime) -> None:
        """A unit is held for the person: the timeline tells."""
        text = f"A unit is held for her until {until.astimezone(INDIA):%-d %b %Y, %H:%M} IST."
        await self._activities.add(tx, lead.id, ActivityKind.SYSTEM, text)

    async def release(self, tx: Transaction, lead: Lead) -> None:
        """The unit is free again."""
        text = "The unit held for her is free again."
        await self._activities.add(tx, lead.id, ActivityKind.SYSTEM, text)

    async def book(self, tx: Transaction, lead: Lead) -> None:
        """The person booked a unit. What happened can't be refused: a closed lead stays as it is, and tells."""
        if lead.is_open:
            await self.move(tx, lead, LeadStage.BOOKED, "A unit was booked.")
        else:
            text = f"A unit was booked, though the lead is {lead.stage}."
            await self._activities.add(tx, lead.id, ActivityKind.SYSTEM, text)

    async def suspend_owner(self, tx: Transaction, agent_id: uuid.UUID) -> None:
        """Take an agent's open leads from her, and give her none until she is reinstated."""
        await self._leads.suspend(tx, agent_id)
        lead_ids = await self._leads.open_of(tx, agent_id)
        await self._leads.disown(tx, lead_ids)
        text = "Its agent was suspended: it waits for another."
        await self._activities.add_to_all(tx, lead_ids, text)

    async def reinstate_owner(self, tx: Transaction, agent_id: uuid.UUID) -> None:
        await self._leads.reinstate(tx, agent_id)

    async def forget(self, tx: Transaction, phone: str) -> None:
        """Forget who had `phone`, by every account: her open leads are lost, and nobody is told her name or number."""
        hers = await self._leads.of_phone(tx, phone)
        for lead in hers:
            if lead.is_open:
                await self.move(
                    tx, lead, LeadStage.LOST, "She asked to be forgotten.", lost_reason="erased"
                )
        lead_ids = [lead.id for lead in hers]
        await self._leads.mask(tx, phone, lead_ids)
        await self._activities.mask(tx, lead_ids)

    async def set_do_not_disturb(self, tx: Transaction, phone: str, wanted: bool) -> None:
        """Whether whoever has `phone` is to be left alone."""
        await self._leads.set_do_not_disturb(tx, phone, wanted)

    def clock_from_now(self) -> dict[str, datetime]:
        """What a lead says of the first-response clock when it is given to somebody now."""
        return {"assigned_at": datetime.now(UTC), "sla_due_at": self.due_from_now()}

    def due_from_now(self) -> datetime:
        """When somebody who is given a lead now should have responded."""
        return self._hours.after(datetime.now(UTC), self._first_response)

    def seconds_until(self, lead: Lead, at: datetime) -> int | None:
        """What the first-response clock of an owned lead says at `at`; None where it is not known when it began."""
        if lead.assigned_at is None:
            return None
        return int(self._hours.between(lead.assigned_at, at).total_seconds())


def works_on(caller: Principal, lead: Lead) -> bool:
    """Whether the lead is the caller's own, or her office's when she administers it, or the builder's she acts for."""
    if caller.agent_id is not None and lead.owner_agent_id == caller.agent_id:
        return True
    if caller.builder_id is not None and lead.owner_builder_id == caller.builder_id:
        return True
    office_id = caller.administered_office_id
    return office_id is not None and lead.account_id == office_id


def sees(caller: Principal, lead: Lead) -> bool:
    """Whether `caller` may read the lead."""
    return caller.is_admin or works_on(caller, lead)


def _own(caller: Principal, owner_agent_id: uuid.UUID | None) -> dict[str, uuid.UUID] | None:
    """The columns that make a lead the caller's own, and the agent's whom she asked for; None when no lead can be. Who
    is both agent and builder asks as an agent.
    """
    own: dict[str, uuid.UUID] = {}
    if not caller.is_admin:
        office_id = caller.administered_office_id
        if office_id is not None:
            own["account_id"] = office_id
        elif caller.agent_id is not None:
            own["owner_agent_id"] = caller.agent_id
        elif caller.builder_id is not None:
            own["owner_builder_id"] = caller.builder_id
        else:
            return None
    if owner_agent_id is not None:
        if own.get("owner_agent_id", owner_agent_id) != owner_agent_id:
            return None
        own["owner_agent_id"] = owner_agent_id
    return own
