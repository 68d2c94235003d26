"""What a notice is: a text message that an agent is to get about a lead she was given, or about her registration."""

import re
import unicodedata
import uuid
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from chassis.india import INDIA
from crm_service.leads.domain import Lead

# Older news is no news: the lead has been in her pipeline all the while.
STALE = timedelta(hours=1)
STALE_REGISTRATION = timedelta(days=7)
LONGEST_NAME = 30
# What an address on the net or a number to call is made of, and no name: anybody may enquire, under any.
_NO_NAME = re.compile(r"[/:@\d]|\S[.。]\S")


@dataclass(frozen=True, slots=True)
class Notice:
    """About a lead, or else about a registration that ends on `rera_valid_to`."""

    id: uuid.UUID
    lead_id: uuid.UUID | None
    rera_valid_to: date | None
    agent_id: uuid.UUID
    # Its number among the notices about leads that the agent gets in an hour by the clock, from 1 on.
    place: int | None
    created_at: datetime

    def still_news(self, lead: Lead, now: datetime) -> bool:
        """Whether the agent still is to be told of `lead`."""
        hers = lead.owner_agent_id == self.agent_id and lead.is_open
        return hers and now - self.created_at <= STALE

    def beyond(self, most_an_hour: int) -> int:
        """How far this one is beyond what its hour may have: the first that is becomes `body_about_more`."""
        return max(0, (self.place or 0) - most_an_hour)


@dataclass(frozen=True, slots=True)
class Registered:
    """An agent's phone, empty when we are not told it, and the last day of her registration."""

    phone: str
    valid_to: date


def body_about(lead: Lead, subject: str) -> str:
    """The message about an owned lead."""
    assert lead.sla_due_at is not None
    reach = "who wants no calls" if lead.contact.do_not_disturb else lead.contact.phone
    due = lead.sla_due_at.astimezone(INDIA)
    return (
        f"New enquiry from {said(lead.contact.full_name)}, {reach}, about {subject}."
        f" Please answer by {due:%-d %b, %H:%M}."
    )


def said(full_name: str) -> str:
    """`full_name`, or "somebody" where we, whose message it is, would say more than a name."""
    # Phones read addresses in full width as well.
    name = unicodedata.normalize("NFKC", full_name)
    if _NO_NAME.search(name) or not any(map(str.isalpha, name)):
        return "somebody"
    return name[:LONGEST_NAME].rstrip()


def body_about_more(most_an_hour: int) -> str:
    """The message in place of all that an hour has beyond so many."""
    return (
        f"You have more than {most_an_hour} new enquiries within the hour:"
        " the rest are in your pipeline, without a message each."
    )


def body_about_registration(valid_to: date, today: date) -> str:
    """The message about a registration that runs out, or has."""
    if valid_to < today:
        return (
            f"Your RERA registration ended on {valid_to:%-d %b %Y} and your listings have left the market."
            " Enter its new last day in your profile, then publish them again."
        )
    return (
        f"Your RERA registration ends on {valid_to:%-d %b %Y}."
        " Renew it and enter its new last day in your profile, or your listings leave the market."
    )
