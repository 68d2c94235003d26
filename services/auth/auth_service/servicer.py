"""AuthService on the wire: messages in, use cases, messages out."""

import hmac
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.empty_pb2 import Empty
from pydantic import SecretStr

from auth_service import metrics, texts
from auth_service.access_tokens import LIFETIME_SECONDS, AccessTokens
from auth_service.otp.delivery import Delivery
from auth_service.otp.service import LIFETIME_SECONDS as OTP_SECONDS
from auth_service.otp.service import OtpService
from auth_service.passwords.service import PasswordService
from auth_service.sessions.domain import RefreshTokenReused, SignedIn
from auth_service.sessions.service import SessionService
from auth_service.signing_keys.service import SigningKeys
from auth_service.users.servicer import to_proto
from chassis import phones
from chassis.context import principal
from chassis.database import Database
from chassis.errors import DomainError, Unauthenticated
from chassis.settings import clear
from propmubi.auth.v1 import auth_pb2 as pb
from propmubi.auth.v1 import auth_pb2_grpc


class AuthServicer(auth_pb2_grpc.AuthServiceServicer):
    """Serves propmubi.auth.v1.AuthService."""

    def __init__(
        self,
        database: Database,
        *,
        otp: OtpService,
        delivery: Delivery,
        passwords: PasswordService,
        sessions: SessionService,
        keys: SigningKeys,
        tokens: AccessTokens,
        service_secrets: Mapping[str, Sequence[SecretStr]],
    ) -> None:
        self._database = database
        self._otp = otp
        self._delivery = delivery
        self._passwords = passwords
        self._sessions = sessions
        self._keys = keys
        self._tokens = tokens
        self._service_secrets = service_secrets

    async def RequestOtp(
        self, request: pb.RequestOtpRequest, context: Any
    ) -> pb.RequestOtpResponse:
        phone = self._otp.recipient(request.phone)
        async with self._database.transaction() as tx:
            challenge_id, body = await self._otp.request(tx, phone)
            reply = tx.reply(
                pb.RequestOtpResponse(challenge_id=str(challenge_id), expires_in=OTP_SECONDS)
            )
        self._delivery.post_code(phone, body)
        return reply

    async def VerifyOtp(self, request: pb.VerifyOtpRequest, context: Any) -> pb.TokenResponse:
        challenge_id = uuid.UUID(request.challenge_id)
        async with self._database.transaction() as tx:
            outcome = await self._otp.verify(tx, challenge_id, request.code)
        metrics.OTP.labels("refused" if isinstance(outcome, DomainError) else "verified").inc()
        return self._signed_in(outcome)

    async def UnlockSignIn(self, request: pb.UnlockSignInRequest, context: Any) -> Empty:
        async with self._database.transaction() as tx:
            await self._otp.unlock(tx, principal(), request.phone)
            return tx.reply(Empty())

    async def LogIn(self, request: pb.LogInRequest, context: Any) -> pb.TokenResponse:
        phone = phones.normalise(request.phone)
        with self._passwords.hasher.place():
            async with self._database.transaction() as tx:
                attempt = await self._passwords.begin(tx, phone)
            matched = await self._passwords.hasher.matches(request.password, attempt.stored)
            async with self._database.transaction() as tx:
                outcome = await self._passwords.sign_in(tx, attempt, matched)
        metrics.PASSWORD.labels("refused" if isinstance(outcome, DomainError) else "verified").inc()
        return self._signed_in(outcome)

    async def RefreshToken(self, request: pb.RefreshTokenRequest, context: Any) -> pb.TokenResponse:
        async with self._database.transaction() as tx:
            outcome = await self._sessions.refresh(tx, request.refresh_token)
        if isinstance(outcome, RefreshTokenReused):
            metrics.REFRESH_REUSE.inc()
            self._delivery.post_notice(outcome.phone, texts.SESSION_ENDED)
        return self._signed_in(outcome)

    async def Logout(self, request: pb.LogoutRequest, context: Any) -> Empty:
        async with self._database.transaction() as tx:
            await self._sessions.sign_out(tx, principal())
            return tx.reply(Empty())

    async def GetJwks(self, request: pb.GetJwksRequest, context: Any) -> pb.GetJwksResponse:
        return await self._keys.published()

    async def IssueServiceToken(
        self, request: pb.IssueServiceTokenRequest, context: Any
    ) -> pb.IssueServiceTokenResponse:
        # Something is compared also for a name that nobody has, so that names can't be told by time.
        known = clear(self._service_secrets.get(request.service_id, ())) or [""]
        given = request.service_secret.encode()
        if not any(hmac.compare_digest(secret.encode(), given) for secret in known):
            raise Unauthenticated("The service id and secret do not match.")
        return pb.IssueServiceTokenResponse(
            access_token=self._tokens.of_service(request.service_id), expires_in=LIFETIME_SECONDS
        )

    def _signed_in(self, outcome: SignedIn | DomainError) -> pb.TokenResponse:
        """The tokens of whoever signed in, or the refusal whose record is committed by now."""
        if isinstance(outcome, DomainError):
            raise outcome
        return pb.TokenResponse(
            access_token=self._tokens.of_person(outcome),
            token_type="Bearer",  # noqa: S106  A scheme.
            expires_in=LIFETIME_SECONDS,
            refresh_token=outcome.refresh_token,
            user=to_proto(outcome.user),
        )
