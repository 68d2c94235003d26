"""Crm over a real socket, with real Postgres and Valkey, and a small real server in place of its peers."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
import pytest_asyncio
from google.protobuf.message import Message

from chassis.errors import NotFound
from chassis.ids import new_id
from chassis.redis import stream_of
from chassis.sms import SmsSettings, open_sms
from chassis.status import to_status
from crm_service.__main__ import wire
from crm_service.settings import CrmSettings
from devstack.testing_service import Running, RunService, Tokens
from propmubi.agents.v1 import agents_pb2, agents_pb2_grpc, listings_pb2, listings_pb2_grpc
from propmubi.auth.v1 import auth_pb2, auth_pb2_grpc
from propmubi.common.v1.event_pb2 import Event
from propmubi.crm.v1.activities_pb2_grpc import ActivityServiceStub
from propmubi.crm.v1.leads_pb2_grpc import LeadServiceStub
from propmubi.projects.v1 import builders_pb2, projects_pb2, projects_pb2_grpc


@dataclass
class Agent:
    id: uuid.UUID = field(default_factory=new_id)
    office_id: uuid.UUID | None = None
    active: bool = True
    phone: str = "+919812345678"
    rera_valid_to: date = date(2090, 3, 31)


@dataclass
class Builder:
    id: uuid.UUID = field(default_factory=new_id)
    active: bool = True


class Peers(
    auth_pb2_grpc.AuthServiceServicer,
    listings_pb2_grpc.ListingServiceServicer,
    agents_pb2_grpc.AgentServiceServicer,
    projects_pb2_grpc.ProjectServiceServicer,
):
    """What crm needs of auth, agents and projects."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.agents: dict[str, Agent] = {}
        self.listings: dict[str, Agent] = {}
        self.projects: dict[str, Builder] = {}
        self.drafts: set[str] = set()
        self.asked = 0
        self.away = self.projects_away = False

    def add_agent(self, **about: Any) -> Agent:
        agent = Agent(**about)
        self.agents[str(agent.id)] = agent
        return agent

    def add_listing(self, agent: Agent, *, public: bool = True) -> str:
        listing_id = str(new_id())
        self.listings[listing_id] = agent
        if not public:
            self.drafts.add(listing_id)
        return listing_id

    def add_project(self, builder: "Builder", *, public: bool = True) -> str:
        project_id = str(new_id())
        self.projects[project_id] = builder
        if not public:
            self.drafts.add(project_id)
        return project_id

    async def IssueServiceToken(self, request: Any, context: Any) -> Any:  # noqa: N802
        return auth_pb2.IssueServiceTokenResponse(
            access_token=self.tokens.service(request.service_id), expires_in=600
        )

    async def BatchGetListingOwners(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked += 1
        token = dict(context.invocation_metadata())["authorization"].removeprefix("Bearer ")
        assert jwt.decode(token, options={"verify_signature": False})["sub"] == "service:crm"
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        return listings_pb2.BatchGetListingOwnersResponse(
            owners=[
                listings_pb2.ListingOwner(
                    listing_id=listing_id,
                    public=listing_id not in self.drafts,
                    agent_id=str(agent.id),
                    user_id=str(agent.id),
                    office_id=str(agent.office_id) if agent.office_id else None,
                    agent_status=status(agent),
                    member_mobile_phone=agent.phone,
                    summary="2 BHK in Wakad, Pune",
                )
                for listing_id in request.listing_ids
                if (agent := self.listings.get(listing_id))
            ]
        )

    async def GetAgent(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        agent = self.agents.get(request.agent_id)
        if agent is None or not agent.active:
            await refuse(context)
        assert agent is not None
        return agents_pb2.Agent(
            id=str(agent.id),
            office_id=str(agent.office_id) if agent.office_id else None,
            status=status(agent),
            member_mobile_phone=agent.phone,
            rera_valid_to=agent.rera_valid_to.isoformat(),
        )

    async def GetProjectOwner(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked += 1
        if self.projects_away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        builder = self.projects.get(request.project_id)
        if builder is None:
            await refuse(context)
        assert builder is not None
        active, suspended = (
            builders_pb2.BUILDER_STATUS_ACTIVE,
            builders_pb2.BUILDER_STATUS_SUSPENDED,
        )
        return projects_pb2.ProjectOwner(
            public=request.project_id not in self.drafts,
            builder_id=str(builder.id),
            user_id=str(builder.id),
            builder_status=active if builder.active else suspended,
            summary="Sahyadri Greens, Pune",
        )


def status(agent: Agent) -> "agents_pb2.AgentStatus.ValueType":
    return agents_pb2.AGENT_STATUS_ACTIVE if agent.active else agents_pb2.AGENT_STATUS_SUSPENDED


async def refuse(context: Any) -> None:
    code, message, details = to_status(NotFound("There is no such thing."))
    await context.abort(code, message, (("grpc-status-details-bin", details),))


@pytest.fixture
def sms_file(tmp_path: Path) -> Path:
    file = tmp_path / "sms.jsonl"
    file.touch()
    return file


@pytest.fixture
def sms_settings(sms_file: Path) -> SmsSettings:
    return SmsSettings.model_construct(
        sms_provider="file", sms_outbox_file=sms_file, sms_timeout_seconds=5.0
    )


@dataclass(frozen=True)
class Crm:
    """The service under test and what surrounds it."""

    running: Running
    peers: Peers
    tokens: Tokens

    def leads(self, token: str | None = None, **metadata: str) -> Any:
        return LeadServiceStub(self.running.caller(token, **metadata))

    def activities(self, token: str) -> Any:
        return ActivityServiceStub(self.running.caller(token))

    async def publish(
        self, source: str, payload: Message, aggregate_id: uuid.UUID, sequence: int
    ) -> None:
        """Put an event of another service into its stream, as its relay does."""
        event = Event(id=str(new_id()), aggregate_id=str(aggregate_id), sequence=sequence)
        event.payload.Pack(payload)
        redis = self.running.service.redis
        await redis.xadd(stream_of(source), {"event": event.SerializeToString()})

    def token_of(self, agent: Agent, *roles: str) -> str:
        office = {"office_id": agent.office_id} if agent.office_id else {}
        return self.tokens.person("agent", *roles, agent_id=agent.id, **office)


@pytest_asyncio.fixture
async def crm(
    run_service: RunService, tokens: Tokens, sms_settings: SmsSettings
) -> AsyncIterator[Crm]:
    peers = Peers(tokens)  # type: ignore[abstract]  # What crm does not call is unimplemented.
    server = grpc.aio.server()
    auth_pb2_grpc.add_AuthServiceServicer_to_server(peers, server)
    listings_pb2_grpc.add_ListingServiceServicer_to_server(peers, server)
    agents_pb2_grpc.add_AgentServiceServicer_to_server(peers, server)
    projects_pb2_grpc.add_ProjectServiceServicer_to_server(peers, server)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with (
        open_sms(sms_settings) as sms,
        run_service(
            "crm",
            partial(wire, sms=sms),
            CrmSettings,
            auth_target=target,
            agents_target=target,
            projects_target=target,
            sms_provider="file",
            assign_every_seconds=0.1,
            notify_every_seconds=0.1,
        ) as running,
    ):
        yield Crm(running, peers, tokens)
    await server.stop(None)
