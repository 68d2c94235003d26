"""Auth's public keys: an auth that answers before it has made its first is asked again soon, not in five minutes."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from chassis.keys import RemoteKeys
from propmubi.auth.v1.auth_pb2 import GetJwksRequest, GetJwksResponse, JsonWebKey

KEY = generate_private_key(SECP256R1()).public_key()


class Auth:
    """The one RPC of auth that matters here; it is slow to make its key."""

    def __init__(self) -> None:
        self.keys: list[JsonWebKey] = []
        self.asked = asyncio.Event()

    async def jwks(self, _request: GetJwksRequest, _context: Any) -> GetJwksResponse:
        self.asked.set()
        return GetJwksResponse(keys=self.keys)


def public(kid: str) -> JsonWebKey:
    numbers = KEY.public_numbers()
    x, y = (
        base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()
        for number in (numbers.x, numbers.y)
    )
    return JsonWebKey(kty="EC", kid=kid, use="sig", alg="ES256", crv="P-256", x=x, y=y)


@pytest_asyncio.fixture
async def auth() -> AsyncIterator[tuple[Auth, RemoteKeys]]:
    server, servicer = grpc.aio.server(), Auth()
    method = grpc.unary_unary_rpc_method_handler(
        servicer.jwks, GetJwksRequest.FromString, GetJwksResponse.SerializeToString
    )
    handlers = grpc.method_handlers_generic_handler(
        "propmubi.auth.v1.AuthService", {"GetJwks": method}
    )
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        keys = RemoteKeys(channel)
        running = asyncio.create_task(keys.run())
        yield servicer, keys
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    await server.stop(None)


async def test_an_empty_set_is_not_taken_for_the_keys(auth: tuple[Auth, RemoteKeys]) -> None:
    servicer, keys = auth
    await asyncio.wait_for(servicer.asked.wait(), 5)
    assert not keys.loaded.is_set()
    servicer.keys = [public("k1")]
    await asyncio.wait_for(keys.loaded.wait(), 5)
    assert keys.get("k1") == KEY
