"""What an agent is, and which moves she may make."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from chassis.errors import Conflict


class RegistrationNotice(StrEnum):
    EXPIRING = "expiring"
    RAN_OUT = "ran_out"


class AgentStatus(StrEnum):
    PENDING_VERIFICATION = "pending_verification"
    ACTIVE = "active"
    SUSPENDED = "suspended"


# pending_verification → active ⇄ suspended
TRANSITIONS: Mapping[str, tuple[AgentStatus, AgentStatus]] = {
    "verify": (AgentStatus.PENDING_VERIFICATION, AgentStatus.ACTIVE),
    "suspend": (AgentStatus.ACTIVE, AgentStatus.SUSPENDED),
    "reinstate": (AgentStatus.SUSPENDED, AgentStatus.ACTIVE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What an agent says of herself."""

    member_full_name: str
    member_mobile_phone: str
    rera_agent_no: str
    rera_state: str
    rera_valid_to: date
    languages: tuple[str, ...]
    service_areas: tuple[str, ...]
    bio: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent(Profile):
    """An agent (RESO Member)."""

    id: uuid.UUID
    user_id: uuid.UUID
    office_id: uuid.UUID | None
    verification_status: str
    status: AgentStatus
    # Whether it was her office that suspended her; what an administrator did, only an administrator undoes.
    suspended_by_office: bool
    # What she was told last of the end of her registration.
    registration_notice: str | None
    version: int
    created_at: datetime
    updated_at: datetime

    def may_sell_on(self, day: date) -> bool:
        """Whether she may publish: active, and her RERA registration in date."""
        return self.status is AgentStatus.ACTIVE and self.rera_valid_to >= day


# What is left of the profile of an agent whose data was erased.
FORGOTTEN: Mapping[str, Any] = {
    "member_full_name": "Erased",
    "member_mobile_phone": "",
    "rera_agent_no": "",
    "languages": (),
    "service_areas": (),
    "bio": None,
    # An administrator's suspension, which no office undoes.
    "suspended_by_office": False,
}


def moved(agent: Agent, move: str) -> Agent:
    """`agent` after `move`, one of TRANSITIONS; raises Conflict when her status does not allow it."""
    before, after = TRANSITIONS[move]
    if agent.status is not before:
        raise Conflict(f"Can't {move} an agent who is {agent.status}: she must be {before}.")
    return replace(agent, status=after)
