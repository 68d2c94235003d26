"""What an agent is, and which moves she may make."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from statistics import median
from typing import Any, Final

from chassis.errors import Conflict

# Which answers tell how long she takes: the last so many, of so long, and not fewer.
ANSWERS_COUNTED: Final = 50
ANSWERS_AGE: Final = timedelta(days=90)
LEAST_ANSWERS: Final = 5


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
    # Whether that was because her office was: she is reinstated with it.
    suspended_with_office: bool
    # What she was told last of the end of her registration.
    registration_notice: str | None
    # While what she lists leaves the market: why, and by whom.
    withdrawal: str | None
    withdrawal_by: str | None
    # When she last answered leads first, and in how many seconds, the oldest first.
    answered_at: tuple[datetime, ...]
    answer_seconds: tuple[int, ...]
    version: int
    created_at: datetime
    updated_at: datetime

    @property
    def is_erased(self) -> bool:
        """Whether her data was erased: see FORGOTTEN."""
        return not self.member_mobile_phone

    def may_sell_on(self, day: date) -> bool:
        """Whether she may publish: active, and her RERA registration in date."""
        return self.status is AgentStatus.ACTIVE and self.rera_valid_to >= day

    def answers_with(
        self, at: datetime, seconds: int
    ) -> tuple[tuple[datetime, ...], tuple[int, ...]]:
        """When and in how many seconds she answered, with one answer more: as many as are counted."""
        return (
            (*self.answered_at, at)[-ANSWERS_COUNTED:],
            (*self.answer_seconds, seconds)[-ANSWERS_COUNTED:],
        )

    def median_response_seconds(self, now: datetime) -> int | None:
        """How long she takes to answer, of late; None while too few answers tell."""
        answers = zip(self.answered_at, self.answer_seconds, strict=True)
        lately = [seconds for at, seconds in answers if now - at <= ANSWERS_AGE]
        return int(median(lately)) if len(lately) >= LEAST_ANSWERS else None


# What is left of the profile of an agent whose data was erased.
FORGOTTEN: Mapping[str, Any] = {
    "member_full_name": "Erased",
    "member_mobile_phone": "",
    "rera_agent_no": "",
    "languages": (),
    "service_areas": (),
    "bio": None,
    "answered_at": (),
    "answer_seconds": (),
    # An administrator's suspension, which no office undoes.
    "suspended_by_office": False,
    "suspended_with_office": False,
}


def status_after(agent: Agent, move: str) -> AgentStatus:
    """The status of `agent` after `move`, one of TRANSITIONS; raises Conflict when her own does not allow it."""
    before, after = TRANSITIONS[move]
    if agent.status is not before:
        raise Conflict(f"Can't {move} an agent who is {agent.status}: she must be {before}.")
    if after is AgentStatus.ACTIVE and agent.is_erased:
        raise Conflict(f"Can't {move} an agent whose data was erased: nobody can sign in as her.")
    return after
