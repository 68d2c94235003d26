"""Asking for a one-time password, and signing in with it."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from auth_service import audit, guesses
from auth_service.guesses import Guesses
from auth_service.otp.domain import LIFETIME, Purpose, hashed, new_code, refused
from auth_service.otp.repository import OtpRepository
from auth_service.otp.sends import Sends
from auth_service.sessions.domain import SignedIn
from auth_service.sessions.service import SessionService
from auth_service.texts import confirmation_code, sign_in_code
from auth_service.users.service import UserService
from chassis import phones
from chassis.database import Transaction
from chassis.errors import DomainError, PermissionDenied
from chassis.identity import Principal
from chassis.ids import new_id

LIFETIME_SECONDS = int(LIFETIME.total_seconds())


@dataclass(frozen=True, slots=True)
class Given:
    """A code, and what it was sent for."""

    challenge_id: uuid.UUID
    code: str
    purpose: str


class OtpService:
    """The use cases of one-time passwords. Each takes the transaction that its caller opened."""

    def __init__(
        self,
        challenges: OtpRepository,
        users: UserService,
        sessions: SessionService,
        *,
        pepper: bytes,
        sends: Sends,
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
        return self._sends.recipient(phone)

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
        await self._sends.take_codes(tx, numbers)
        challenges = {}
        for phone, purpose in sorted(wanted):
            challenge_id, code = new_id(), new_code()
            await self._challenges.replace(
                tx, challenge_id, phone, purpose, hashed(self._pepper, challenge_id, code)
            )
            text = sign_in_code if purpose == Purpose.SIGN_IN else confirmation_code
            challenges[phone, purpose] = challenge_id, text(code, LIFETIME)
        for _ in wanted:
            await self._sends.spend(tx)
        return [challenges[one] for one in wanted]

    async def verify(
        self, tx: Transaction, challenge_id: uuid.UUID, code: str
    ) -> SignedIn | DomainError:
        """A session for whoever holds the phone. A refusal is returned, not raised, so that the try stays counted."""
        phone = await self._prove(tx, Given(challenge_id, code, Purpose.SIGN_IN))
        if isinstance(phone, DomainError):
            return phone
        try:
            user = await self._users.sign_in(tx, phone)
        except PermissionDenied as error:
            return error
        return await self._sessions.start(tx, user)

    async def prove_all(
        self, tx: Transaction, given: Sequence[Given]
    ) -> list[str | DomainError | None]:
        """The phones that their holder proved to hold, by the codes sent to them; or for the first code that is wrong
        the refusal, returned and not raised, so that the try stays counted, and for all others None: they stay good.
        """
        found = [await self._challenges.look(tx, one.challenge_id, one.purpose) for one in given]
        proven: dict[int, str | DomainError] = {}
        # In the order of the phones, as everybody locks them.
        for place in sorted(range(len(given)), key=lambda place: str(found[place])):
            outcome = await self._prove(tx, given[place])
            if isinstance(outcome, DomainError):
                for other in proven:
                    await self._challenges.issue_again(tx, given[other].challenge_id)
                proven = {place: outcome}
                break
            proven[place] = outcome
        return [proven.get(place) for place in range(len(given))]

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

    async def _prove(self, tx: Transaction, given: Given) -> str | DomainError:
        """The phone that the code went to; else the refusal, returned and not raised, so that the try stays counted."""
        found = await self._challenges.look(tx, given.challenge_id, given.purpose)
        if found is None:
            return refused()
        phone, is_live = found
        if not is_live:
            await self._guesses.try_in_vain(tx, phone)
            return refused()
        guess = await self._guesses.begin(tx, phone)
        code_hash = hashed(self._pepper, given.challenge_id, given.code)
        if not await self._challenges.try_code(tx, given.challenge_id, code_hash):
            if guess.is_last:
                await self._guesses.note_locked(tx, guess, await self._users.id_of(tx, phone))
            return refused()
        await self._guesses.succeeded(tx, guess)
        return phone
