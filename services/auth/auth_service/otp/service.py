"""Asking for a one-time password, and signing in with it."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from auth_service import audit, guesses, metrics
from auth_service.allowances import Allowance
from auth_service.guesses import Guesses
from auth_service.otp.domain import (
    LIFETIME,
    Purpose,
    hashed,
    message,
    new_code,
    range_of,
    refused,
)
from auth_service.otp.repository import OtpRepository
from auth_service.sessions.domain import SignedIn
from auth_service.sessions.service import SessionService
from auth_service.users.service import UserService
from chassis import india, phones
from chassis.database import Transaction
from chassis.errors import DomainError, InvalidArgument, PermissionDenied, RateLimited, Violation
from chassis.identity import Principal
from chassis.ids import new_id

LIFETIME_SECONDS = int(LIFETIME.total_seconds())

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SendLimits:
    """How much may be sent: each SMS costs money, and whoever owns a range of numbers earns by what is sent to it."""

    countries: frozenset[str]
    per_phone: Allowance
    per_range: Allowance
    per_day: int


class OtpService:
    """The use cases of one-time passwords. Each takes the transaction that its caller opened."""

    def __init__(
        self,
        challenges: OtpRepository,
        users: UserService,
        sessions: SessionService,
        *,
        pepper: bytes,
        sends: SendLimits,
        guesses: Guesses,
    ) -> None:
        self._challenges = challenges
        self._users = users
        self._sessions = sessions
        self._pepper = pepper
        self._sends = sends
        self._guesses = guesses

    def recipient(self, phone: str) -> str:
        """`phone` in E.164 form; raises InvalidArgument for one that we don't send to."""
        number = phones.normalise(phone)
        if phones.country(number) not in self._sends.countries:
            raise InvalidArgument(Violation("phone", "is in a country that we don't send codes to"))
        return number

    async def request(
        self, tx: Transaction, phone: str, purpose: str = Purpose.SIGN_IN
    ) -> tuple[uuid.UUID, str]:
        """A new challenge for `phone`, in place of any before it, and the text message to send.

        Nobody is looked up, so that a known and an unknown phone can't be told apart.
        """
        [challenge] = await self.request_all(tx, [(phone, purpose)])
        return challenge

    async def request_all(
        self, tx: Transaction, wanted: Sequence[tuple[str, str]]
    ) -> list[tuple[uuid.UUID, str]]:
        """The same for each phone and its purpose, or for none of them."""
        # Everybody locks in this order: phones, their ranges, and last the day, for which all who send wait.
        numbers = sorted(phone for phone, _ in wanted)
        for phone in numbers:
            await self._guesses.check_open(tx, phone)
            await self._sends.per_phone.take(tx, phone)
        for phone in numbers:
            await self._sends.per_range.take(tx, range_of(phone))
        challenges = []
        for phone, purpose in wanted:
            challenge_id, code = new_id(), new_code()
            await self._challenges.replace(
                tx, challenge_id, phone, purpose, hashed(self._pepper, challenge_id, code)
            )
            challenges.append((challenge_id, message(code, purpose)))
        for _ in wanted:
            await self._spend(tx)
        return challenges

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
        found = await self._challenges.look(tx, challenge_id, purpose)
        if found is None:
            return refused()
        phone, is_live = found
        if not is_live:
            await self._guesses.try_in_vain(tx, phone)
            return refused()
        guess = await self._guesses.begin(tx, phone)
        given = hashed(self._pepper, challenge_id, code)
        if not await self._challenges.try_code(tx, challenge_id, given):
            if guess.is_last:
                await self._guesses.note_locked(tx, guess, await self._users.id_of(tx, phone))
            return refused()
        await self._guesses.succeeded(tx, guess)
        return phone

    async def forget(self, tx: Transaction, phone: str) -> None:
        """Forget what was sent to `phone`; how often it was is remembered for a day, lest it be sent to without end."""
        await self._challenges.remove(tx, phone)

    async def unlock(self, tx: Transaction, caller: Principal, phone: str) -> None:
        """Forget all failures at `phone`, by whatever method: an administrator knows who holds it."""
        number = phones.normalise(phone)
        await guesses.forgive(tx, number)
        await audit.record(
            tx,
            "sign_in.unlocked",
            actor=caller.subject,
            user_id=await self._users.id_of(tx, number),
            last_digits=number[-4:],
        )

    async def _spend(self, tx: Transaction) -> None:
        if not await self._challenges.spend(tx, india.today(), self._sends.per_day):
            metrics.REFUSED.labels("otp day").inc()
            log.error("no more codes are sent today", limit=self._sends.per_day)
            raise RateLimited(
                "No more codes can be sent today: try again tomorrow.",
                retry_after=india.seconds_left_today(),
            )
