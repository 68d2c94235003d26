"""What a builder is, and which moves it may make."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chassis.errors import Conflict


class BuilderStatus(StrEnum):
    PENDING_VERIFICATION = "pending_verification"
    ACTIVE = "active"
    SUSPENDED = "suspended"


# pending_verification → active ⇄ suspended
TRANSITIONS: Mapping[str, tuple[BuilderStatus, BuilderStatus]] = {
    "verify": (BuilderStatus.PENDING_VERIFICATION, BuilderStatus.ACTIVE),
    "suspend": (BuilderStatus.ACTIVE, BuilderStatus.SUSPENDED),
    "reinstate": (BuilderStatus.SUSPENDED, BuilderStatus.ACTIVE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """What an applicant says of the company she acts for."""

    builder_name: str
    rera_promoter_no: str
    rera_state: str | None
    gstin: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder(Company):
    """A builder: a promoter in the words of RERA."""

    id: uuid.UUID
    user_id: uuid.UUID
    verification_status: str
    status: BuilderStatus
    # Whether the account of whoever acted for it was erased.
    person_erased: bool
    version: int
    created_at: datetime
    updated_at: datetime


def status_after(builder: Builder, move: str) -> BuilderStatus:
    """The status of `builder` after `move`, one of TRANSITIONS; raises Conflict when its own does not allow it."""
    before, after = TRANSITIONS[move]
    if builder.status is not before:
        raise Conflict(f"Can't {move} a builder that is {builder.status}: it must be {before}.")
    if after is BuilderStatus.ACTIVE and builder.person_erased:
        raise Conflict(f"Can't {move} a builder whose person was erased: nobody acts for it.")
    return after


def not_active() -> Conflict:
    """Why a builder that is not verified can do no business."""
    return Conflict("The builder is not active.", reason="BUILDER_NOT_ACTIVE")
