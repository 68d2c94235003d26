"""What can be done with agents, and by whom."""

import uuid
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Protocol

from agents_service.agents.domain import (
    FORGOTTEN,
    Agent,
    AgentStatus,
    Profile,
    RegistrationNotice,
    status_after,
)
from agents_service.agents.repository import AgentRepository, not_found
from chassis import phones, rera
from chassis.database import Transaction
from chassis.errors import Conflict, InvalidArgument, PermissionDenied, Violation, check_version
from chassis.identity import Principal
from chassis.india import today
from chassis.rules import is_blank
from propmubi.agents.v1.events_pb2 import (
    AgentOfficeChanged,
    AgentRegistrationExpiring,
    AgentSuspended,
    AgentVerified,
)

CLOCK = "clock"
# Why listings leave the market, as their histories have it.
SUSPENDED = "agent.suspended"
OFFICE_SUSPENDED = "office.suspended"
WARN_BEFORE = timedelta(days=30)
WARN_BATCH = 100


class Homes(Protocol):
    """What an agent lists, which depends on what she is."""

    async def leave_market(
        self, tx: Transaction, agent_id: uuid.UUID, changed_by: str, reason: str
    ) -> bool: ...

    async def follow_agent(
        self, tx: Transaction, agent_id: uuid.UUID, office_id: uuid.UUID | None, changed_by: str
    ) -> None: ...


class AgentService:
    """The use cases of agents. Each write takes the transaction that its caller opened."""

    def __init__(self, agents: AgentRepository, homes: Homes) -> None:
        self._agents = agents
        self._homes = homes

    async def apply(
        self, tx: Transaction, caller: Principal, profile: Mapping[str, Any], phone: str
    ) -> Agent:
        """The application of `caller`, who proved to hold `phone`; raises AlreadyExists for a second one."""
        wanted = Profile(**_normalised(profile))
        _check_phone(wanted.member_mobile_phone, phone)
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
        *,
        phone: str | None,
        expected_version: int | None,
    ) -> Agent:
        """Change the caller's own profile; an administrator, or the admin of her office, may change anybody's.

        Where `changes` have a phone, `phone` is the one that the caller proved to hold.
        """
        agent = await self._agents.locked(tx, agent_id)
        if not sees_all_of(caller, agent):
            raise not_found()
        check_version(expected_version, agent.version)
        wanted = _normalised(changes)
        # What others say of her phone holds only if it is what she said herself.
        if (
            wanted.get("member_mobile_phone", agent.member_mobile_phone)
            != agent.member_mobile_phone
        ):
            hers = caller.subject == str(agent.user_id)
            _check_phone(wanted["member_mobile_phone"], phone if hers else None)
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
        """Tell of agents whose registration ran out, and withdraw what they list; how many, WARN_BATCH at most.

        The act lets nobody sell without a registration (section 9). They stay active: a renewal needs nobody's leave.
        """
        return await self._tell_of_end(tx, RegistrationNotice.RAN_OUT, today())

    async def _tell_of_end(self, tx: Transaction, notice: RegistrationNotice, before: date) -> int:
        found = await self._agents.locked_unwarned(tx, notice, before, WARN_BATCH)
        await self._agents.note_warned(tx, found, notice)
        for agent in found:
            if notice is RegistrationNotice.RAN_OUT:
                await self._withdraw(tx, agent, "agent.registration_expiring", CLOCK)
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
        """Verify, suspend or reinstate an agent, as an administrator or as her office's admin, and tell the others."""
        agent = await self._agents.locked(tx, agent_id)
        if not _administers(caller, agent.office_id):
            raise not_found()
        if agent.status is AgentStatus.SUSPENDED and not (
            caller.is_admin or agent.suspended_by_office
        ):
            raise PermissionDenied("An administrator suspended her: only one can reinstate her.")
        status = status_after(agent, move)
        if status is AgentStatus.SUSPENDED:
            if caller.agent_id == agent.id:
                raise PermissionDenied(
                    "Nobody suspends herself: hand your office over and leave it."
                )
            changes = {"status": status, "suspended_by_office": not caller.is_admin}
            agent = await self._agents.change(tx, agent, changes, caller.subject, reason)
            await self._withdraw(tx, agent, SUSPENDED, caller.subject)
            _tell_of_suspension(tx, agent)
            return agent
        if agent.office_id and await self._agents.office_is_suspended(tx, agent.office_id):
            raise Conflict("Her office is suspended: reinstate it, or take her out of it first.")
        return await self._activate(tx, agent, caller.subject, reason)

    async def suspend_with_office(
        self, tx: Transaction, office_id: uuid.UUID, by: str, reason: str
    ) -> None:
        """Suspend the active agents of an office. What they list leaves the market soon: it may be much."""
        changes = {"status": AgentStatus.SUSPENDED, "suspended_with_office": True}
        # All are locked, so that none of them becomes active meanwhile.
        for agent in await self._agents.locked_members(tx, office_id):
            if agent.status is AgentStatus.ACTIVE:
                suspended = await self._agents.change(tx, agent, changes, by, reason)
                await self._agents.note_withdrawal(tx, suspended, OFFICE_SUSPENDED, by)
                _tell_of_suspension(tx, suspended)

    async def reinstate_with_office(self, tx: Transaction, office_id: uuid.UUID, by: str) -> None:
        """Reinstate those who were suspended with their office."""
        for agent in await self._agents.locked_members(tx, office_id):
            if agent.suspended_with_office:
                await self._activate(tx, agent, by, None)

    async def _activate(self, tx: Transaction, agent: Agent, by: str, reason: str | None) -> Agent:
        changes = {
            "status": AgentStatus.ACTIVE,
            "suspended_by_office": False,
            "suspended_with_office": False,
        }
        agent = await self._agents.change(tx, agent, changes, by, reason)
        event = AgentVerified(agent_id=str(agent.id), user_id=str(agent.user_id))
        if agent.office_id is not None:
            event.office_id = str(agent.office_id)
        tx.publish(event, agent.id)
        return agent

    async def forget(self, tx: Transaction, user_id: uuid.UUID, by: str) -> None:
        """Forget who the agent of `user_id` is, if any: she is suspended, and what she lists leaves the market."""
        agent = await self._agents.locked_of(tx, user_id)
        if agent is None:
            return
        was_active = agent.status is AgentStatus.ACTIVE
        await self._agents.change(tx, agent, {"status": AgentStatus.SUSPENDED, **FORGOTTEN}, by)
        await self._agents.mask_history(tx, agent.id)
        if was_active:
            await self._withdraw(tx, agent, SUSPENDED, by)
            _tell_of_suspension(tx, agent)

    async def note_answer(
        self, tx: Transaction, agent_id: uuid.UUID, at: datetime, seconds: int
    ) -> None:
        """Note in how many seconds an agent answered a lead, unless she is suspended or erased meanwhile."""
        agent = await self._agents.locked(tx, agent_id)
        if agent.status is not AgentStatus.SUSPENDED:
            await self._agents.note_answer(tx, agent, at, seconds)

    async def withdraw_more(self, tx: Transaction) -> int:
        """Have more of what an agent lists leave the market, where that was more than one transaction is to do; how
        many agents, one at most.
        """
        agent = await self._agents.locked_withdrawing(tx)
        if agent is None:
            return 0
        await self._withdraw(tx, agent, agent.withdrawal or SUSPENDED, agent.withdrawal_by or CLOCK)
        return 1

    async def _withdraw(self, tx: Transaction, agent: Agent, reason: str, by: str) -> None:
        """Have what `agent`, who is locked, lists leave the market: as much as one transaction is to do, and a note of
        what is left. Until that is gone she publishes nothing.
        """
        if await self._homes.leave_market(tx, agent.id, by, reason):
            await self._agents.note_withdrawal(tx, agent, reason, by)
        elif agent.withdrawal is not None:
            await self._agents.note_withdrawal(tx, agent, None, None)

    async def set_office(
        self, tx: Transaction, agent: Agent, office_id: uuid.UUID | None, changed_by: str
    ) -> None:
        """Have `agent`, who is locked, belong to an office or to none, her listings with her, and tell the others."""
        # Who leaves a suspended office stays suspended, and is not reinstated with it any more.
        changes = {"office_id": office_id, "suspended_with_office": False}
        agent = await self._agents.change(tx, agent, changes, changed_by)
        await self._homes.follow_agent(tx, agent.id, office_id, changed_by)
        event = AgentOfficeChanged(agent_id=str(agent.id), user_id=str(agent.user_id))
        if office_id is not None:
            event.office_id = str(office_id)
        tx.publish(event, agent.id)


def _tell_of_suspension(tx: Transaction, agent: Agent) -> None:
    tx.publish(AgentSuspended(agent_id=str(agent.id), user_id=str(agent.user_id)), agent.id)


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


def _check_phone(said: str, proved: str | None) -> None:
    """Buyers' names and phones are sent there, so nobody may name one that she did not prove to hold."""
    if said != proved:
        raise InvalidArgument(Violation("member_mobile_phone", "must be the phone of her account"))


def _normalised(profile: Mapping[str, Any]) -> dict[str, Any]:
    wanted = dict(profile)
    if "member_mobile_phone" in wanted:
        wanted["member_mobile_phone"] = phones.normalise(
            wanted["member_mobile_phone"], "member_mobile_phone"
        )
    for field in ("member_full_name", "rera_agent_no", "rera_state"):
        if field in wanted and is_blank(wanted[field]):
            raise InvalidArgument(Violation(field, "must not be blank"))
    return wanted
