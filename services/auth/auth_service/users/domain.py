"""Who a user is, and what she may do."""

import unicodedata
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chassis.errors import Conflict, InvalidArgument, PermissionDenied, Violation


class UserStatus(StrEnum):
    PENDING = "pending"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    ERASED = "erased"


# What is done to users. Signing in makes a pending one active; nobody comes back from erased.
TRANSITIONS: Mapping[str, tuple[frozenset[UserStatus], UserStatus]] = {
    "suspend": (frozenset({UserStatus.ACTIVE}), UserStatus.SUSPENDED),
    "reinstate": (frozenset({UserStatus.SUSPENDED}), UserStatus.ACTIVE),
    "erase": (
        frozenset({UserStatus.PENDING, UserStatus.ACTIVE, UserStatus.SUSPENDED}),
        UserStatus.ERASED,
    ),
}

# A zero-width space, the marks of direction, a word joiner and a byte order mark: a name with one looks like another's.
_UNSEEN = dict.fromkeys((0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF))

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


@dataclass(frozen=True, slots=True)
class RoleGrant:
    """A role that somebody has, and from whom: a user's id, or what of the platform gave it."""

    role: str
    granted_by: str
    granted_at: datetime


def status_after(user: User, move: str) -> UserStatus:
    """The status of `user` after `move`, one of TRANSITIONS; raises Conflict when hers does not allow it."""
    before, after = TRANSITIONS[move]
    if user.status not in before:
        raise Conflict(f"Can't {move} a user who is {user.status}.")
    return after


def spelt(name: str) -> str:
    """`name` as it is kept: composed (NFC), one space between its words, and nothing in it that parts or joins unseen
    but the joiners that India's scripts are written with. Raises InvalidArgument when it has no letter.
    """
    seen = unicodedata.normalize("NFC", name).translate(_UNSEEN)
    if not any(character.isalpha() for character in seen):
        raise InvalidArgument(Violation("full_name", "must have letters"))
    return " ".join(seen.split())


def check_grantable(role: str) -> None:
    """Raises InvalidArgument for a role that follows from something else."""
    if role != ADMIN:
        raise InvalidArgument(
            Violation("role", f"must be {ADMIN}: the others follow from being verified")
        )


def check_may_sign_in(user: User) -> None:
    """Raise PermissionDenied unless `user` may have a session; a pending one becomes active by signing in."""
    if user.status in (UserStatus.SUSPENDED, UserStatus.ERASED):
        raise PermissionDenied("This account is suspended.", reason="ACCOUNT_SUSPENDED")


def token_time(user: User, now: datetime) -> int:
    """When to issue a token, in whole seconds, so that it is not among those that `user`'s loss of a role refused."""
    refused_until = user.tokens_refused_until
    return max(int(now.timestamp()), int(refused_until.timestamp()) + 1 if refused_until else 0)
