"""What others tell of people: auth, who is to be forgotten; crm, how soon agents answer."""

import uuid
from collections.abc import Mapping

from google.protobuf.message import Message

from agents_service.agents.service import AgentService
from agents_service.offices.service import OfficeService
from agents_service.saved_searches.service import SavedSearchService
from chassis import idempotency
from chassis.database import Transaction
from chassis.events import Handler
from chassis.protobuf import moment
from propmubi.auth.v1.events_pb2 import UserErased
from propmubi.common.v1.event_pb2 import Event
from propmubi.crm.v1.events_pb2 import LeadResponded

AUTH = "event:auth"


class PeopleConsumers:
    """Handlers of events, each within the transaction of its inbox."""

    def __init__(
        self, agents: AgentService, offices: OfficeService, searches: SavedSearchService
    ) -> None:
        self._agents = agents
        self._offices = offices
        self._searches = searches
        self.of_auth: Mapping[type[Message], Handler] = {UserErased: self.user_erased}
        self.of_crm: Mapping[type[Message], Handler] = {LeadResponded: self.lead_responded}

    async def user_erased(self, tx: Transaction, payload: UserErased, _event: Event) -> None:
        user_id = uuid.UUID(payload.user_id)
        phones = sorted((payload.phone, *payload.former_phones))
        # Her office before herself, as its suspension takes them.
        await self._offices.forget(tx, user_id, phones, AUTH)
        await self._agents.forget(tx, user_id, AUTH)
        await self._searches.forget(tx, user_id)
        await idempotency.forget(tx.connection, payload.user_id, *phones)

    async def lead_responded(self, tx: Transaction, payload: LeadResponded, _event: Event) -> None:
        if payload.HasField("response_seconds"):
            await self._agents.note_answer(
                tx,
                uuid.UUID(payload.owner_agent_id),
                moment(payload.responded_at),
                payload.response_seconds,
            )
