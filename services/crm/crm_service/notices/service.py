"""Telling agents by SMS of the leads they were given."""

import uuid
from datetime import UTC, datetime

import structlog

from chassis.database import Transaction
from chassis.errors import NotFound, Unavailable
from chassis.sms import SmsNotSent, SmsProvider
from crm_service.clients import Agents
from crm_service.leads.domain import Lead
from crm_service.leads.repository import LeadRepository
from crm_service.notices.domain import Notice, body_about
from crm_service.notices.repository import NoticeRepository

log = structlog.get_logger()


class NoticeService:
    """The use cases of notices."""

    def __init__(
        self, notices: NoticeRepository, leads: LeadRepository, agents: Agents, sms: SmsProvider
    ) -> None:
        self._notices = notices
        self._leads = leads
        self._agents = agents
        self._sms = sms

    async def write_down(self, tx: Transaction, lead_id: uuid.UUID, agent_id: uuid.UUID) -> None:
        """The agent is to be told of the lead, soon after `tx` is committed."""
        await self._notices.add(tx, lead_id, agent_id)

    async def send(self, notice: Notice) -> bool:
        """Send a claimed notice, outside any transaction; whether that is the end of it."""
        lead = await self._leads.get(notice.lead_id)
        if not notice.still_news(lead, datetime.now(UTC)):
            return True
        try:
            phone, subject = await self._phone_and_subject(lead, notice)
            if phone:
                await self._sms.send(phone, body_about(lead, subject))
            else:
                log.warning("agent has no phone to be told on", agent_id=str(notice.agent_id))
        except SmsNotSent as error:
            # Where it may have been sent after all, a second message would be worse than none.
            return error.outcome != "failed"
        except Unavailable:
            return False
        return True

    async def _phone_and_subject(self, lead: Lead, notice: Notice) -> tuple[str, str]:
        subject = "a project"
        try:
            if lead.target_kind == "listing":
                found = await self._agents.owner_now(lead.target_id)
                if found.owner.agent_id == notice.agent_id:
                    return found.phone, found.summary
                subject = found.summary
            return await self._agents.phone_of(notice.agent_id), subject
        except NotFound:
            return "", subject
