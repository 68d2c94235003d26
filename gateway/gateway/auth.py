"""Who calls over HTTP: the bearer token of RFC 6750, and the contract's access rule."""

from typing import Protocol

from chassis.errors import Unauthenticated
from chassis.identity import Principal
from gateway.errors import CHALLENGE, EdgeError
from propmubi.options.v1.options_pb2 import Caller

INVALID = CHALLENGE + b', error="invalid_token"'


class Verifier(Protocol):
    """Turns a bearer token into a principal; `chassis.verification.TokenVerifier` does."""

    async def verify(self, token: str) -> Principal: ...


async def authenticate(authorization: str | None, verifier: Verifier) -> Principal | None:
    """Who presents this Authorization header; nobody without one. Raises EdgeError 401 for one that is not valid."""
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise _refused("The Authorization header must be `Bearer <access token>`.")
    try:
        principal = await verifier.verify(token)
    except Unauthenticated as error:
        raise _refused(error.message) from error
    if principal.is_service:
        # Services call each other directly. Whoever comes with the token of one has stolen it, and would see on public
        # routes what services are shown.
        raise _refused("Here a person's access token is needed: sign in.")
    return principal


def authorize(principal: Principal | None, callers: frozenset[Caller.ValueType]) -> None:
    """Raise EdgeError unless `callers` names this one: 401 for nobody known, 403 for a role that is not enough."""
    if principal is None:
        if Caller.CALLER_ANYONE not in callers:
            raise EdgeError(401, headers=((b"www-authenticate", CHALLENGE),))
    elif callers.isdisjoint(principal.callers):
        raise EdgeError(403)


def _refused(message: str) -> EdgeError:
    return EdgeError(401, message, headers=((b"www-authenticate", INVALID),))
