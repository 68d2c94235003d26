"""AccountService on the wire: messages in, use cases, messages out."""

import uuid
from typing import Any

from google.protobuf.empty_pb2 import Empty

from auth_service import metrics
from auth_service.otp.delivery import CODE_SECONDS, Delivery
from auth_service.otp.domain import Purpose
from auth_service.otp.service import LIFETIME_SECONDS, OtpService
from auth_service.passwords.domain import was_set
from auth_service.passwords.hashing import PasswordHasher
from auth_service.passwords.service import Attempt, PasswordService
from auth_service.passwords.strength import check_new
from auth_service.users.domain import User
from auth_service.users.service import UserService
from chassis.context import principal
from chassis.database import Database
from chassis.errors import DomainError, InvalidArgument, Violation
from propmubi.auth.v1 import accounts_pb2 as pb
from propmubi.auth.v1 import accounts_pb2_grpc


class AccountServicer(accounts_pb2_grpc.AccountServiceServicer):
    """Serves propmubi.auth.v1.AccountService."""

    def __init__(
        self,
        database: Database,
        *,
        users: UserService,
        otp: OtpService,
        delivery: Delivery,
        passwords: PasswordService,
        hasher: PasswordHasher,
    ) -> None:
        self._database = database
        self._users = users
        self._otp = otp
        self._delivery = delivery
        self._passwords = passwords
        self._hasher = hasher

    async def RequestConfirmation(
        self, request: pb.RequestConfirmationRequest, context: Any
    ) -> pb.RequestConfirmationResponse:
        user = await self._users.me(principal())
        async with self._database.transaction() as tx:
            purpose = Purpose.CONFIRM.of(user.id)
            challenge_id, body = await self._otp.request(tx, user.phone, purpose)
            reply = tx.reply(
                pb.RequestConfirmationResponse(
                    challenge_id=str(challenge_id), expires_in=LIFETIME_SECONDS
                )
            )
        metrics.OTP.labels("requested").inc()
        self._delivery.post(user.phone, body, good_for=CODE_SECONDS)
        return reply

    async def SetPassword(self, request: pb.SetPasswordRequest, context: Any) -> Empty:
        caller = principal()
        user = await self._users.me(caller)
        with self._hasher.place():
            about_her = (user.full_name, user.email, user.phone)
            await self._hasher.run(lambda: check_new(request.password, about_her))
            attempt = await self._prove(request, user)
            encrypted = await self._hasher.hash(request.password, user.id)
            async with self._database.transaction() as tx:
                await self._passwords.set(tx, caller, encrypted, attempt)
        self._delivery.post(user.phone, was_set())
        return Empty()

    async def _prove(self, request: pb.SetPasswordRequest, user: User) -> Attempt | None:
        """That it is really `user` who asks: the try of her password, or None when a code proved it; raises
        InvalidArgument.
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
            await self._confirm(request.confirmation, user)
            return None
        async with self._database.transaction() as tx:
            attempt = await self._passwords.begin(tx, user.phone)
        if await self._hasher.matches(request.current_password, attempt.stored):
            return attempt
        async with self._database.transaction() as tx:
            await self._passwords.refuse(tx, attempt, str(user.id))
        raise InvalidArgument(
            Violation("current_password", "is not your password"), reason="CREDENTIALS_INVALID"
        )

    async def _confirm(self, given: pb.Confirmation, user: User) -> None:
        """Raises InvalidArgument unless the code is the one sent to the phone of `user`."""
        challenge_id = uuid.UUID(given.challenge_id)
        async with self._database.transaction() as tx:
            proven = await self._otp.prove(
                tx, challenge_id, given.code, Purpose.CONFIRM.of(user.id)
            )
        metrics.OTP.labels("refused" if isinstance(proven, DomainError) else "verified").inc()
        if proven != user.phone:
            raise InvalidArgument(
                Violation("confirmation.code", "is wrong or has expired: ask for a new one"),
                reason="OTP_INVALID",
            )
