"""Access tokens (RFC 9068), verified: every process does so for itself with auth's public keys, and believes no header
that says who somebody is.
"""

import time
import uuid
from collections.abc import Mapping
from typing import Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from chassis.errors import Unauthenticated
from chassis.identity import CALLER_OF_ROLE, Principal
from chassis.revocations import Revocations
from propmubi.options.v1.options_pb2 import Caller

ALGORITHM = "ES256"
TOKEN_TYPE = "at+jwt"  # noqa: S105  The media type of RFC 9068, not a password.
LEEWAY_SECONDS = 30
# Verified tokens remembered; a signature check costs a hundred times a look-up.
REMEMBERED = 20_000
# A token is some 700 bytes; anything past this is not one.
LONGEST_TOKEN = 4_096


class Keys(Protocol):
    """Where public keys come from."""

    def get(self, kid: str) -> EllipticCurvePublicKey | None:
        """The key, if it is at hand and was not withdrawn."""

    async def find(self, kid: str) -> EllipticCurvePublicKey | None:
        """The key, looked for where keys come from when it is not at hand; that is done seldom, so not for each."""

    def renew(self) -> None:
        """Look again soon where keys come from: they have changed."""


class TokenVerifier:
    """Turns a bearer token into a Principal, or raises Unauthenticated without saying which check failed."""

    def __init__(self, keys: Keys, revocations: Revocations, *, issuer: str, audience: str) -> None:
        self._keys = keys
        self._revocations = revocations
        self._issuer = issuer
        self._audience = audience
        # With the kid of the key that each was verified with.
        self._remembered: dict[str, tuple[Principal, str]] = {}

    async def verify(self, token: str) -> Principal:
        """The principal of `token`; raises Unauthenticated."""
        known = self._remembered.get(token)
        if known is None:
            principal, kid = await self._verified(token)
            if len(self._remembered) >= REMEMBERED:
                self._remembered.pop(next(iter(self._remembered)))
            self._remembered[token] = principal, kid
        else:
            principal, kid = known
            if principal.expires_at + LEEWAY_SECONDS <= time.time() or self._keys.get(kid) is None:
                self._remembered.pop(token, None)
                raise _refused()
        if self._revocations.covers(principal):
            raise _refused()
        return principal

    async def _verified(self, token: str) -> tuple[Principal, str]:
        if len(token) > LONGEST_TOKEN:
            raise _refused()
        try:
            header = jwt.get_unverified_header(token)
            # The header chooses among our own keys and nothing else: no algorithm, no key, no address from outside.
            if (
                set(header) != {"alg", "kid", "typ"}
                or header["alg"] != ALGORITHM
                or header["typ"] != TOKEN_TYPE
            ):
                raise _refused()
            kid = str(header["kid"])
            key = await self._keys.find(kid)
            if key is None:
                raise _refused()
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "iss", "aud", "sub", "jti"]},
            )
            return _principal(token, claims), kid
        except (jwt.InvalidTokenError, ValueError, TypeError, KeyError) as error:
            raise _refused() from error


def _principal(token: str, claims: Mapping[str, object]) -> Principal:
    roles = claims.get("roles", [])
    if not isinstance(roles, list):
        raise TypeError("roles is not a list")
    names = frozenset(str(role) for role in roles)
    callers = {CALLER_OF_ROLE[name] for name in names if name in CALLER_OF_ROLE} | {
        Caller.CALLER_ANYONE
    }
    if "service" not in names:
        callers.add(Caller.CALLER_PERSON)
        uuid.UUID(str(claims["sub"]))
    return Principal(
        subject=str(claims["sub"]),
        session_id=str(claims.get("sid", "")),
        roles=names,
        agent_id=_optional_id(claims, "agent_id"),
        office_id=_optional_id(claims, "office_id"),
        builder_id=_optional_id(claims, "builder_id"),
        issued_at=int(str(claims["iat"])),
        expires_at=int(str(claims["exp"])),
        token=token,
        callers=frozenset(callers),
    )


def _optional_id(claims: Mapping[str, object], name: str) -> uuid.UUID | None:
    value = claims.get(name)
    return None if value is None else uuid.UUID(str(value))


def _refused() -> Unauthenticated:
    return Unauthenticated("The access token is not valid: refresh it or sign in again.")
