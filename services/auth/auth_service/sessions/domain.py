"""Sessions and the refresh tokens that keep them alive."""

import hashlib
import hmac
import secrets
import uuid
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta

from auth_service.users.domain import User
from chassis.errors import Unauthenticated

# A session ends when it was not refreshed for IDLE, and after ABSOLUTE whatever happens.
IDLE = timedelta(days=14)
ABSOLUTE = timedelta(days=30)
# A client that lost the answer may repeat a refresh for so long.
GRACE = timedelta(seconds=10)

LONGEST_USER_AGENT = 256


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person in her session. `issued_at` is from before her roles were read, and by the clock of the database, as the
    moment is at which roles are lost: tokens carry it, so that one on roles that were just lost is never newer than
    their loss, whatever the clocks of auth's replicas say.
    """

    user: User
    session_id: uuid.UUID
    refresh_token: str
    issued_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A sign-in on a device, for its owner to see."""

    id: uuid.UUID
    user_agent: str
    ip: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    revoked_reason: str | None


@dataclass(frozen=True, slots=True)
class UsedToken:
    """A refresh token that can't be used now, and why."""

    session_id: uuid.UUID
    user_id: uuid.UUID
    session_is_live: bool
    is_expired: bool
    used_at: datetime | None
    used_by: str | None
    # The hash of what followed it.
    rotated_to: bytes | None
    # When it was looked at, by the same clock as the other times.
    now: datetime

    def may_be_repeated_by(self, user_agent: str) -> bool:
        """Whether the same client may just have lost the answer."""
        return (
            self.used_at is not None
            and self.now - self.used_at <= GRACE
            and self.used_by == user_agent
        )


def new_token() -> str:
    """256 bits from the system's random source."""
    return secrets.token_urlsafe(32)


def successor(key: bytes, token: str) -> str:
    """What follows `token`: the same however often it is asked, and known to nobody without the key."""
    return urlsafe_b64encode(hmac.digest(key, token.encode(), "sha256")).rstrip(b"=").decode()


def hashed(token: str) -> bytes:
    """What is kept of a token: 256 random bits need no salt."""
    return hashlib.sha256(token.encode()).digest()


REFUSED = "The refresh token is not valid: sign in again."


def refused() -> Unauthenticated:
    return Unauthenticated(REFUSED, reason="REFRESH_TOKEN_INVALID")


class RefreshTokenReused(Unauthenticated):
    """A used refresh token came back and its session is over; who has `phone` is to hear of it. The caller is refused
    as for any token that is not valid.
    """

    def __init__(self, phone: str) -> None:
        super().__init__(REFUSED, reason="REFRESH_TOKEN_INVALID")
        self.phone = phone
