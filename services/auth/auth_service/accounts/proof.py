"""That it is really she who asks, and not somebody with a token of hers: her password, or a code sent to her phone."""

import uuid

from auth_service import metrics
from auth_service.otp.domain import Purpose
from auth_service.otp.service import Given, OtpService
from auth_service.passwords.service import Attempt, PasswordService
from auth_service.users.domain import User
from chassis.database import Database
from chassis.errors import DomainError, InvalidArgument, StaleVersion, Violation
from propmubi.auth.v1 import accounts_pb2 as pb


class Proofs:
    """Checks what proves whose account it is. Each try is counted and committed, whatever comes of it."""

    def __init__(self, database: Database, otp: OtpService, passwords: PasswordService) -> None:
        self._database = database
        self._otp = otp
        self._passwords = passwords

    async def check(
        self, request: pb.SetPasswordRequest | pb.EraseMeRequest, user: User
    ) -> Attempt | None:
        """Raise InvalidArgument unless `request` proves to come from `user`; the try of her password, if it was one.

        A password is compared in the place of the hasher's that the caller has taken.
        """
        if request.HasField("current_password") == request.HasField("confirmation"):
            raise InvalidArgument(
                Violation(
                    "confirmation",
                    "prove that it is you: send either current_password or a confirmation, the code from"
                    " POST /v1/users/me/otp",
                )
            )
        if request.HasField("confirmation"):
            [phone] = await self._phones(user, confirmation=(request.confirmation, Purpose.CONFIRM))
            if phone != user.phone:
                raise StaleVersion
            return None
        return await self._password(request.current_password, user)

    async def phones(
        self, user: User, current: pb.Confirmation, new: pb.Confirmation
    ) -> tuple[str, str]:
        """The phones that `user` has and is to have, both of which she proved to hold; raises InvalidArgument.

        A wrong code leaves the other as good as it was.
        """
        old, wanted = await self._phones(
            user, current=(current, Purpose.CONFIRM), new=(new, Purpose.NEW_PHONE)
        )
        return old, wanted

    async def _phones(self, user: User, **codes: tuple[pb.Confirmation, Purpose]) -> list[str]:
        """The phones that the codes, by the names of their fields, were sent to."""
        given = [
            Given(uuid.UUID(code.challenge_id), code.code, purpose.of(user.id))
            for code, purpose in codes.values()
        ]
        async with self._database.transaction() as tx:
            proven = await self._otp.prove_all(tx, given)
        for field, outcome in zip(codes, proven, strict=True):
            if isinstance(outcome, DomainError):
                metrics.OTP.labels("refused").inc()
                raise InvalidArgument(
                    Violation(f"{field}.code", "is wrong or has expired: ask for a new one"),
                    reason=outcome.reason,
                )
        metrics.OTP.labels("verified").inc(len(proven))
        return [str(phone) for phone in proven]

    async def _password(self, password: str, user: User) -> Attempt:
        async with self._database.transaction() as tx:
            attempt = await self._passwords.begin(tx, user.phone)
        if await self._passwords.hasher.matches(password, attempt.stored):
            return attempt
        async with self._database.transaction() as tx:
            await self._passwords.refuse(tx, attempt, str(user.id))
        raise InvalidArgument(
            Violation("current_password", "is not your password"), reason="CREDENTIALS_INVALID"
        )
