"""Passwords, which a person may have beside one-time passwords: what is kept of one, and what a try is."""

import unicodedata
import uuid
from dataclasses import dataclass

from chassis.errors import Unauthenticated


@dataclass(frozen=True, slots=True)
class Stored:
    """What is kept of a user's password."""

    user_id: uuid.UUID
    encrypted_hash: bytes


def normalised(password: str) -> str:
    """The same characters however a keyboard composes them (NFKC)."""
    return unicodedata.normalize("NFKC", password)


def refused() -> Unauthenticated:
    """Unknown phones, people without a password and wrong passwords are one answer."""
    return Unauthenticated(
        "The phone and password do not match: try again, or sign in with a code.",
        reason="CREDENTIALS_INVALID",
    )
