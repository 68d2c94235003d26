"""What other services tell of people: who became an agent or a builder, and who no longer is one.

An event about a user we don't have raises NotFound, so that it ends among the dead letters rather than unnoticed.
"""

import uuid
from collections.abc import Mapping

from google.protobuf.message import Message

from auth_service.users.domain import AGENT, BUILDER
from auth_service.users.service import UserService
from chassis.database import Transaction
from chassis.events import Handler
from propmubi.agents.v1.events_pb2 import AgentSuspended, AgentVerified
from propmubi.common.v1.event_pb2 import Event
from propmubi.projects.v1.events_pb2 import BuilderSuspended, BuilderVerified


class UserConsumers:
    """Handlers of the events of agents and projects."""

    def __init__(self, users: UserService) -> None:
        self._users = users

    @property
    def of_agents(self) -> Mapping[type[Message], Handler]:
        return {AgentVerified: self.agent_verified, AgentSuspended: self.agent_suspended}

    @property
    def of_projects(self) -> Mapping[type[Message], Handler]:
        return {BuilderVerified: self.builder_verified, BuilderSuspended: self.builder_suspended}

    async def agent_verified(self, tx: Transaction, told: AgentVerified, _event: Event) -> None:
        await self._users.grant(
            tx,
            uuid.UUID(told.user_id),
            AGENT,
            "event:agents",
            agent_id=uuid.UUID(told.agent_id),
            office_id=uuid.UUID(told.office_id) if told.HasField("office_id") else None,
        )

    async def agent_suspended(self, tx: Transaction, told: AgentSuspended, _event: Event) -> None:
        user_id = uuid.UUID(told.user_id)
        await self._users.revoke(tx, user_id, AGENT, "event:agents", agent_id=None, office_id=None)

    async def builder_verified(self, tx: Transaction, told: BuilderVerified, _event: Event) -> None:
        builder_id, user_id = uuid.UUID(told.builder_id), uuid.UUID(told.user_id)
        await self._users.grant(tx, user_id, BUILDER, "event:projects", builder_id=builder_id)

    async def builder_suspended(
        self, tx: Transaction, told: BuilderSuspended, _event: Event
    ) -> None:
        user_id = uuid.UUID(told.user_id)
        await self._users.revoke(tx, user_id, BUILDER, "event:projects", builder_id=None)
