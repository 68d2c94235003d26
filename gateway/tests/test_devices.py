"""A device somebody signed in on passes the limit of an address that thousands may share, and gains her no more."""

import os
import signal
import uuid
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from chassis.errors import Unauthenticated
from devstack.valkey import Valkey
from gateway.tests.conftest import Peer, RunGateway, Running
from propmubi.auth.v1 import auth_pb2

ID = "01935b0e-7f1c-7b1e-9a51-0c2f6f3a9c11"
LIMITS = {"auth_limit_per_address": "3/15m", "otp_send_limit_per_address": "1/15m"}


class Phone:
    """A person's device behind the one address of everybody here."""

    def __init__(self, gateway: Running, peer: Peer, person: str) -> None:
        self._gateway = gateway
        self._peer = peer
        self.person = person
        self.token: str | None = None

    async def ask(self) -> int:
        answered = await self._post("/v1/auth/otp", {"phone": "+919876543210"})
        return answered.status_code

    async def sign_in(self, *, refused: bool = False) -> int:
        async def answer(_request: Any, _context: Any) -> auth_pb2.TokenResponse:
            if refused:
                raise Unauthenticated("The code is wrong.")
            return auth_pb2.TokenResponse(access_token="a", user=auth_pb2.User(id=self.person))

        self._peer.replies["VerifyOtp"] = answer
        answered = await self._post("/v1/auth/otp/verify", {"challenge_id": ID, "code": "123456"})
        self.token = answered.headers.get("x-device-token", self.token)
        return answered.status_code

    async def _post(self, path: str, body: dict[str, str]) -> httpx.Response:
        headers = {"x-device-token": self.token} if self.token else {}
        return await self._gateway.client.post(path, json=body, headers=headers)


async def test_a_known_device_is_counted_by_its_person(run_gateway: RunGateway, peer: Peer) -> None:
    async with run_gateway(**LIMITS) as gateway:
        asha = Phone(gateway, peer, str(uuid.uuid4()))
        rohan, stranger = (Phone(gateway, peer, str(uuid.uuid4())) for _ in range(2))
        assert [await asha.sign_in(), await rohan.sign_in(), await stranger.sign_in()] == [200] * 3
        stranger.token = None
        # The address has nothing left; each person has all of her own.
        assert await stranger.sign_in() == 429
        assert [await asha.sign_in() for _ in range(4)] == [200, 200, 200, 429]
        assert [await rohan.sign_in() for _ in range(4)] == [200, 200, 200, 429]
        assert [await asha.ask(), await asha.ask(), await stranger.ask()] == [202, 429, 202]


async def test_more_tokens_are_not_more_calls(run_gateway: RunGateway, peer: Peer) -> None:
    async with run_gateway(**LIMITS) as gateway:
        phones = [Phone(gateway, peer, ID) for _ in range(3)]
        assert [await phone.sign_in() for phone in phones] == [200] * 3
        assert len({phone.token for phone in phones}) == 3
        assert [await phones[i].sign_in() for i in (0, 1, 2, 0)] == [200, 200, 200, 429]


async def test_a_device_keeps_its_token_and_changes_hands(
    run_gateway: RunGateway, peer: Peer
) -> None:
    async with run_gateway() as gateway:
        phone = Phone(gateway, peer, str(uuid.uuid4()))
        await phone.sign_in()
        first = phone.token
        await phone.sign_in()
        assert phone.token == first
        phone.person = str(uuid.uuid4())
        await phone.sign_in()
        assert phone.token != first


@pytest.mark.parametrize("token", ["", "x", "x" * 43, "ü" * 43, "x" * 5_000, "*" * 43])
async def test_a_made_up_token_is_no_device(
    run_gateway: RunGateway, peer: Peer, token: str
) -> None:
    async with run_gateway(otp_send_limit_per_address="1/15m") as gateway:
        for status in (202, 429):
            headers = {b"x-device-token": token.encode()}
            body = {"phone": "+919876543210"}
            answer = await gateway.client.post("/v1/auth/otp", json=body, headers=headers)
            assert answer.status_code == status


async def test_what_is_remembered_is_no_token_and_is_forgotten(
    run_gateway: RunGateway, peer: Peer, redis_url: str
) -> None:
    async with run_gateway() as gateway, Redis.from_url(redis_url) as redis:
        phone = Phone(gateway, peer, ID)
        await phone.sign_in()
        [key] = await redis.keys("propmubi:device:*")
        assert phone.token is not None
        assert phone.token.encode() not in key
        assert 89 * 86_400 < await redis.ttl(key) <= 90 * 86_400


async def test_who_is_not_signed_in_has_no_device(run_gateway: RunGateway, peer: Peer) -> None:
    async with run_gateway() as gateway:
        phone = Phone(gateway, peer, ID)
        assert await phone.sign_in(refused=True) == 401
        assert phone.token is None


async def test_a_redis_that_stalls_as_somebody_signs_in_costs_her_the_token_alone(
    run_gateway: RunGateway, peer: Peer, valkey: Valkey
) -> None:
    assert valkey.process is not None
    pid = valkey.process.pid

    async def stall(_request: Any, _context: Any) -> auth_pb2.TokenResponse:
        os.kill(pid, signal.SIGSTOP)
        return auth_pb2.TokenResponse(access_token="a", user=auth_pb2.User(id=ID))

    peer.replies["VerifyOtp"] = stall
    async with run_gateway() as gateway:
        try:
            body = {"challenge_id": ID, "code": "123456"}
            answer = await gateway.client.post("/v1/auth/otp/verify", json=body)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert answer.status_code == 200
        assert "x-device-token" not in answer.headers
