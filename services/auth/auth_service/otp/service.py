"""Asking for a one-time password, and signing in with it."""

import uuid

from auth_service.allowances import Allowance
from auth_service.otp.domain import LIFETIME, Purpose, hashed, message, new_code, refused
from auth_service.otp.repository import OtpRepository
from auth_service.sessions.domain import SignedIn
from auth_service.sessions.service import SessionService
from auth_service.users.service import UserService
from chassis import phones
from chassis.database import Transaction
from chassis.errors import DomainError, InvalidArgument, PermissionDenied, Violation
from chassis.ids import new_id

LIFETIME_SECONDS = int(LIFETIME.total_seconds())


class OtpService:
    """The use cases of one-time passwords. Each takes the transaction that its caller opened."""

    def __init__(
        self,
        challenges: OtpRepository,
        users: UserService,
        sessions: SessionService,
        *,
        pepper: bytes,
        countries: frozenset[str],
        sends: Allowance,
        failures: Allowance,
    ) -> None:
        self._challenges = challenges
        self._users = users
        self._sessions = sessions
        self._pepper = pepper
        self._countries = countries
        self._sends = sends
        self._failures = failures

    def recipient(self, phone: str) -> str:
        """`phone` in E.164 form; raises InvalidArgument for one that we don't send to."""
        number = phones.normalise(phone)
        if phones.country(number) not in self._countries:
            raise InvalidArgument(Violation("phone", "is in a country that we don't send codes to"))
        return number

    async def request(
        self, tx: Transaction, phone: str, purpose: str = Purpose.SIGN_IN
    ) -> tuple[uuid.UUID, str]:
        """A new challenge for `phone`, in place of any before it, and the text message to send.

        Nobody is looked up, so that a known and an unknown phone can't be told apart.
        """
        await self._sends.take(tx, phone)
        challenge_id, code = new_id(), new_code()
        await self._challenges.replace(
            tx, challenge_id, phone, purpose, hashed(self._pepper, challenge_id, code)
        )
        return challenge_id, message(code, purpose)

    async def verify(
        self, tx: Transaction, challenge_id: uuid.UUID, code: str
    ) -> SignedIn | DomainError:
        """A session for whoever holds the phone. A refusal is returned, not raised, so that the try stays counted."""
        phone = await self.prove(tx, challenge_id, code, Purpose.SIGN_IN)
        if isinstance(phone, DomainError):
            return phone
        try:
            user = await self._users.sign_in(tx, phone)
        except PermissionDenied as error:
            return error
        return await self._sessions.start(tx, user)

    async def prove(
        self, tx: Transaction, challenge_id: uuid.UUID, code: str, purpose: str
    ) -> str | DomainError:
        """The phone that its holder proved to hold, by the code sent to it for `purpose`; else the refusal, returned
        and not raised, so that the try stays counted.
        """
        phone = await self._challenges.phone_of(tx, challenge_id, purpose)
        if phone is None:
            return refused()
        counted = await self._failures.take(tx, phone)
        given = hashed(self._pepper, challenge_id, code)
        if not await self._challenges.try_code(tx, challenge_id, given):
            return refused()
        await self._failures.give_back(tx, phone, counted)
        return phone
