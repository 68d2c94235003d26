"""One-time passwords: six digits, good for one challenge and five minutes."""

import hmac
import secrets
import uuid
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum

from chassis.errors import Unauthenticated

LIFETIME = timedelta(seconds=300)
MAX_ATTEMPTS = 5
SIGN_IN = "sign_in"


class ChallengeStatus(StrEnum):
    ISSUED = "issued"
    VERIFIED = "verified"
    # Past its time, or replaced by a later challenge.
    EXPIRED = "expired"
    LOCKED = "locked"


TRANSITIONS: Mapping[ChallengeStatus, frozenset[ChallengeStatus]] = {
    ChallengeStatus.ISSUED: frozenset(
        {ChallengeStatus.VERIFIED, ChallengeStatus.EXPIRED, ChallengeStatus.LOCKED}
    ),
    ChallengeStatus.VERIFIED: frozenset(),
    ChallengeStatus.EXPIRED: frozenset(),
    ChallengeStatus.LOCKED: frozenset(),
}


def new_code() -> str:
    """Six digits from the system's random source."""
    return f"{secrets.randbelow(1_000_000):06d}"


def hashed(pepper: bytes, challenge_id: uuid.UUID, code: str) -> bytes:
    """What is kept of `code`: worth nothing without the pepper, nor for another challenge."""
    return hmac.digest(pepper, challenge_id.bytes + code.encode(), "sha256")


def message(code: str) -> str:
    """The text message that carries `code`."""
    minutes = LIFETIME // timedelta(minutes=1)
    return f"{code} is your PropMubi code, good for {minutes} minutes. Never tell it to anybody."


def refused() -> Unauthenticated:
    """Wrong, expired, used, replaced and unknown are one answer: a guesser learns nothing."""
    return Unauthenticated(
        "The code is wrong or has expired: ask for a new one.", reason="OTP_INVALID"
    )
