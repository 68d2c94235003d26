"""What a notice is: a text message that an agent is to get about a lead she was given."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from chassis.india import INDIA
from crm_service.leads.domain import Lead

# Older news is no news: the lead has been in her pipeline all the while.
STALE = timedelta(hours=1)
LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Notice:
    id: uuid.UUID
    lead_id: uuid.UUID
    agent_id: uuid.UUID
    created_at: datetime

    def still_news(self, lead: Lead, now: datetime) -> bool:
        """Whether the agent still is to be told of `lead`."""
        hers = lead.owner_agent_id == self.agent_id and lead.is_open
        return hers and now - self.created_at <= STALE


def body_about(lead: Lead, subject: str) -> str:
    """The message about an owned lead."""
    assert lead.sla_due_at is not None
    reach = "who wants no calls" if lead.contact.do_not_disturb else lead.contact.phone
    due = lead.sla_due_at.astimezone(INDIA)
    return (
        f"New enquiry from {lead.contact.full_name[:LONGEST_NAME]}, {reach}, about {subject}."
        f" Please answer by {due:%-d %b, %H:%M}."
    )
