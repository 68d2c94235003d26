"""Telling agents by SMS of the leads they were given."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from chassis.errors import NotFound, Unavailable
from chassis.sms import SmsNotSent, SmsProvider
from crm_service.clients import Agents
from crm_service.leads.domain import Lead
from crm_service.leads.repository import LeadRepository
from crm_service.notices.domain import Notice, body_about

log = structlog.get_logger()


class NoticeService:
    """The use cases of notices."""

    def __init__(self, leads: LeadRepository, agents: Agents, sms: SmsProvider) -> None:
        self._leads = leads
        self._agents = agents
        self._sms = sms

    async def send(self, claimed: Sequence[Notice]) -> list[uuid.UUID]:
        """Send claimed notices, outside any transaction; those to which that is the end."""
        leads = await self._leads.get_many([notice.lead_id for notice in claimed])
        ended = await asyncio.gather(
            *(self._send(notice, leads[notice.lead_id]) for notice in claimed)
        )
        return [notice.id for notice, end in zip(claimed, ended, strict=True) if end]

    async def _send(self, notice: Notice, lead: Lead) -> bool:
        if not notice.still_news(lead, datetime.now(UTC)):
            return True
        try:
            phone, subject = await self._phone_and_subject(lead, notice)
            if phone:
                await self._sms.send(phone, body_about(lead, subject))
            else:
                log.warning("agent has no phone to be told on", agent_id=str(notice.agent_id))
        except SmsNotSent as error:
            return not error.may_be_repeated
        except Unavailable:
            return False
        return True

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
