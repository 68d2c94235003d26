"""What can be done with offices, and by whom."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from agents_service.agents.domain import Agent, AgentStatus
from agents_service.agents.repository import AgentRepository
from agents_service.agents.repository import not_found as no_agent
from agents_service.agents.service import AgentService
from agents_service.offices.domain import (
    Invitation,
    InvitationStatus,
    Office,
    OfficeStatus,
    check_active,
    check_open,
    status_after,
)
from agents_service.offices.repository import OfficeRepository, no_invitation, not_found
from chassis import phones, rera
from chassis.database import Transaction
from chassis.errors import (
    Conflict,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Violation,
    check_version,
)
from chassis.identity import Principal
from chassis.rules import is_blank
from propmubi.agents.v1.events_pb2 import (
    OfficeAdminChanged,
    OfficeReinstated,
    OfficeSuspended,
    OfficeVerified,
)

NOBODY_LEFT = "Nobody is left who could administer it."


class OfficeService:
    """The use cases of offices. Each write takes the transaction that its caller opened."""

    def __init__(
        self, offices: OfficeRepository, agents: AgentRepository, members: AgentService
    ) -> None:
        self._offices = offices
        self._agents = agents
        self._members = members

    async def forget(
        self, tx: Transaction, user_id: uuid.UUID, phones: Sequence[str], by: str
    ) -> None:
        """Forget the invitations of whoever had `phones`. The office that she administers passes to its first agent who
        is active, and is suspended where there is none.
        """
        for phone in phones:
            await self._offices.forget_invitations(tx, phone)
        office = await self._offices.locked_of_admin(tx, user_id)
        if office is None or office.office_status is not OfficeStatus.ACTIVE:
            return
        if heir := await self._heir(tx, office):
            await self._set_admin(tx, office, heir, user_id, by)
        else:
            await self._suspend(tx, office, by, NOBODY_LEFT)

    async def found(self, tx: Transaction, caller: Principal, office: Mapping[str, Any]) -> Office:
        """The new office of `caller`; raises AlreadyExists for a second one."""
        if caller.agent_id is None:
            raise PermissionDenied("Only an agent may found an office.")
        _check_free(await self._agents.locked(tx, caller.agent_id))
        wanted = _normalised(office)
        status = rera.check("agent", wanted["rera_state"], wanted["rera_office_no"])
        return await self._offices.add(
            tx, **wanted, verification_status=status, admin_agent_id=caller.agent_id
        )

    async def get(self, caller: Principal | None, office_id: uuid.UUID) -> Office:
        """The office, if `caller` may see it; raises NotFound."""
        office = await self._offices.get(office_id)
        if office.office_status is not OfficeStatus.ACTIVE and not _runs(caller, office):
            raise not_found()
        return office

    async def list_page(
        self,
        caller: Principal | None,
        *,
        status: OfficeStatus,
        city: str | None,
        before: uuid.UUID | None,
        limit: int,
    ) -> list[Office]:
        """A page of the directory; raises PermissionDenied for a status that is not public."""
        if status is not OfficeStatus.ACTIVE and not (caller and caller.is_admin):
            raise PermissionDenied("Only administrators may list offices that are not active.")
        return await self._offices.list_page(
            status=status, city=city and city.strip().lower(), before=before, limit=limit
        )

    async def update(
        self,
        tx: Transaction,
        caller: Principal,
        office_id: uuid.UUID,
        changes: Mapping[str, Any],
        expected_version: int | None,
    ) -> Office:
        """Change the caller's own office; an administrator may change any."""
        office = await self._offices.locked(tx, office_id)
        if not _runs(caller, office):
            raise not_found()
        check_version(expected_version, office.version)
        wanted = _normalised(changes)
        if {"rera_state", "rera_office_no"} & wanted.keys():
            wanted["verification_status"] = rera.check(
                "agent",
                wanted.get("rera_state", office.rera_state),
                wanted.get("rera_office_no", office.rera_office_no),
            )
        return await self._offices.change(tx, office, wanted, caller.subject)

    async def verify(self, tx: Transaction, caller: Principal, office_id: uuid.UUID) -> Office:
        """Verify an office, have its founder belong to it, and tell auth that she administers it."""
        office = await self._offices.locked(tx, office_id)
        changes = {"office_status": status_after(office, "verify")}
        founder = await self._agents.locked(tx, office.admin_agent_id)
        _check_free(founder)
        office = await self._offices.change(tx, office, changes, caller.subject)
        await self._members.set_office(tx, founder, office.id, caller.subject)
        tx.publish(
            OfficeVerified(
                office_id=str(office.id), agent_id=str(founder.id), user_id=str(founder.user_id)
            ),
            office.id,
        )
        return office

    async def suspend(
        self, tx: Transaction, caller: Principal, office_id: uuid.UUID, reason: str
    ) -> Office:
        """Suspend an office and its agents."""
        office = await self._offices.locked(tx, office_id)
        return await self._suspend(tx, office, caller.subject, reason)

    async def reinstate(self, tx: Transaction, caller: Principal, office_id: uuid.UUID) -> Office:
        """Reinstate an office, and the agents who were suspended with it. It passes to the first of them where whoever
        administered it was erased; raises Conflict where there is none.
        """
        office = await self._offices.locked(tx, office_id)
        changes = {"office_status": status_after(office, "reinstate")}
        office = await self._offices.change(tx, office, changes, caller.subject)
        await self._members.reinstate_with_office(tx, office.id, caller.subject)
        admin = await self._agents.locked(tx, office.admin_agent_id)
        if admin.is_erased:
            heir = await self._heir(tx, office)
            if heir is None:
                raise Conflict(NOBODY_LEFT)
            office = await self._set_admin(tx, office, heir, admin.user_id, caller.subject)
        tx.publish(OfficeReinstated(office_id=str(office.id)), office.id)
        return office

    async def hand_over(
        self, tx: Transaction, caller: Principal, office_id: uuid.UUID, agent_id: uuid.UUID
    ) -> Office:
        """Have another agent of an office administer it; its admin and administrators may say so."""
        office = await self._offices.locked(tx, office_id)
        if not _runs(caller, office):
            raise not_found()
        check_active(office)
        if agent_id == office.admin_agent_id:
            raise Conflict("She administers the office already.")
        agent = await self._agents.locked(tx, agent_id)
        if agent.office_id != office.id:
            raise no_agent()
        if agent.status is not AgentStatus.ACTIVE:
            raise Conflict(
                "An office is administered by an active agent.", reason="AGENT_NOT_ACTIVE"
            )
        former = await self._agents.get(office.admin_agent_id)
        return await self._set_admin(tx, office, agent, former.user_id, caller.subject)

    async def _suspend(self, tx: Transaction, office: Office, by: str, reason: str) -> Office:
        changes = {"office_status": status_after(office, "suspend")}
        office = await self._offices.change(tx, office, changes, by, reason)
        await self._members.suspend_with_office(tx, office.id, by, reason)
        tx.publish(OfficeSuspended(office_id=str(office.id)), office.id)
        return office

    async def _heir(self, tx: Transaction, office: Office) -> Agent | None:
        """The first active agent of `office` who does not administer it."""
        for agent in await self._agents.locked_members(tx, office.id):
            if agent.status is AgentStatus.ACTIVE and agent.id != office.admin_agent_id:
                return agent
        return None

    async def _set_admin(
        self, tx: Transaction, office: Office, agent: Agent, former_user_id: uuid.UUID, by: str
    ) -> Office:
        office = await self._offices.change(tx, office, {"admin_agent_id": agent.id}, by)
        tx.publish(
            OfficeAdminChanged(
                office_id=str(office.id),
                agent_id=str(agent.id),
                user_id=str(agent.user_id),
                former_user_id=str(former_user_id),
            ),
            office.id,
        )
        return office

    async def invite(
        self,
        tx: Transaction,
        caller: Principal,
        office_id: uuid.UUID,
        agent_id: uuid.UUID | None,
        phone: str | None,
    ) -> Invitation:
        """Invite an agent, or whoever has a phone, into the caller's own office."""
        office = await self._offices.kept(tx, _administered(caller, office_id))
        check_active(office)
        if (agent_id is None) == (phone is None):
            raise InvalidArgument(
                Violation("agent_id", "must be given, or else member_mobile_phone, and not both")
            )
        if agent_id is not None:
            agent = await self._agents.kept(tx, agent_id)
            if agent.status is not AgentStatus.ACTIVE:
                raise no_agent()
            if agent.office_id == office.id:
                raise Conflict("She belongs to the office already.")
        else:
            phone = phones.normalise(phone or "", "member_mobile_phone")
        whom = {"agent_id": agent_id, "member_mobile_phone": phone}
        return await self._offices.invite(tx, office, whom, caller.subject)

    async def invitations(
        self, caller: Principal, office_id: uuid.UUID, *, before: uuid.UUID | None, limit: int
    ) -> list[Invitation]:
        """The open invitations of the caller's own office."""
        return await self._offices.invitations_of(
            _administered(caller, office_id), before=before, limit=limit
        )

    async def take_back(
        self, tx: Transaction, caller: Principal, office_id: uuid.UUID, invitation_id: uuid.UUID
    ) -> None:
        """Take back an open invitation into the caller's own office."""
        await self._offices.take_back(tx, _administered(caller, office_id), invitation_id)

    async def own_invitations(
        self, caller: Principal, phone: str, *, before: uuid.UUID | None, limit: int
    ) -> list[Invitation]:
        """What the caller, an agent or an applicant who signs in with `phone`, is invited to; nothing for others."""
        try:
            agent = await self._agents.of_user(caller.user_id)
        except NotFound:
            return []
        return await self._offices.invitations_for(agent.id, phone, before=before, limit=limit)

    async def answer(
        self,
        tx: Transaction,
        caller: Principal,
        phone: str,
        invitation_id: uuid.UUID,
        answer: InvitationStatus,
    ) -> Invitation:
        """Accept or decline an invitation of the caller's, who signs in with `phone`: what her profile says proves
        nothing. Raises NotFound for another's.
        """
        try:
            # The agent first, as in whatever else changes her.
            agent = await self._agents.locked_of_user(tx, caller.user_id)
        except NotFound as error:
            raise no_invitation() from error
        invitation = await self._offices.locked_invitation(tx, invitation_id)
        if not invitation.invites(agent.id, phone):
            raise no_invitation()
        check_open(invitation)
        if answer is InvitationStatus.ACCEPTED:
            if agent.office_id is not None:
                raise Conflict("You belong to an office: leave it first.")
            if agent.status is AgentStatus.SUSPENDED:
                raise Conflict("You are suspended.", reason="AGENT_NOT_ACTIVE")
            check_active(await self._offices.kept(tx, invitation.office_id))
            await self._members.set_office(tx, agent, invitation.office_id, caller.subject)
        return await self._offices.answer(tx, invitation, answer)

    async def remove(
        self, tx: Transaction, caller: Principal, office_id: uuid.UUID, agent_id: uuid.UUID
    ) -> None:
        """Take an agent out of the office: she leaves it, or its admin or an administrator removes her."""
        agent = await self._agents.locked(tx, agent_id)
        leaves = caller.subject == str(agent.user_id)
        removes = caller.is_admin or caller.administered_office_id == office_id
        if agent.office_id != office_id or not (leaves or removes):
            raise no_agent()
        office = await self._offices.get(office_id)
        if office.admin_agent_id == agent.id:
            raise Conflict("The office's admin can't leave it: it is handed over first.")
        await self._members.set_office(tx, agent, None, caller.subject)


def _runs(caller: Principal | None, office: Office) -> bool:
    return caller is not None and (
        caller.is_admin
        or (caller.agent_id is not None and caller.agent_id == office.admin_agent_id)
    )


def _administered(caller: Principal, office_id: uuid.UUID) -> uuid.UUID:
    if caller.administered_office_id != office_id:
        raise not_found()
    return office_id


def _check_free(agent: Agent) -> None:
    if agent.status is not AgentStatus.ACTIVE:
        raise Conflict("An office is founded by an active agent.", reason="AGENT_NOT_ACTIVE")
    if agent.office_id is not None:
        raise Conflict("An office is founded by an agent who belongs to none.")


def _normalised(office: Mapping[str, Any]) -> dict[str, Any]:
    wanted = {name: value and " ".join(value.split()) for name, value in office.items()}
    blank = [name for name in ("office_name", "city") if name in wanted and is_blank(wanted[name])]
    if blank:
        raise InvalidArgument(*(Violation(f"office.{name}", "must not be blank") for name in blank))
    return wanted
