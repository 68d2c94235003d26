"""Signing in over HTTP: the gateway with its default limits before auth with its own."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest

from gateway.__main__ import open_app
from gateway.server import listen, serve, server
from gateway.settings import GatewaySettings
from services.auth.tests.conftest import PHONE, Auth, other_than
from services.auth.tests.integration.test_limits import UNKNOWN

RunEdge = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def run_edge(auth: Auth, redis_url: str) -> RunEdge:
    """Runs a gateway before `auth`; what is yielded calls it."""
    target = f"dns:///127.0.0.1:{auth.running.service.server.port}"

    @asynccontextmanager
    async def run(**given: Any) -> AsyncIterator[httpx.AsyncClient]:
        told: dict[str, Any] = {
            "environment": "development",
            "redis_url": redis_url,
            "gateway_port": 0,
            "metrics_port": 0,
            "drain_seconds": 0,
            "auth_target": target,
            **given,
        }
        settings = GatewaySettings(**told)
        listener = listen(settings)
        stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        async with open_app(settings) as (app, _):
            served = asyncio.create_task(serve(server(app, settings), listener, stopped))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with httpx.AsyncClient(base_url=url) as client:
                yield client
            stopped.set_result(None)
            await served

    return run


async def verify(
    gateway: httpx.AsyncClient, challenge: str, code: str, **headers: str
) -> httpx.Response:
    return await gateway.post(
        "/v1/auth/otp/verify",
        json={"challenge_id": challenge, "code": code},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


async def test_the_eleventh_try_of_an_address_is_told_when_to_come_back(
    auth: Auth, run_edge: RunEdge
) -> None:
    challenge, code = await auth.request_otp()
    async with run_edge() as gateway:
        tried = [await verify(gateway, challenge, other_than(code)) for _ in range(11)]
    assert [answer.status_code for answer in tried] == [401] * 10 + [429]
    assert 880 <= int(tried[-1].headers["retry-after"]) <= 900
    assert tried[-1].json()["error"]["code"] == "RATE_LIMITED"


async def test_the_eleventh_try_at_a_phone_is_too_whatever_its_address(
    auth: Auth, run_edge: RunEdge
) -> None:
    challenge, code = await auth.request_otp()
    async with run_edge(trusted_proxies=1) as gateway:
        tried = [
            await verify(gateway, challenge, other_than(code), x_forwarded_for=f"203.0.113.{i}")
            for i in range(11)
        ]
    assert [answer.status_code for answer in tried] == [401] * 10 + [429]
    assert 850 <= int(tried[-1].headers["retry-after"]) <= 900


async def test_of_a_hundred_guesses_at_once_ten_pass_and_five_are_compared(
    auth: Auth, run_edge: RunEdge
) -> None:
    challenge, code = await auth.request_otp()
    async with run_edge() as one, run_edge() as other:
        answers = await asyncio.gather(
            *(
                verify((one, other)[step % 2], challenge, other_than(code, step))
                for step in range(1, 101)
            )
        )
    assert Counter(answer.status_code for answer in answers) == {401: 10, 429: 90}
    [row] = await auth.rows("select attempts, status from otp_challenges")
    assert (row["attempts"], row["status"]) == (5, "locked")


async def test_two_right_codes_at_once_are_one_session(auth: Auth, run_edge: RunEdge) -> None:
    challenge, code = await auth.request_otp()
    async with run_edge() as gateway:
        answers = await asyncio.gather(*(verify(gateway, challenge, code) for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == [200, 401]
    assert len(await auth.rows("select from sessions")) == 1


async def test_a_device_she_signed_in_on_passes_the_crowd_at_her_address(
    auth: Auth, run_edge: RunEdge
) -> None:
    async with run_edge() as gateway:
        signed_in = await verify(gateway, *await auth.request_otp())
        device = signed_in.headers["x-device-token"]
        crowd = "01935b0e-7f1c-7b1e-9a51-0c2f6f3a9c11"
        tried = [await verify(gateway, crowd, "123456") for _ in range(10)]
        assert tried[-1].status_code == 429
        again = await verify(gateway, *await auth.request_otp(), x_device_token=device)
        assert (again.status_code, again.headers["x-device-token"]) == (200, device)


async def test_a_known_and_an_unknown_phone_get_the_same_bytes(
    auth: Auth, run_edge: RunEdge
) -> None:
    await auth.sign_in()
    told = []
    async with run_edge(otp_send_limit_per_address="1000/15m", trusted_proxies=1) as gateway:
        for phone, address in ((PHONE, "203.0.113.1"), (UNKNOWN, "203.0.113.2")):
            answer = await gateway.post(
                "/v1/auth/otp", json={"phone": phone}, headers={"x-forwarded-for": address}
            )
            assert answer.status_code == 202
            body = answer.content.replace(answer.json()["challenge_id"].encode(), b"")
            del answer.headers["x-correlation-id"]
            told.append((body, answer.headers.raw))
    assert told[0] == told[1]
