"""What an office is, and how one comes to belong to it."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chassis.errors import Conflict


class OfficeStatus(StrEnum):
    PENDING_VERIFICATION = "pending_verification"
    ACTIVE = "active"
    SUSPENDED = "suspended"


# pending_verification → active ⇄ suspended
TRANSITIONS: Mapping[str, tuple[OfficeStatus, OfficeStatus]] = {
    "verify": (OfficeStatus.PENDING_VERIFICATION, OfficeStatus.ACTIVE),
    "suspend": (OfficeStatus.ACTIVE, OfficeStatus.SUSPENDED),
    "reinstate": (OfficeStatus.SUSPENDED, OfficeStatus.ACTIVE),
}


class InvitationStatus(StrEnum):
    OPEN = "open"
    ACCEPTED = "accepted"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A brokerage. One of its agents administers it: its founder, until she hands it over."""

    id: uuid.UUID
    office_name: str
    city: str
    rera_office_no: str | None
    rera_state: str | None
    verification_status: str
    office_status: OfficeStatus
    admin_agent_id: uuid.UUID
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """An invitation into an office, of an agent or of whoever has a phone."""

    id: uuid.UUID
    office_id: uuid.UUID
    office_name: str
    agent_id: uuid.UUID | None
    member_mobile_phone: str | None
    status: InvitationStatus
    created_at: datetime

    def invites(self, agent_id: uuid.UUID, phone: str) -> bool:
        return agent_id == self.agent_id or phone == self.member_mobile_phone


def status_after(office: Office, move: str) -> OfficeStatus:
    """The status of `office` after `move`, one of TRANSITIONS; raises Conflict when its own does not allow it."""
    before, after = TRANSITIONS[move]
    if office.office_status is not before:
        raise Conflict(
            f"Can't {move} an office that is {office.office_status}: it must be {before}."
        )
    return after


def check_active(office: Office) -> None:
    if office.office_status is not OfficeStatus.ACTIVE:
        raise Conflict(f"The office is not active: it is {office.office_status}.")


def check_open(invitation: Invitation) -> None:
    if invitation.status is not InvitationStatus.OPEN:
        raise Conflict(f"The invitation was answered before: it is {invitation.status}.")
