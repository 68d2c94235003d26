"""What becomes active or cheaper, waits to be matched with saved searches (domain.md, flow 2)."""

import uuid
from collections.abc import Mapping

from google.protobuf.message import Message

from agents_service.saved_searches.domain import Reason
from agents_service.saved_searches.service import SavedSearchService
from chassis.database import Transaction
from chassis.events import Handler
from propmubi.agents.v1.events_pb2 import ListingPriceChanged, ListingPublished
from propmubi.common.v1.event_pb2 import Event


class SavedSearchConsumers:
    """Handlers of this service's own events, so that no agent waits for the matching of what she publishes, nor
    an event for those before it.
    """

    def __init__(self, service: SavedSearchService) -> None:
        self._service = service
        self.of_agents: Mapping[type[Message], Handler] = {
            ListingPublished: self.published,
            ListingPriceChanged: self.price_changed,
        }

    async def published(self, tx: Transaction, payload: ListingPublished, _event: Event) -> None:
        await self._service.offer(tx, uuid.UUID(payload.listing.id), Reason.NEW)

    async def price_changed(
        self, tx: Transaction, payload: ListingPriceChanged, _event: Event
    ) -> None:
        if payload.listing.list_price < payload.from_price:
            await self._service.offer(tx, uuid.UUID(payload.listing.id), Reason.CHEAPER)
