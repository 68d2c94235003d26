"""What an office is, and how one comes to belong to it."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chassis.errors import Conflict


class OfficeStatus(StrEnum):
    PENDING_VERIFICATION = "pending_verification"
    ACTIVE = "active"


class InvitationStatus(StrEnum):
    OPEN = "open"
    ACCEPTED = "accepted"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A brokerage. Its founder administers it for as long as it exists."""

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


def check_verifiable(office: Office) -> None:
    if office.office_status is not OfficeStatus.PENDING_VERIFICATION:
        raise Conflict(f"Can't verify an office that is {office.office_status}.")


def check_open(invitation: Invitation) -> None:
    if invitation.status is not InvitationStatus.OPEN:
        raise Conflict(f"The invitation was answered before: it is {invitation.status}.")
