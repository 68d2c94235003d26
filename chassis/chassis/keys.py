"""Auth's public keys, and the token of the process itself: fetched from auth, kept while auth is away."""

import asyncio
import base64
import time

import grpc
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)

from chassis import metrics
from chassis.context import background_call, enter
from chassis.errors import DomainError, Unavailable
from chassis.grpc_client import outgoing
from chassis.identity import Revocations
from propmubi.auth.v1.auth_pb2 import (
    GetJwksRequest,
    GetJwksResponse,
    IssueServiceTokenRequest,
    JsonWebKey,
)
from propmubi.auth.v1.auth_pb2_grpc import AuthServiceStub
from propmubi.auth.v1.events_pb2 import RoleRevoked, SessionRevoked, UserSuspended
from propmubi.common.v1.event_pb2 import Event

REFRESH_SECONDS = 300.0
RETRY_SECONDS = 1.0
# An unknown kid makes us ask, but never more often than this: anybody can send tokens.
UNKNOWN_KID_SECONDS = 30.0
# Renew a service token while it still has this long to live.
RENEW_SECONDS = 60.0

log = structlog.get_logger()


class RemoteKeys:
    """The key set that auth publishes."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = AuthServiceStub(outgoing(channel))
        self._keys: dict[str, EllipticCurvePublicKey] = {}
        self._wanted = asyncio.Event()
        self.loaded = asyncio.Event()

    def get(self, kid: str) -> EllipticCurvePublicKey | None:
        key = self._keys.get(kid)
        if key is None:
            self._wanted.set()
        return key

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""
        while True:
            wait = REFRESH_SECONDS
            try:
                enter(background_call("jwks", seconds=5.0))
                found = public_keys(await self._stub.GetJwks(GetJwksRequest()))
                if found:
                    self._keys = found
                    self.loaded.set()
                else:  # Auth answers already, but makes its first key only now.
                    wait = RETRY_SECONDS
            except (DomainError, grpc.aio.AioRpcError, ValueError) as error:
                log.warning("jwks can't be fetched", error=type(error).__name__)
                wait = RETRY_SECONDS
            await self._pause(wait)

    async def _pause(self, seconds: float) -> None:
        """Wait `seconds`, or until an unknown kid was met, though never less than UNKNOWN_KID_SECONDS for that."""
        started = time.monotonic()
        self._wanted.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        except TimeoutError:
            return
        await asyncio.sleep(
            max(0.0, min(seconds, UNKNOWN_KID_SECONDS) - (time.monotonic() - started))
        )


def public_keys(jwks: GetJwksResponse) -> dict[str, EllipticCurvePublicKey]:
    """The keys of a set, by kid."""
    return {key.kid: _public_key(key) for key in jwks.keys}


def _public_key(key: JsonWebKey) -> EllipticCurvePublicKey:
    x, y = (int.from_bytes(base64.urlsafe_b64decode(part + "=="), "big") for part in (key.x, key.y))
    return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()


class ServiceToken:
    """The token of a service acting for itself, renewed before it expires."""

    def __init__(self, channel: grpc.aio.Channel, service_id: str, secret: str) -> None:
        self._stub = AuthServiceStub(outgoing(channel))
        self._request = IssueServiceTokenRequest(service_id=service_id, service_secret=secret)
        self._token = ""
        self._renew_at = 0.0
        self._lock = asyncio.Lock()

    async def __call__(self) -> str:
        async with self._lock:
            if time.monotonic() >= self._renew_at:
                try:
                    answer = await self._stub.IssueServiceToken(self._request, timeout=2.0)
                except (DomainError, grpc.aio.AioRpcError) as error:
                    # Even a refusal is our own trouble, not that of whoever we serve.
                    raise Unavailable("The service can't sign in just now: try again.") from error
                self._token = answer.access_token
                self._renew_at = time.monotonic() + answer.expires_in - RENEW_SECONDS
            return self._token


def revoke(revocations: Revocations, event: Event) -> None:
    """Take what `event`, one of auth's, says was revoked into `revocations`."""
    session = SessionRevoked()
    if event.payload.Unpack(session):
        revocations.revoke_session(session.session_id)
    for kind in (RoleRevoked, UserSuspended):
        user = kind()
        if event.payload.Unpack(user):
            revocations.revoke_user(user.user_id, issued_until=user.tokens_issued_before.seconds)


def on_gap(behind: bool) -> None:
    """Tell whoever is on call that revocations don't arrive."""
    metrics.REVOCATIONS_BEHIND.set(behind)
