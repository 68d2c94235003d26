"""What other services tell that agents are to be told by SMS."""

import uuid
from collections.abc import Mapping
from datetime import date

from google.protobuf.message import Message

from chassis.database import Transaction
from chassis.events import Handler
from crm_service.notices.repository import NoticeRepository
from propmubi.agents.v1.events_pb2 import AgentRegistrationExpiring
from propmubi.common.v1.event_pb2 import Event


class NoticeConsumers:
    """Handlers of events, each within the transaction of its inbox."""

    def __init__(self, notices: NoticeRepository) -> None:
        self._notices = notices
        self.of_agents: Mapping[type[Message], Handler] = {
            AgentRegistrationExpiring: self.registration_expiring
        }

    async def registration_expiring(
        self, tx: Transaction, payload: AgentRegistrationExpiring, _event: Event
    ) -> None:
        await self._notices.add_of_registration(
            tx, uuid.UUID(payload.agent_id), date.fromisoformat(payload.rera_valid_to)
        )
