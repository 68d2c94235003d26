"""Auth's keys in other processes: asked for seldom, kept while auth is away; and the token of a service."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import pytest

from chassis import keys
from chassis.errors import Unauthenticated, Unavailable
from chassis.keys import RemoteKeys, ServiceToken
from chassis.process import background
from chassis.revocations import Revocations, heed
from devstack.testing_service import Tokens
from propmubi.auth.v1.auth_pb2 import GetJwksResponse, JsonWebKey
from propmubi.auth.v1.events_pb2 import SigningKeysChanged
from propmubi.common.v1.event_pb2 import Event


class Stub:
    """Stands for auth across the wire."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = 0
        self.slow = False

    async def GetJwks(self, request: Any) -> Any:  # noqa: N802
        return await self.IssueServiceToken(request, timeout=1.0)

    async def IssueServiceToken(self, request: Any, timeout: float) -> Any:  # noqa: N802, ASYNC109
        self.asked += 1
        if self.slow:
            await asyncio.sleep(0.05)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def jwks(tokens: Tokens, kid: str) -> GetJwksResponse:
    numbers = tokens.key.public_key().public_numbers()
    x, y = (
        base64.urlsafe_b64encode(part.to_bytes(32, "big")).rstrip(b"=").decode()
        for part in (numbers.x, numbers.y)
    )
    return GetJwksResponse(keys=[JsonWebKey(kid=kid, x=x, y=y)])


@asynccontextmanager
async def fetched(auth: Stub) -> AsyncIterator[RemoteKeys]:
    """The keys that `auth` publishes, fetched once."""
    async with grpc.aio.insecure_channel("localhost:1") as channel:
        remote = RemoteKeys(channel)
        remote._stub = cast("Any", auth)
        async with background(remote.run()):
            await remote.loaded.wait()
            yield remote


async def test_an_unknown_kid_is_asked_for_and_waited_for_once_for_all(tokens: Tokens) -> None:
    auth = Stub(jwks(tokens, "old"))
    async with fetched(auth) as remote:
        auth.answer = jwks(tokens, "new")
        auth.slow = True
        found = await asyncio.gather(*(remote.find("new") for _ in range(50)))
        assert found == [tokens.key.public_key()] * 50
        assert auth.asked == 2
        assert remote.get("old") is None


async def test_an_unknown_kid_is_asked_for_again_only_after_thirty_seconds(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keys.UNKNOWN_KID_SECONDS == 30
    auth = Stub(jwks(tokens, "one"))
    async with fetched(auth) as remote:
        for _ in range(50):
            assert await remote.find("other") is None
        assert auth.asked == 2
        later = time.monotonic() + 29.9
        monkeypatch.setattr("chassis.fresh.time.monotonic", lambda: later)
        assert await remote.find("other") is None
        assert auth.asked == 2
        later += 0.2
        assert await remote.find("other") is None
        assert auth.asked == 3


async def test_keys_are_fetched_at_once_when_auth_tells_that_they_changed(tokens: Tokens) -> None:
    auth, event = Stub(jwks(tokens, "leaked")), Event()
    event.payload.Pack(SigningKeysChanged(kid="new"))
    async with fetched(auth) as remote:
        assert await remote.find("another") is None  # The next unknown kid is not asked for.
        auth.answer = jwks(tokens, "new")
        heed(event, Revocations(), remote.renew)
        assert await remote.find("new") == tokens.key.public_key()
        assert remote.get("leaked") is None


@pytest.mark.parametrize(
    "trouble",
    [
        Unavailable("away"),
        GetJwksResponse(keys=[JsonWebKey(kid="one", x="AA", y="AA")]),
        GetJwksResponse(),
    ],
    ids=["away", "nonsense", "none"],
)
async def test_the_last_keys_are_kept_while_auth_has_trouble(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch, trouble: Any
) -> None:
    monkeypatch.setattr(keys, "REFRESH_SECONDS", 0.01)
    monkeypatch.setattr("chassis.fresh.RETRY_SECONDS", 0.01)
    auth = Stub(jwks(tokens, "one"))
    async with fetched(auth) as remote:
        auth.answer = trouble
        asked = auth.asked
        async with asyncio.timeout(5):
            while auth.asked < asked + 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert remote.get("one") == tokens.key.public_key()
        assert await remote.find("other") is None
        auth.answer = jwks(tokens, "other")
        async with asyncio.timeout(5):
            while remote.get("other") is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_a_service_that_can_not_sign_in_is_no_fault_of_its_caller() -> None:
    async with grpc.aio.insecure_channel("localhost:1") as channel:
        token = ServiceToken(channel, "crm", "secret")
        token._stub = cast("Any", Stub(Unauthenticated("wrong secret")))
        with pytest.raises(Unavailable):
            await token()
