"""A service under test: the real one, wired as its `__main__` does, in this process, called over a real socket.

tokens                        issues access tokens that the service under test believes
run_service(name, wire, settings_class, **settings)
                              async context manager: the service `name` on a database and Valkey of this test; gives
                              a `Running`, whose `caller(token)` is handed to a generated stub in place of a channel
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from google.protobuf.message import Message

from chassis.database import Database
from chassis.ids import new_id
from chassis.service import Service, open_service
from chassis.settings import ServiceSettings
from chassis.status import from_rpc_error
from chassis.verification import ALGORITHM, TOKEN_TYPE
from devstack.testing import ServiceDatabase

KID = "test"
ISSUER = "propmubi-auth"
AUDIENCE = "propmubi"
SECRET = "only-for-tests-and-at-least-32-characters"  # noqa: S105
CALL_SECONDS = 10.0

Wire = Callable[[Service], list[str]]


class Tokens:
    """Signs access tokens with a key of its own; it is also the key set that verifies them."""

    def __init__(self) -> None:
        self.key: EllipticCurvePrivateKey = generate_private_key(SECP256R1())

    def get(self, kid: str) -> EllipticCurvePublicKey | None:
        return self.key.public_key() if kid == KID else None

    async def find(self, kid: str) -> EllipticCurvePublicKey | None:
        return self.get(kid)

    def renew(self) -> None:
        """Its key is always the same."""

    def person(self, *roles: str, user_id: uuid.UUID | None = None, **claims: Any) -> str:
        """The token of a person with `roles`, and what else the token says (agent_id, office_id, builder_id)."""
        return self.sign({"sub": str(user_id or new_id()), "roles": ["buyer", *roles], **claims})

    def agent(self, agent_id: uuid.UUID | None = None, **claims: Any) -> str:
        return self.person("agent", agent_id=agent_id or new_id(), **claims)

    def builder(self, builder_id: uuid.UUID | None = None, **claims: Any) -> str:
        return self.person("builder", builder_id=builder_id or new_id(), **claims)

    def admin(self) -> str:
        return self.person("admin")

    def service(self, name: str) -> str:
        return self.sign({"sub": f"service:{name}", "roles": ["service"]})

    def sign(self, claims: Mapping[str, Any], *, headers: Mapping[str, Any] | None = None) -> str:
        now = int(time.time())
        standard = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 600,
            "jti": str(new_id()),
            "sid": str(new_id()),
        }
        payload = {
            name: str(value) if isinstance(value, uuid.UUID) else value
            for name, value in claims.items()
        }
        head = {"typ": TOKEN_TYPE, "kid": KID, **(headers or {})}
        return jwt.encode({**standard, **payload}, self.key, algorithm=ALGORITHM, headers=head)


async def early_in_a_second() -> int:
    """The time in whole seconds, most of the last one still to come: what is done now is done within it."""
    gone = time.time() % 1
    if gone > 0.5:
        await asyncio.sleep(1 - gone)
    return int(time.time())


class Caller:
    """A channel on which every call carries a token and a deadline, and raises the DomainError that came back."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        token: str | None,
        metadata: Mapping[str, str],
        seen: Callable[[Message], object] = bool,
    ) -> None:
        self._channel = channel
        self._seen = seen
        bearer = {"authorization": f"Bearer {token}"} if token else {}
        self._metadata = tuple({**bearer, **metadata}.items())

    def unary_unary(self, method: str, **serializers: Any) -> Callable[..., Any]:
        serializers.pop("_registered_method", None)
        call = self._channel.unary_unary(method, **serializers)

        async def invoke(request: Any, *, trailers: dict[str, Any] | None = None) -> Any:
            self._seen(request)
            rpc = call(request, timeout=CALL_SECONDS, metadata=self._metadata)
            try:
                reply = await rpc
            except grpc.aio.AioRpcError as error:
                raise (from_rpc_error(error) or error) from error
            self._seen(reply)
            if trailers is not None:
                trailers.update(await rpc.trailing_metadata() or ())
            return reply

        return invoke


@dataclass(frozen=True, slots=True)
class Running:
    """A service that serves. `seen` is told every request and every reply."""

    service: Service
    channel: grpc.aio.Channel
    seen: Callable[[Message], object] = bool

    @property
    def database(self) -> Database:
        return self.service.database

    def caller(self, token: str | None = None, **metadata: str) -> Any:
        """In place of a channel, for a generated stub: `LeadServiceStub(running.caller(token))`. Metadata names have
        their dashes as underscores: `idempotency_key="…"`.
        """
        dashed = {name.replace("_", "-"): value for name, value in metadata.items()}
        return Caller(self.channel, token, dashed, self.seen)


@pytest.fixture(scope="session")
def tokens() -> Tokens:
    return Tokens()


RunService = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def run_service(service_database: ServiceDatabase, redis_url: str, tokens: Tokens) -> RunService:
    @asynccontextmanager
    async def run(
        name: str, wire: Wire, settings_class: type[ServiceSettings], **settings: Any
    ) -> AsyncIterator[Running]:
        given: dict[str, Any] = {
            "environment": "development",
            "log_level": "INFO",
            "database_url": await service_database(name),
            "redis_url": redis_url,
            "grpc_host": "127.0.0.1",
            "grpc_port": 0,
            "metrics_port": 0,
            "service_secret": SECRET,
            "cursor_key": SECRET,
            **settings,
        }
        async with (
            open_service(settings_class(**given), name, keys=lambda _database: tokens) as service,
            service.serving(wire(service)),
            grpc.aio.insecure_channel(f"127.0.0.1:{service.server.port}") as channel,
        ):
            yield Running(service, channel)

    return run
