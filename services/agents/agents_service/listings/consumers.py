"""What happens to a unit or a project, happens to its listings (domain.md, flows 3 and 6)."""

import uuid
from collections.abc import Mapping

from google.protobuf.message import Message

from agents_service.listings.domain import StandardStatus
from agents_service.listings.service import ListingService
from chassis.database import Transaction
from chassis.events import Handler
from chassis.outbox import event_name
from propmubi.common.v1.event_pb2 import Event
from propmubi.projects.v1.events_pb2 import ProjectLapsed, UnitBooked, UnitHeld, UnitReleased

FOLLOWS: Mapping[type[Message], StandardStatus] = {
    UnitHeld: StandardStatus.HOLD,
    UnitBooked: StandardStatus.PENDING,
    UnitReleased: StandardStatus.ACTIVE,
}


class ListingConsumers:
    """Handlers of events, each within the transaction of its inbox."""

    def __init__(self, service: ListingService) -> None:
        self._service = service
        self.of_projects: Mapping[type[Message], Handler] = {
            **dict.fromkeys(FOLLOWS, self.unit_moved),
            ProjectLapsed: self.project_lapsed,
        }

    async def unit_moved(
        self, tx: Transaction, payload: UnitHeld | UnitBooked | UnitReleased, _event: Event
    ) -> None:
        status = FOLLOWS[type(payload)]
        await self._service.follow_unit(tx, uuid.UUID(payload.unit_id), status, event_name(payload))

    async def project_lapsed(self, tx: Transaction, payload: ProjectLapsed, _event: Event) -> None:
        await self._service.leave_with_project(
            tx, uuid.UUID(payload.project_id), event_name(payload)
        )
