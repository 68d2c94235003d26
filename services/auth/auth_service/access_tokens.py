"""Access tokens (RFC 9068): signed statements of who somebody is, good for ten minutes."""

import time
from typing import Any

import jwt

from auth_service.sessions.domain import SignedIn
from auth_service.signing_keys.domain import ALGORITHM
from auth_service.signing_keys.service import SigningKeys
from auth_service.users.domain import token_time
from chassis.ids import new_id
from chassis.verification import TOKEN_TYPE

LIFETIME_SECONDS = 600


class AccessTokens:
    """Issues access tokens."""

    def __init__(self, keys: SigningKeys, *, issuer: str, audience: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience

    def of_person(self, signed_in: SignedIn) -> str:
        user = signed_in.user
        ids = {
            name: str(value)
            for name in ("agent_id", "office_id", "builder_id")
            if (value := getattr(user, name)) is not None
        }
        return self._sign(
            token_time(user, signed_in.issued_at),
            sub=str(user.id),
            sid=str(signed_in.session_id),
            roles=list(user.roles),
            **ids,
        )

    def of_service(self, name: str) -> str:
        return self._sign(int(time.time()), sub=f"service:{name}", roles=["service"])

    def _sign(self, issued_at: int, **claims: Any) -> str:
        kid, key = self._keys.signer()
        payload = {
            "iss": self._issuer,
            "aud": self._audience,
            "iat": issued_at,
            "exp": issued_at + LIFETIME_SECONDS,
            "jti": str(new_id()),
            **claims,
        }
        headers = {"typ": TOKEN_TYPE, "kid": kid}
        return jwt.encode(payload, key, algorithm=ALGORITHM, headers=headers)
