"""Auth's public keys, and the token of the process itself: fetched from auth, kept while auth is away."""

import asyncio
import base64
import time

import grpc
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)

from chassis.errors import DomainError, Unavailable
from chassis.fresh import Fresh
from chassis.grpc_client import outgoing
from propmubi.auth.v1.auth_pb2 import (
    GetJwksRequest,
    GetJwksResponse,
    IssueServiceTokenRequest,
    JsonWebKey,
)
from propmubi.auth.v1.auth_pb2_grpc import AuthServiceStub

REFRESH_SECONDS = 300.0
# An unknown kid makes us ask, but never more often than this: anybody can send tokens.
UNKNOWN_KID_SECONDS = 30.0
# Renew a service token while it still has this long to live.
RENEW_SECONDS = 60.0


class RemoteKeys:
    """The key set that auth publishes."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = AuthServiceStub(outgoing(channel))
        self._keys: dict[str, EllipticCurvePublicKey] = {}
        self._fresh = Fresh(
            "jwks", self._fetch, seconds=REFRESH_SECONDS, seldom=UNKNOWN_KID_SECONDS
        )
        self.loaded = self._fresh.loaded
        self.run = self._fresh.run
        self.renew = self._fresh.renew

    def get(self, kid: str) -> EllipticCurvePublicKey | None:
        return self._keys.get(kid)

    async def find(self, kid: str) -> EllipticCurvePublicKey | None:
        if kid not in self._keys:
            await self._fresh.missed()
        return self._keys.get(kid)

    async def _fetch(self) -> None:
        found = public_keys(await self._stub.GetJwks(GetJwksRequest()))
        if not found:
            raise Unavailable("Auth answers already, but makes its first key only now.")
        self._keys = found


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
