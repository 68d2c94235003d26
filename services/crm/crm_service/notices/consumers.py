"""An agent who was given a lead is to be told."""

import uuid
from collections.abc import Mapping

from google.protobuf.message import Message

from chassis.database import Transaction
from chassis.events import Handler
from crm_service.notices.service import NoticeService
from propmubi.common.v1.event_pb2 import Event
from propmubi.crm.v1.events_pb2 import LeadAssigned


class NoticeConsumers:
    """Handlers of events, each within the transaction of its inbox."""

    def __init__(self, service: NoticeService) -> None:
        self._service = service
        self.of_crm: Mapping[type[Message], Handler] = {LeadAssigned: self.lead_assigned}

    async def lead_assigned(self, tx: Transaction, payload: LeadAssigned, _event: Event) -> None:
        lead_id, agent_id = uuid.UUID(payload.lead_id), uuid.UUID(payload.owner_agent_id)
        await self._service.write_down(tx, lead_id, agent_id)
