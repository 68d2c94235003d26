"""Signing in with a password, and setting one.

Comparing takes a quarter of a second and is no work for a transaction: a try is counted in one (`begin`), compared
outside any, and ended in another.
"""

import uuid
from dataclasses import dataclass

from auth_service import audit
from auth_service.guesses import Guess, Guesses
from auth_service.passwords.domain import Stored, refused
from auth_service.passwords.hashing import PasswordHasher
from auth_service.passwords.repository import PasswordRepository
from auth_service.sessions.domain import SignedIn
from auth_service.sessions.service import SessionService
from auth_service.users.domain import User
from auth_service.users.service import UserService
from chassis.database import Transaction
from chassis.errors import DomainError, PermissionDenied, StaleVersion, Unauthenticated
from chassis.identity import Principal

# Who tries to sign in is nobody yet.
ANYBODY = "anybody"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try that is counted and not yet judged. `stored` is None where there is nothing to compare with: nobody has the
    phone, or she has no password.
    """

    guess: Guess
    user_id: uuid.UUID | None
    stored: Stored | None


class PasswordService:
    """The use cases of passwords. Each takes the transaction that its caller opened."""

    def __init__(
        self,
        passwords: PasswordRepository,
        users: UserService,
        sessions: SessionService,
        guesses: Guesses,
        hasher: PasswordHasher,
    ) -> None:
        self._passwords = passwords
        self._users = users
        self._sessions = sessions
        self._guesses = guesses
        # For what is done outside any transaction.
        self.hasher = hasher

    async def begin(self, tx: Transaction, phone: str) -> Attempt:
        """Count a try for `phone`; raises what `Guesses.begin` raises, whether anybody has the phone or not."""
        guess = await self._guesses.begin(tx, phone)
        return Attempt(guess, *await self._passwords.of_phone(tx, phone))

    async def refuse(self, tx: Transaction, attempt: Attempt, actor: str) -> Unauthenticated:
        """Write down that a try of `actor` was wrong: the refusal, returned and not raised: the record is to stay."""
        await audit.record(tx, "password.refused", actor=actor, user_id=attempt.user_id)
        if attempt.guess.is_last:
            await self._guesses.note_locked(tx, attempt.guess, attempt.user_id)
        return refused()

    async def sign_in(
        self, tx: Transaction, attempt: Attempt, matched: bool
    ) -> SignedIn | DomainError:
        """A session for who knew the password. A refusal is returned, not raised, so that its record is committed."""
        if not matched or attempt.stored is None:
            return await self.refuse(tx, attempt, ANYBODY)
        # Everybody locks in this order: sessions, guesses, codes, users, and what else is theirs.
        await self._guesses.succeeded(tx, attempt.guess)
        try:
            user = await self._users.returning(tx, attempt.stored.user_id)
        except PermissionDenied as error:
            return error
        if not await self._is_right_yet(tx, attempt, user):
            return refused()
        return await self._sessions.start(tx, user)

    async def set(
        self,
        tx: Transaction,
        caller: Principal,
        phone: str,
        encrypted_hash: bytes,
        attempt: Attempt | None,
    ) -> None:
        """Make it the password of the caller, whose `phone` that is and who proved by `attempt`, a right one, or by a
        code to be herself. Whoever else is signed in to her account is signed out.
        """
        session_id = uuid.UUID(caller.session_id)
        await self._sessions.end_all(
            tx, caller.user_id, caller.subject, "password_set", kept=session_id
        )
        await self._guesses.forget(tx, phone)
        if attempt is not None:
            await self._guesses.succeeded(tx, attempt.guess)
        user = await self._users.returning(tx, caller.user_id)
        if attempt is not None and not await self._is_right_yet(tx, attempt, user):
            raise StaleVersion
        await self._passwords.set(tx, user.id, encrypted_hash)
        await audit.record(tx, "password.set", actor=caller.subject, user_id=user.id)

    async def _is_right_yet(self, tx: Transaction, attempt: Attempt, user: User) -> bool:
        """Whether neither the phone nor the password of `user`, who is locked, changed since they were compared."""
        if user.phone != attempt.guess.phone or attempt.stored is None:
            return False
        return await self._passwords.still(tx, attempt.stored)
