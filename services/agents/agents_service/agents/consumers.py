"""What auth tells of people: who is to be forgotten, or left alone."""

import uuid
from collections.abc import Mapping

from google.protobuf.message import Message

from agents_service.agents.service import AgentService
from agents_service.offices.service import OfficeService
from agents_service.saved_searches.service import SavedSearchService
from chassis import idempotency
from chassis.database import Transaction
from chassis.events import Handler
from propmubi.auth.v1.consents_pb2 import ConsentPurpose
from propmubi.auth.v1.events_pb2 import ConsentWithdrawn, UserErased
from propmubi.common.v1.event_pb2 import Event

AUTH = "event:auth"


class PeopleConsumers:
    """Handlers of events, each within the transaction of its inbox."""

    def __init__(
        self, agents: AgentService, offices: OfficeService, searches: SavedSearchService
    ) -> None:
        self._agents = agents
        self._offices = offices
        self._searches = searches
        self.of_auth: Mapping[type[Message], Handler] = {
            UserErased: self.user_erased,
            ConsentWithdrawn: self.consent_withdrawn,
        }

    async def user_erased(self, tx: Transaction, payload: UserErased, _event: Event) -> None:
        await self._agents.forget(tx, uuid.UUID(payload.user_id), AUTH)
        phones = sorted((payload.phone, *payload.former_phones))
        for phone in phones:
            await self._offices.forget(tx, phone)
        await self._searches.forget(tx, uuid.UUID(payload.user_id))
        await idempotency.forget(tx.connection, payload.user_id, *phones)

    async def consent_withdrawn(
        self, tx: Transaction, payload: ConsentWithdrawn, _event: Event
    ) -> None:
        """Alerts have no channel of their own: withdrawn for one, they end."""
        if payload.purpose == ConsentPurpose.CONSENT_PURPOSE_ALERTS:
            await self._searches.silence(tx, uuid.UUID(payload.user_id))
