"""What can be added to a lead's timeline, and by whom."""

import uuid

from chassis.database import Transaction
from chassis.errors import InvalidArgument, Violation
from chassis.identity import Principal
from chassis.protobuf import fill, timestamp
from crm_service.activities.domain import RESPONSES, Activity, ActivityKind
from crm_service.activities.repository import ActivityRepository
from crm_service.leads.domain import Lead
from crm_service.leads.repository import LeadRepository
from crm_service.leads.service import LeadService
from propmubi.crm.v1.events_pb2 import LeadResponded


class ActivityService:
    """The use cases of activities. Each write takes the transaction that its caller opened."""

    def __init__(
        self, activities: ActivityRepository, leads: LeadRepository, pipeline: LeadService
    ) -> None:
        self._activities = activities
        self._leads = leads
        self._pipeline = pipeline

    async def list_page(
        self, caller: Principal, lead_id: uuid.UUID, *, before: uuid.UUID | None, limit: int
    ) -> list[Activity]:
        """A page of the timeline of a lead that `caller` may see."""
        await self._pipeline.get(caller, lead_id)
        return await self._activities.list_page(lead_id, before=before, limit=limit)

    async def add(
        self, tx: Transaction, caller: Principal, lead_id: uuid.UUID, kind: ActivityKind, text: str
    ) -> tuple[Activity, Lead | None]:
        """Write down what `caller` did; and the lead, if this is the first response, which stops its clock."""
        if kind is ActivityKind.SYSTEM:
            raise InvalidArgument(Violation("kind", "system is the platform's own: choose another"))
        if not text.strip():
            raise InvalidArgument(Violation("text", "must not be blank"))
        lead = await self._pipeline.locked(tx, caller, lead_id)
        activity = await self._activities.add(tx, lead.id, kind, text, user_id=caller.user_id)
        if kind in RESPONSES and lead.is_owned and lead.first_responded_at is None:
            at = activity.created_at
            answered = await self._leads.change(tx, lead, first_responded_at=at)
            event = LeadResponded(responded_at=timestamp(at))
            fill(event, lead, "owner_agent_id", "owner_builder_id", lead_id=lead.id)
            hers = lead.owner_agent_id is not None and lead.owner_agent_id == caller.agent_id
            seconds = self._pipeline.seconds_until(lead, at) if hers else None
            if seconds is not None:
                event.response_seconds = seconds
            tx.publish(event, lead.id)
            return activity, answered
        return activity, None
