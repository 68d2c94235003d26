"""Who a user is, and what she may do."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chassis.errors import PermissionDenied


class UserStatus(StrEnum):
    PENDING = "pending"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    ERASED = "erased"


# What everybody may do who has an account.
BUYER = "buyer"
ADMIN = "admin"
AGENT = "agent"
OFFICE_ADMIN = "office_admin"
BUILDER = "builder"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person with an account."""

    id: uuid.UUID
    phone: str
    email: str | None
    full_name: str | None
    roles: tuple[str, ...]
    agent_id: uuid.UUID | None
    office_id: uuid.UUID | None
    builder_id: uuid.UUID | None
    status: UserStatus
    # When she last lost a role: tokens issued until then are refused.
    tokens_refused_until: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime


def check_may_sign_in(user: User) -> None:
    """Raise PermissionDenied unless `user` may have a session; a pending one becomes active by signing in."""
    if user.status in (UserStatus.SUSPENDED, UserStatus.ERASED):
        raise PermissionDenied("This account is suspended.", reason="ACCOUNT_SUSPENDED")


def token_time(user: User, now: float) -> int:
    """The time, in whole seconds, to issue a token at so that it is not among those that `user`'s loss of a role refused."""
    refused_until = user.tokens_refused_until
    return max(int(now), int(refused_until.timestamp()) + 1 if refused_until else 0)
