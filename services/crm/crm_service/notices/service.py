"""Telling agents by SMS of the leads they were given, and of the end of their registration."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from chassis.errors import NotFound, Unavailable
from chassis.india import today
from chassis.sms import SmsNotSent, SmsProvider
from crm_service.clients import Agents
from crm_service.leads.domain import Lead
from crm_service.leads.repository import LeadRepository
from crm_service.notices.domain import (
    STALE,
    STALE_REGISTRATION,
    Notice,
    body_about,
    body_about_more,
    body_about_registration,
)

log = structlog.get_logger()


class NoticeService:
    """The use cases of notices."""

    def __init__(
        self, leads: LeadRepository, agents: Agents, sms: SmsProvider, *, most_an_hour: int
    ) -> None:
        self._leads = leads
        self._agents = agents
        self._sms = sms
        self._most_an_hour = most_an_hour

    async def send(self, claimed: Sequence[Notice]) -> list[uuid.UUID]:
        """Send claimed notices, outside any transaction; those to which that is the end."""
        leads = await self._leads.get_many([each.lead_id for each in claimed if each.lead_id])
        ended = await asyncio.gather(
            *(
                self._send(notice, leads[notice.lead_id] if notice.lead_id else None)
                for notice in claimed
            )
        )
        return [notice.id for notice, end in zip(claimed, ended, strict=True) if end]

    async def _send(self, notice: Notice, lead: Lead | None) -> bool:
        """Send a notice about `lead`, or else about a registration; whether that is its end."""
        try:
            message = await (
                self._about_registration(notice) if lead is None else self._about(notice, lead)
            )
            if message is None:
                return True
            phone, body = message
            if phone:
                await self._sms.send(phone, body)
            else:
                log.warning("agent has no phone to be told on", agent_id=str(notice.agent_id))
        except SmsNotSent as error:
            return not error.may_be_repeated
        except Unavailable:
            return False
        return True

    async def _about(self, notice: Notice, lead: Lead) -> tuple[str, str] | None:
        """Phone and words; None for what is no news any more, or one too many."""
        beyond = notice.beyond(self._most_an_hour)
        if beyond == 1:
            return await self._about_more(notice)
        if beyond or not notice.still_news(lead, datetime.now(UTC)):
            return None
        phone, subject = await self._phone_and_subject(lead, notice)
        return phone, body_about(lead, subject)

    async def _about_more(self, notice: Notice) -> tuple[str, str] | None:
        """The same of all that an hour has too many, whatever became of the lead that was the first of them."""
        if datetime.now(UTC) - notice.created_at > STALE:
            return None
        log.warning("agent has more leads than she is told of", agent_id=str(notice.agent_id))
        try:
            phone = await self._agents.phone_of(notice.agent_id)
        except NotFound:
            return None
        return phone, body_about_more(self._most_an_hour)

    async def _about_registration(self, notice: Notice) -> tuple[str, str] | None:
        """The same of a registration: no news when it was renewed meanwhile."""
        if datetime.now(UTC) - notice.created_at > STALE_REGISTRATION:
            return None
        try:
            agent = await self._agents.registered(notice.agent_id)
        except NotFound:
            return None
        if agent.valid_to != notice.rera_valid_to:
            return None
        return agent.phone, body_about_registration(agent.valid_to, today())

    async def _phone_and_subject(self, lead: Lead, notice: Notice) -> tuple[str, str]:
        subject = "a project"
        try:
            if lead.target_kind == "listing":
                found = await self._agents.owner_of(lead.target_id)
                if found.owner.agent_id == notice.agent_id:
                    return found.phone, found.summary
                subject = found.summary
            return await self._agents.phone_of(notice.agent_id), subject
        except NotFound:
            return "", subject
