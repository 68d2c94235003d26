"""What other services' events do to leads."""

import uuid
from collections.abc import Mapping

import structlog
from google.protobuf.message import Message

from chassis import idempotency
from chassis.database import Transaction
from chassis.errors import NotFound
from chassis.events import Handler
from chassis.protobuf import moment
from crm_service.leads.domain import Lead
from crm_service.leads.service import LeadService
from propmubi.agents.v1.events_pb2 import AgentSuspended, AgentVerified
from propmubi.auth.v1.consents_pb2 import ConsentPurpose
from propmubi.auth.v1.events_pb2 import ConsentGranted, ConsentWithdrawn, UserErased
from propmubi.common.v1.event_pb2 import Event
from propmubi.projects.v1.events_pb2 import UnitBooked, UnitHeld, UnitReleased

log = structlog.get_logger()


class LeadConsumers:
    """Handlers of events, each within the transaction of its inbox."""

    def __init__(self, service: LeadService) -> None:
        self._service = service
        self.of_projects: Mapping[type[Message], Handler] = {
            UnitHeld: self.unit_held,
            UnitReleased: self.unit_released,
            UnitBooked: self.unit_booked,
        }
        self.of_agents: Mapping[type[Message], Handler] = {
            AgentSuspended: self.agent_suspended,
            AgentVerified: self.agent_verified,
        }
        self.of_auth: Mapping[type[Message], Handler] = {
            UserErased: self.user_erased,
            ConsentGranted: self.consent_changed,
            ConsentWithdrawn: self.consent_changed,
        }

    async def unit_held(self, tx: Transaction, payload: UnitHeld, _event: Event) -> None:
        if lead := await self._lead(tx, payload.lead_id):
            await self._service.hold(tx, lead, moment(payload.expires_at))

    async def unit_released(self, tx: Transaction, payload: UnitReleased, _event: Event) -> None:
        if lead := await self._lead(tx, payload.lead_id):
            await self._service.release(tx, lead)

    async def unit_booked(self, tx: Transaction, payload: UnitBooked, _event: Event) -> None:
        if lead := await self._lead(tx, payload.lead_id):
            await self._service.book(tx, lead)

    async def agent_suspended(
        self, tx: Transaction, payload: AgentSuspended, _event: Event
    ) -> None:
        await self._service.suspend_owner(tx, uuid.UUID(payload.agent_id))

    async def agent_verified(self, tx: Transaction, payload: AgentVerified, _event: Event) -> None:
        await self._service.reinstate_owner(tx, uuid.UUID(payload.agent_id))

    async def user_erased(self, tx: Transaction, payload: UserErased, _event: Event) -> None:
        phones = sorted((payload.phone, *payload.former_phones))
        for phone in phones:
            await self._service.forget(tx, phone)
        await idempotency.forget(tx.connection, payload.user_id, *phones)

    async def consent_changed(
        self, tx: Transaction, payload: ConsentGranted | ConsentWithdrawn, _event: Event
    ) -> None:
        """Agents follow up by whatever channel: withdrawn for one, they leave her alone until she consents anew."""
        if payload.purpose == ConsentPurpose.CONSENT_PURPOSE_ENQUIRY_FOLLOW_UP:
            withdrawn = isinstance(payload, ConsentWithdrawn)
            await self._service.set_do_not_disturb(tx, payload.phone, withdrawn)

    async def _lead(self, tx: Transaction, lead_id: str) -> Lead | None:
        """The lead that an event names, locked, if it names one of ours."""
        if not lead_id:
            return None
        try:
            return await self._service.read(tx, uuid.UUID(lead_id))
        except NotFound:
            log.warning("event names a lead that is not ours", lead_id=lead_id)
            return None
