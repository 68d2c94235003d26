"""What other services tell of people: who became an agent or a builder, and who no longer is one.

An event about a user we don't have raises NotFound, so that it ends among the dead letters rather than unnoticed.
"""

import uuid
from collections.abc import Mapping

from google.protobuf.message import Message

from auth_service.users.domain import AGENT, BUILDER, OFFICE_ADMIN
from auth_service.users.service import UserService
from chassis.database import Transaction
from chassis.events import Handler
from propmubi.agents.v1.events_pb2 import (
    AgentOfficeChanged,
    AgentSuspended,
    AgentVerified,
    OfficeAdminChanged,
    OfficeVerified,
)
from propmubi.common.v1.event_pb2 import Event
from propmubi.projects.v1.events_pb2 import BuilderSuspended, BuilderVerified


class UserConsumers:
    """Handlers of events, each within the transaction of its inbox."""

    def __init__(self, service: UserService) -> None:
        self._service = service
        self.of_agents: Mapping[type[Message], Handler] = {
            AgentVerified: self.agent_verified,
            AgentSuspended: self.agent_suspended,
            AgentOfficeChanged: self.agent_office_changed,
            OfficeVerified: self.office_verified,
            OfficeAdminChanged: self.office_admin_changed,
        }
        self.of_projects: Mapping[type[Message], Handler] = {
            BuilderVerified: self.builder_verified,
            BuilderSuspended: self.builder_suspended,
        }

    async def agent_verified(self, tx: Transaction, payload: AgentVerified, _event: Event) -> None:
        await self._service.grant(
            tx,
            uuid.UUID(payload.user_id),
            AGENT,
            "event:agents",
            agent_id=uuid.UUID(payload.agent_id),
            office_id=uuid.UUID(payload.office_id) if payload.HasField("office_id") else None,
        )

    async def agent_suspended(
        self, tx: Transaction, payload: AgentSuspended, _event: Event
    ) -> None:
        user_id = uuid.UUID(payload.user_id)
        await self._service.revoke(
            tx, user_id, AGENT, "event:agents", agent_id=None, office_id=None
        )

    async def agent_office_changed(
        self, tx: Transaction, payload: AgentOfficeChanged, _event: Event
    ) -> None:
        office_id = uuid.UUID(payload.office_id) if payload.HasField("office_id") else None
        await self._service.set_office(
            tx, uuid.UUID(payload.user_id), AGENT, "event:agents", office_id
        )

    async def office_verified(
        self, tx: Transaction, payload: OfficeVerified, _event: Event
    ) -> None:
        user_id, office_id = uuid.UUID(payload.user_id), uuid.UUID(payload.office_id)
        await self._service.grant(tx, user_id, OFFICE_ADMIN, "event:agents", office_id=office_id)

    async def office_admin_changed(
        self, tx: Transaction, payload: OfficeAdminChanged, _event: Event
    ) -> None:
        """The former admin stays in the office; her tokens, which say that she administers it, are refused at once."""
        former, user_id = uuid.UUID(payload.former_user_id), uuid.UUID(payload.user_id)
        office_id = uuid.UUID(payload.office_id)
        await self._service.revoke(tx, former, OFFICE_ADMIN, "event:agents")
        await self._service.grant(tx, user_id, OFFICE_ADMIN, "event:agents", office_id=office_id)

    async def builder_verified(
        self, tx: Transaction, payload: BuilderVerified, _event: Event
    ) -> None:
        builder_id, user_id = uuid.UUID(payload.builder_id), uuid.UUID(payload.user_id)
        await self._service.grant(tx, user_id, BUILDER, "event:projects", builder_id=builder_id)

    async def builder_suspended(
        self, tx: Transaction, payload: BuilderSuspended, _event: Event
    ) -> None:
        user_id = uuid.UUID(payload.user_id)
        await self._service.revoke(tx, user_id, BUILDER, "event:projects", builder_id=None)
