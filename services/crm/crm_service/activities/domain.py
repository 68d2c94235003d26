"""What an activity is."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from crm_service.leads.domain import LeadStage


class ActivityKind(StrEnum):
    CALL = "call"
    NOTE = "note"
    MESSAGE = "message"
    MEETING = "meeting"
    SYSTEM = "system"


# The person heard from us: the first of these stops the first-response clock.
RESPONSES = frozenset({ActivityKind.CALL, ActivityKind.MESSAGE, ActivityKind.MEETING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Something that happened to a lead."""

    id: uuid.UUID
    lead_id: uuid.UUID
    kind: ActivityKind
    text: str
    # Whose account wrote it; None for the platform and for the person who enquired.
    user_id: uuid.UUID | None
    from_stage: LeadStage | None
    to_stage: LeadStage | None
    created_at: datetime
