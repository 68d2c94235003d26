"""HS256 access tokens, and the dependency that wants one."""

import time
import uuid
from typing import Annotated

import jwt
from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

ISSUER, AUDIENCE = "monolith", "propmubi"
LIFETIME_SECONDS = 3600

bearer = HTTPBearer(auto_error=False)


class Principal(BaseModel):
    sub: uuid.UUID
    roles: list[str]


def issue(secret: str, subject: uuid.UUID, roles: list[str]) -> str:
    now = int(time.time())
    claims = {
        "sub": str(subject),
        "roles": roles,
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + LIFETIME_SECONDS,
    }
    return jwt.encode(claims, secret, algorithm="HS256")


async def get_principal(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Principal:
    if credentials is None:
        raise HTTPException(401, "Sign in first.", {"WWW-Authenticate": "Bearer"})
    try:
        claims = jwt.decode(
            credentials.credentials,
            request.app.state.settings.jwt_secret,
            algorithms=["HS256"],
            issuer=ISSUER,
            audience=AUDIENCE,
        )
    except jwt.InvalidTokenError:
        raise HTTPException(
            401, "The token is not valid.", {"WWW-Authenticate": "Bearer"}
        ) from None
    principal = Principal.model_validate(claims)
    request.state.user_id = str(principal.sub)
    return principal


SignedIn = Annotated[Principal, Depends(get_principal)]
