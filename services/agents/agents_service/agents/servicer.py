"""AgentService on the wire: messages in, use cases, messages out."""

import uuid
from datetime import UTC, date, datetime
from typing import Any

from agents_service.agents.domain import Agent, AgentStatus
from agents_service.agents.service import AgentService, sees_all_of
from agents_service.clients import People
from chassis import idempotency
from chassis.context import principal, principal_or_none
from chassis.database import Database
from chassis.identity import Principal
from chassis.page_tokens import PageTokens
from chassis.protobuf import fill, masked, value, values
from propmubi.agents.v1 import agents_pb2 as pb
from propmubi.agents.v1 import agents_pb2_grpc

_PROFILE = (
    "member_full_name",
    "member_mobile_phone",
    "rera_agent_no",
    "rera_state",
    "rera_valid_to",
    "languages",
    "service_areas",
    "bio",
)
_PUBLIC = (
    "id",
    "user_id",
    "office_id",
    "verification_status",
    "status",
    "version",
    "created_at",
    "updated_at",
    *(name for name in _PROFILE if name != "member_mobile_phone"),
)


class AgentServicer(agents_pb2_grpc.AgentServiceServicer):
    """Serves propmubi.agents.v1.AgentService."""

    def __init__(
        self, database: Database, service: AgentService, people: People, page_tokens: PageTokens
    ) -> None:
        self._database = database
        self._service = service
        self._people = people
        self._page_tokens = page_tokens

    async def CreateAgent(self, request: pb.CreateAgentRequest, context: Any) -> pb.Agent:
        profile = _from_wire(values(request.agent, *_PROFILE))
        await idempotency.replay(self._database)
        phone = await self._people.phone_of_caller()
        async with self._database.transaction() as tx:
            agent = await self._service.apply(tx, principal(), profile, phone)
            return tx.reply(to_proto(agent, principal()))

    async def GetAgent(self, request: pb.GetAgentRequest, context: Any) -> pb.Agent:
        caller = principal_or_none()
        return to_proto(await self._service.get(caller, uuid.UUID(request.agent_id)), caller)

    async def ListAgents(
        self, request: pb.ListAgentsRequest, context: Any
    ) -> pb.ListAgentsResponse:
        caller = principal_or_none()
        page = self._page_tokens.page(request)
        wanted = values(request, "status", "office_id", "service_area", "language")
        office_id = wanted["office_id"]
        found = await self._service.list_page(
            caller,
            status=AgentStatus(wanted["status"] or AgentStatus.ACTIVE),
            office_id=office_id and uuid.UUID(office_id),
            service_area=wanted["service_area"],
            language=wanted["language"],
            before=page.last_id,
            limit=page.limit,
        )
        agents, token = page.cut(found, lambda agent: to_proto(agent, caller))
        return pb.ListAgentsResponse(agents=agents, next_page_token=token)

    async def UpdateAgent(self, request: pb.UpdateAgentRequest, context: Any) -> pb.Agent:
        changes = _from_wire(masked(request.agent, request.update_mask))
        expected, phone = value(request, "expected_version"), None
        if "member_mobile_phone" in changes:
            await idempotency.replay(self._database)
            phone = await self._people.phone_of_caller()
        async with self._database.transaction() as tx:
            agent = await self._service.update(
                tx,
                principal(),
                uuid.UUID(request.agent_id),
                changes,
                phone=phone,
                expected_version=expected,
            )
            return tx.reply(to_proto(agent, principal()))

    async def VerifyAgent(self, request: pb.VerifyAgentRequest, context: Any) -> pb.Agent:
        return await self._move(request, "verify")

    async def SuspendAgent(self, request: pb.SuspendAgentRequest, context: Any) -> pb.Agent:
        return await self._move(request, "suspend", request.reason)

    async def ReinstateAgent(self, request: pb.ReinstateAgentRequest, context: Any) -> pb.Agent:
        return await self._move(request, "reinstate")

    async def _move(self, request: Any, move: str, reason: str | None = None) -> pb.Agent:
        async with self._database.transaction() as tx:
            agent = await self._service.move(
                tx, principal(), uuid.UUID(request.agent_id), move, reason
            )
            return tx.reply(to_proto(agent, principal()))


def to_proto(agent: Agent, caller: Principal | None) -> pb.Agent:
    """`agent` as `caller` may see her."""
    message = pb.Agent()
    seconds = agent.median_response_seconds(datetime.now(UTC))
    fill(message, agent, *_PUBLIC, median_response_seconds=seconds)
    if sees_all_of(caller, agent):
        message.member_mobile_phone = agent.member_mobile_phone
    return message


def _from_wire(profile: dict[str, Any]) -> dict[str, Any]:
    if "rera_valid_to" in profile:
        profile["rera_valid_to"] = date.fromisoformat(profile["rera_valid_to"])
    return profile
