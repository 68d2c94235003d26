"""One-time passwords: six digits, good for one challenge and five minutes."""

import hmac
import secrets
import uuid
from datetime import timedelta
from enum import StrEnum

from chassis.errors import Unauthenticated

LIFETIME = timedelta(seconds=300)
MAX_ATTEMPTS = 5
TOO_MANY_CODES = "Codes were asked for too often: wait and try again, or use the one you have."


class Purpose(StrEnum):
    """What a code proves a phone for. A code for one purpose, or for one person, is worth nothing for another."""

    SIGN_IN = "sign_in"
    # That the phone of an account is still in its owner's hand, before a change that a stolen token must not make.
    CONFIRM = "confirm"
    # That the number an account is to have is its owner's.
    NEW_PHONE = "new_phone"

    def of(self, user_id: uuid.UUID) -> str:
        """The purpose for one person: her challenges neither replace nor answer anybody else's."""
        return f"{self}:{user_id}"


class ChallengeStatus(StrEnum):
    """An issued challenge ends as one of the others, and stays so."""

    ISSUED = "issued"
    VERIFIED = "verified"
    # Past its time, or replaced by a later challenge.
    EXPIRED = "expired"
    LOCKED = "locked"


def new_code() -> str:
    """Six digits from the system's random source."""
    return f"{secrets.randbelow(1_000_000):06d}"


def hashed(pepper: bytes, challenge_id: uuid.UUID, code: str) -> bytes:
    """What is kept of `code`: worth nothing without the pepper, nor for another challenge."""
    return hmac.digest(pepper, challenge_id.bytes + code.encode(), "sha256")


def range_of(phone: str) -> str:
    """The ten thousand numbers that `phone` is one of. Who makes money with SMS sends them to whole ranges."""
    return phone[:-4]


def refused() -> Unauthenticated:
    """Wrong, expired, used, replaced and unknown are one answer: a guesser learns nothing."""
    return Unauthenticated(
        "The code is wrong or has expired: ask for a new one.", reason="OTP_INVALID"
    )
