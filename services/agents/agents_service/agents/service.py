"""What can be done with agents, and by whom."""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from agents_service.agents.domain import Agent, AgentStatus, Profile, moved
from agents_service.agents.repository import AgentRepository, not_found
from chassis import phones, rera
from chassis.database import Transaction
from chassis.errors import InvalidArgument, PermissionDenied, Violation, check_version
from chassis.identity import Principal
from propmubi.agents.v1.events_pb2 import AgentSuspended, AgentVerified

# Takes an agent's listings off the market: given her id and who suspended her.
LeaveMarket = Callable[[Transaction, uuid.UUID, str], Awaitable[None]]


class AgentService:
    """The use cases of agents. Each takes the transaction that its caller opened."""

    def __init__(self, agents: AgentRepository, leave_market: LeaveMarket) -> None:
        self._agents = agents
        self._leave_market = leave_market

    async def apply(self, tx: Transaction, caller: Principal, profile: Mapping[str, Any]) -> Agent:
        """The application of `caller`; raises AlreadyExists for a second one."""
        wanted = Profile(**_normalised(profile))
        status = rera.check("agent", wanted.rera_state, wanted.rera_agent_no)
        return await self._agents.add(tx, caller.user_id, wanted, status)

    async def get(self, caller: Principal | None, agent_id: uuid.UUID) -> Agent:
        """The agent, if `caller` may see her; raises NotFound."""
        agent = await self._agents.get(agent_id)
        if agent.status is not AgentStatus.ACTIVE and not sees_all_of(caller, agent):
            raise not_found()
        return agent

    async def list_page(
        self,
        caller: Principal | None,
        *,
        status: AgentStatus,
        service_area: str | None,
        before: uuid.UUID | None,
        limit: int,
    ) -> list[Agent]:
        """A page of the directory; raises PermissionDenied for a status that is not public."""
        if status is not AgentStatus.ACTIVE and not (caller and caller.is_admin):
            raise PermissionDenied("Only administrators may list agents who are not active.")
        return await self._agents.list_page(
            status=status, service_area=service_area, before=before, limit=limit
        )

    async def update(
        self,
        tx: Transaction,
        caller: Principal,
        agent_id: uuid.UUID,
        changes: Mapping[str, Any],
        expected_version: int | None,
    ) -> Agent:
        """Change the caller's own profile; an administrator may change anybody's."""
        agent = await self._agents.locked(tx, agent_id)
        if not sees_all_of(caller, agent):
            raise not_found()
        check_version(expected_version, agent.version)
        wanted = _normalised(changes)
        if {"rera_state", "rera_agent_no"} & wanted.keys():
            wanted["verification_status"] = rera.check(
                "agent",
                wanted.get("rera_state", agent.rera_state),
                wanted.get("rera_agent_no", agent.rera_agent_no),
            )
        return await self._agents.change(tx, agent, wanted, caller.subject)

    async def move(
        self,
        tx: Transaction,
        caller: Principal,
        agent_id: uuid.UUID,
        move: str,
        reason: str | None = None,
    ) -> Agent:
        """Verify, suspend or reinstate an agent, and tell the other services."""
        agent = await self._agents.locked(tx, agent_id)
        status = moved(agent, move).status
        agent = await self._agents.change(tx, agent, {"status": status}, caller.subject, reason)
        ids = {"agent_id": str(agent.id), "user_id": str(agent.user_id)}
        if status is AgentStatus.ACTIVE:
            office_id = str(agent.office_id) if agent.office_id else None
            tx.publish(AgentVerified(**ids, office_id=office_id), agent.id)
        else:
            await self._leave_market(tx, agent.id, caller.subject)
            tx.publish(AgentSuspended(**ids), agent.id)
        return agent


def sees_all_of(caller: Principal | None, agent: Agent) -> bool:
    """Whether `caller` is the agent herself, an administrator, or a service of ours that has to reach her."""
    return caller is not None and (
        caller.is_admin or caller.is_service or caller.subject == str(agent.user_id)
    )


def _normalised(profile: Mapping[str, Any]) -> dict[str, Any]:
    wanted = dict(profile)
    if "member_mobile_phone" in wanted:
        wanted["member_mobile_phone"] = phones.normalise(
            wanted["member_mobile_phone"], "member_mobile_phone"
        )
    for field in ("member_full_name", "rera_agent_no", "rera_state"):
        if field in wanted and not wanted[field].strip():
            raise InvalidArgument(Violation(field, "must not be blank"))
    return wanted
