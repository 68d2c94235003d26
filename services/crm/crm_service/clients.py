"""The agents and projects services, as crm asks them."""

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

import grpc

from chassis.coalesce import Coalescer
from chassis.errors import DomainError, NotFound, Unavailable
from chassis.grpc_client import TokenSource, outgoing
from crm_service.leads.domain import Owner
from crm_service.notices.domain import Registered
from propmubi.agents.v1 import agents_pb2, listings_pb2
from propmubi.agents.v1.agents_pb2_grpc import AgentServiceStub
from propmubi.agents.v1.events_pb2 import AgentOfficeChanged, AgentSuspended
from propmubi.agents.v1.listings_pb2_grpc import ListingServiceStub
from propmubi.common.v1.event_pb2 import Event
from propmubi.projects.v1 import builders_pb2, projects_pb2
from propmubi.projects.v1.events_pb2 import BuilderSuspended
from propmubi.projects.v1.projects_pb2_grpc import ProjectServiceStub

# An enquiry does not wait longer: its lead is stored and assigned later.
SECONDS = 1.5
# A listing or a project seldom changes hands, and events tell at once.
REMEMBERED_SECONDS = 30.0
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class TargetOwner:
    """Who answers for a listing or a project. `public`: whether anybody may enquire about it."""

    public: bool
    owner: Owner
    active: bool
    # Empty where we are not told it.
    phone: str
    summary: str


class Owners(ABC):
    """Who answers for targets of one kind, remembered for REMEMBERED_SECONDS or until an event tells of them."""

    # The names of events about owners themselves that change who answers, or for which account.
    of_owners: ClassVar[Collection[str]]

    def __init__(self) -> None:
        self._remembered: dict[uuid.UUID, tuple[float, TargetOwner]] = {}
        # How often something was told: who was asked for before is not remembered after.
        self._told = 0

    def heed(self, event: Event) -> None:
        """Forget the target that `event` tells of, or all of the owner that it tells of."""
        self._told += 1
        about = uuid.UUID(event.aggregate_id)
        self._remembered.pop(about, None)
        if event.payload.TypeName() in self.of_owners:
            self._remembered = {
                target_id: known
                for target_id, known in self._remembered.items()
                if about not in (known[1].owner.agent_id, known[1].owner.builder_id)
            }

    def on_gap(self, behind: bool) -> None:
        """What may have been told and not heard is forgotten."""
        if behind:
            self._told += 1
            self._remembered.clear()

    async def owner_of(self, target_id: uuid.UUID) -> TargetOwner:
        """Who answers for the target, as of the last REMEMBERED_SECONDS.

        Raises NotFound when there is no such target, Unavailable when its service can't tell.
        """
        known = self._remembered.get(target_id)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        told = self._told
        owner = await self.owner_now(target_id)
        # What would refuse an enquiry or leave it without an owner is asked anew each time.
        if owner.public and owner.active and told == self._told:
            self._remembered.pop(target_id, None)
            if len(self._remembered) >= REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[target_id] = (time.monotonic() + REMEMBERED_SECONDS, owner)
        return owner

    @abstractmethod
    async def owner_now(self, target_id: uuid.UUID) -> TargetOwner:
        """Like `owner_of`, from the target's service itself."""


class Agents(Owners):
    """Who owns a listing, and who an agent is."""

    of_owners = (AgentOfficeChanged.DESCRIPTOR.full_name, AgentSuspended.DESCRIPTOR.full_name)

    def __init__(self, channel: grpc.aio.Channel, own_token: TokenSource) -> None:
        super().__init__()
        self._listings = ListingServiceStub(outgoing(channel, token=own_token))
        self._agents = AgentServiceStub(outgoing(channel, token=own_token))
        self._owners = Coalescer(
            "owners of listings", self._batch_get, seconds=SECONDS, in_flight=1
        )

    async def owner_now(self, target_id: uuid.UUID) -> TargetOwner:
        try:
            owner = await self._owners.get(target_id)
        except TimeoutError as error:
            raise _away("agents") from error
        if owner is None:
            raise NotFound("There is no such listing.")
        return owner

    async def _batch_get(self, listing_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, TargetOwner]:
        request = listings_pb2.BatchGetListingOwnersRequest(listing_ids=map(str, listing_ids))
        try:
            answer = await self._listings.BatchGetListingOwners(request, timeout=SECONDS)
        except (DomainError, grpc.aio.AioRpcError) as error:
            raise _away("agents") from error
        return {uuid.UUID(found.listing_id): _owner(found) for found in answer.owners}

    async def active(self, agent_id: uuid.UUID) -> Owner:
        """The active agent of that id; raises NotFound when there is none, Unavailable when agents can't tell."""
        agent = await self._agent(agent_id)
        if agent.status != agents_pb2.AGENT_STATUS_ACTIVE:
            raise NotFound("There is no such active agent.")
        return Owner(agent_id, _id_or_none(agent.office_id))

    async def phone_of(self, agent_id: uuid.UUID) -> str:
        """Where leads reach the agent, empty when we are not told; raises NotFound and Unavailable."""
        return (await self._agent(agent_id)).member_mobile_phone

    async def registered(self, agent_id: uuid.UUID) -> Registered:
        """Where the agent is reached, and until when she is registered; raises NotFound and Unavailable."""
        agent = await self._agent(agent_id)
        return Registered(agent.member_mobile_phone, date.fromisoformat(agent.rera_valid_to))

    async def _agent(self, agent_id: uuid.UUID) -> agents_pb2.Agent:
        request = agents_pb2.GetAgentRequest(agent_id=str(agent_id))
        try:
            return await self._agents.GetAgent(request, timeout=SECONDS)
        except NotFound:
            raise
        except (DomainError, grpc.aio.AioRpcError) as error:
            raise _away("agents") from error


class Projects(Owners):
    """Whose a project is."""

    of_owners = (BuilderSuspended.DESCRIPTOR.full_name,)

    def __init__(self, channel: grpc.aio.Channel, own_token: TokenSource) -> None:
        super().__init__()
        self._projects = ProjectServiceStub(outgoing(channel, token=own_token))

    async def owner_now(self, target_id: uuid.UUID) -> TargetOwner:
        request = projects_pb2.GetProjectOwnerRequest(project_id=str(target_id))
        try:
            found = await self._projects.GetProjectOwner(request, timeout=SECONDS)
        except NotFound:
            raise
        except (DomainError, grpc.aio.AioRpcError) as error:
            raise _away("projects") from error
        return TargetOwner(
            public=found.public,
            owner=Owner(None, None, uuid.UUID(found.builder_id)),
            active=found.builder_status == builders_pb2.BUILDER_STATUS_ACTIVE,
            phone="",
            summary=found.summary,
        )


def _owner(found: listings_pb2.ListingOwner) -> TargetOwner:
    return TargetOwner(
        public=found.public,
        owner=Owner(uuid.UUID(found.agent_id), _id_or_none(found.office_id)),
        active=found.agent_status == agents_pb2.AGENT_STATUS_ACTIVE,
        phone=found.member_mobile_phone,
        summary=found.summary,
    )


def _away(whose: str) -> Unavailable:
    return Unavailable(f"The directory of {whose} can't be reached just now: try again.")


def _id_or_none(value: str) -> uuid.UUID | None:
    return uuid.UUID(value) if value else None
