"""What can be done with agents, and by whom."""

import uuid
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Protocol

from agents_service.agents.domain import (
    FORGOTTEN,
    Agent,
    AgentStatus,
    Profile,
    RegistrationNotice,
    moved,
)
from agents_service.agents.repository import AgentRepository, not_found
from chassis import phones, rera
from chassis.database import Transaction
from chassis.errors import InvalidArgument, PermissionDenied, Violation, check_version
from chassis.identity import Principal
from chassis.india import today
from propmubi.agents.v1.events_pb2 import (
    AgentOfficeChanged,
    AgentRegistrationExpiring,
    AgentSuspended,
    AgentVerified,
)

CLOCK = "clock"
WARN_BEFORE = timedelta(days=30)
WARN_BATCH = 100


class Homes(Protocol):
    """What an agent lists, which depends on what she is."""

    async def leave_market(
        self, tx: Transaction, agent_id: uuid.UUID, changed_by: str, reason: str
    ) -> None: ...

    async def follow_agent(
        self, tx: Transaction, agent_id: uuid.UUID, office_id: uuid.UUID | None, changed_by: str
    ) -> None: ...


class AgentService:
    """The use cases of agents. Each takes the transaction that its caller opened."""

    def __init__(self, agents: AgentRepository, homes: Homes) -> None:
        self._agents = agents
        self._homes = homes

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
        office_id: uuid.UUID | None,
        service_area: str | None,
        language: str | None,
        before: uuid.UUID | None,
        limit: int,
    ) -> list[Agent]:
        """A page of the directory; raises PermissionDenied for a status that is not public."""
        if status is not AgentStatus.ACTIVE and not _administers(caller, office_id):
            raise PermissionDenied(
                "Only administrators, and an office's admin with its office_id, may list agents who are not active."
            )
        return await self._agents.list_page(
            status=status,
            office_id=office_id,
            service_area=service_area,
            language=language,
            before=before,
            limit=limit,
        )

    async def update(
        self,
        tx: Transaction,
        caller: Principal,
        agent_id: uuid.UUID,
        changes: Mapping[str, Any],
        expected_version: int | None,
    ) -> Agent:
        """Change the caller's own profile; an administrator, or the admin of her office, may change anybody's."""
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
        if "rera_valid_to" in wanted:
            wanted["registration_notice"] = None
        return await self._agents.change(tx, agent, wanted, caller.subject)

    async def warn(self, tx: Transaction) -> int:
        """Tell of agents whose registration runs out soon; how many, WARN_BATCH at most."""
        return await self._tell_of_end(tx, RegistrationNotice.EXPIRING, today() + WARN_BEFORE)

    async def end_registrations(self, tx: Transaction) -> int:
        """Tell of agents whose registration ran out, and take what they list off the market; how many, WARN_BATCH at most.

        The act lets nobody sell without a registration (section 9). They stay active: a renewal needs nobody's leave.
        """
        return await self._tell_of_end(tx, RegistrationNotice.RAN_OUT, today())

    async def _tell_of_end(self, tx: Transaction, notice: RegistrationNotice, before: date) -> int:
        found = await self._agents.locked_unwarned(tx, notice, before, WARN_BATCH)
        await self._agents.note_warned(tx, found, notice)
        for agent in found:
            if notice is RegistrationNotice.RAN_OUT:
                await self._homes.leave_market(tx, agent.id, CLOCK, "agent.registration_expiring")
            tx.publish(
                AgentRegistrationExpiring(
                    agent_id=str(agent.id),
                    user_id=str(agent.user_id),
                    rera_valid_to=agent.rera_valid_to.isoformat(),
                ),
                agent.id,
            )
        return len(found)

    async def move(
        self,
        tx: Transaction,
        caller: Principal,
        agent_id: uuid.UUID,
        move: str,
        reason: str | None = None,
    ) -> Agent:
        """Verify, suspend or reinstate an agent, as an administrator or the admin of her office, and tell the others."""
        agent = await self._agents.locked(tx, agent_id)
        if not _administers(caller, agent.office_id):
            raise not_found()
        if agent.status is AgentStatus.SUSPENDED and not (
            caller.is_admin or agent.suspended_by_office
        ):
            raise PermissionDenied("An administrator suspended her: only one can reinstate her.")
        status = moved(agent, move).status
        by_office = status is AgentStatus.SUSPENDED and not caller.is_admin
        changes = {"status": status, "suspended_by_office": by_office}
        agent = await self._agents.change(tx, agent, changes, caller.subject, reason)
        ids = {"agent_id": str(agent.id), "user_id": str(agent.user_id)}
        if status is AgentStatus.ACTIVE:
            office_id = str(agent.office_id) if agent.office_id else None
            tx.publish(AgentVerified(**ids, office_id=office_id), agent.id)
        else:
            await self._homes.leave_market(tx, agent.id, caller.subject, "agent.suspended")
            tx.publish(AgentSuspended(**ids), agent.id)
        return agent

    async def forget(self, tx: Transaction, user_id: uuid.UUID, by: str) -> None:
        """Forget who the agent of `user_id` is, if she is one: she is suspended, and what she lists leaves the market."""
        agent = await self._agents.locked_of(tx, user_id)
        if agent is None:
            return
        was_active = agent.status is AgentStatus.ACTIVE
        await self._agents.change(tx, agent, {"status": AgentStatus.SUSPENDED, **FORGOTTEN}, by)
        await self._agents.mask_history(tx, agent.id)
        if was_active:
            await self._homes.leave_market(tx, agent.id, by, "agent.suspended")
            tx.publish(AgentSuspended(agent_id=str(agent.id), user_id=str(user_id)), agent.id)

    async def set_office(
        self, tx: Transaction, agent: Agent, office_id: uuid.UUID | None, changed_by: str
    ) -> None:
        """Have `agent`, who is locked, belong to an office or to none, her listings with her, and tell the others."""
        agent = await self._agents.change(tx, agent, {"office_id": office_id}, changed_by)
        await self._homes.follow_agent(tx, agent.id, office_id, changed_by)
        event = AgentOfficeChanged(agent_id=str(agent.id), user_id=str(agent.user_id))
        if office_id is not None:
            event.office_id = str(office_id)
        tx.publish(event, agent.id)


def sees_all_of(caller: Principal | None, agent: Agent) -> bool:
    """Whether `caller` is the agent herself, administers her, or is a service of ours that has to reach her."""
    return caller is not None and (
        caller.is_service
        or caller.subject == str(agent.user_id)
        or _administers(caller, agent.office_id)
    )


def _administers(caller: Principal | None, office_id: uuid.UUID | None) -> bool:
    """Whether `caller` is an administrator, or the admin of this office."""
    return caller is not None and (
        caller.is_admin or (office_id is not None and caller.administered_office_id == office_id)
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
