"""What happens to a unit or a project, happens to its listings (domain.md, flows 3 and 6), and to what finds them."""

import uuid
from collections.abc import Mapping

from google.protobuf.message import Message

from agents_service.listings.domain import StandardStatus
from agents_service.listings.service import ListingService
from agents_service.search.service import SearchService
from chassis.database import Transaction
from chassis.events import Handler
from chassis.outbox import event_name
from propmubi.common.v1.event_pb2 import Event
from propmubi.projects.v1.events_pb2 import (
    BuilderRenamed,
    BuilderSuspended,
    BuilderVerified,
    ProjectLapsed,
    ProjectPublished,
    ProjectUpdated,
    UnitBooked,
    UnitHeld,
    UnitReleased,
)

FOLLOWS: Mapping[type[Message], StandardStatus] = {
    UnitHeld: StandardStatus.HOLD,
    UnitBooked: StandardStatus.PENDING,
    UnitReleased: StandardStatus.ACTIVE,
}


class ListingConsumers:
    """Handlers of events, each within the transaction of its inbox."""

    def __init__(self, service: ListingService, search: SearchService) -> None:
        self._service = service
        self._search = search
        self.of_projects: Mapping[type[Message], Handler] = {
            **dict.fromkeys(FOLLOWS, self.unit_moved),
            ProjectPublished: self.project_published,
            ProjectUpdated: self.project_updated,
            ProjectLapsed: self.project_lapsed,
            BuilderVerified: self.builder_verified,
            BuilderRenamed: self.builder_renamed,
            BuilderSuspended: self.builder_suspended,
        }

    async def unit_moved(
        self, tx: Transaction, payload: UnitHeld | UnitBooked | UnitReleased, _event: Event
    ) -> None:
        status = FOLLOWS[type(payload)]
        await self._service.follow_unit(tx, uuid.UUID(payload.unit_id), status, event_name(payload))

    async def project_lapsed(self, tx: Transaction, payload: ProjectLapsed, _event: Event) -> None:
        project_id, builder_id = uuid.UUID(payload.project_id), uuid.UUID(payload.builder_id)
        await self._service.leave_with_project(tx, project_id, event_name(payload))
        await self._search.forget_project(tx, project_id, builder_id)

    async def project_published(
        self, tx: Transaction, payload: ProjectPublished, _event: Event
    ) -> None:
        if not payload.project_name:
            return  # Told by a version that named nothing.
        builder_id = uuid.UUID(payload.builder_id)
        await self._search.name_project(
            tx, uuid.UUID(payload.project_id), builder_id, payload.project_name, payload.city
        )
        await self._search.name_builder(tx, builder_id, payload.builder_name)

    async def project_updated(
        self, tx: Transaction, payload: ProjectUpdated, _event: Event
    ) -> None:
        await self._search.rename_project(
            tx,
            uuid.UUID(payload.project_id),
            uuid.UUID(payload.builder_id),
            payload.project_name,
            payload.city,
        )

    async def builder_verified(
        self, tx: Transaction, payload: BuilderVerified, _event: Event
    ) -> None:
        if payload.builder_name:
            builder_id = uuid.UUID(payload.builder_id)
            await self._search.name_builder(tx, builder_id, payload.builder_name)

    async def builder_renamed(
        self, tx: Transaction, payload: BuilderRenamed, _event: Event
    ) -> None:
        await self._search.rename_builder(tx, uuid.UUID(payload.builder_id), payload.builder_name)

    async def builder_suspended(
        self, tx: Transaction, payload: BuilderSuspended, _event: Event
    ) -> None:
        await self._search.forget_builder(tx, uuid.UUID(payload.builder_id))
