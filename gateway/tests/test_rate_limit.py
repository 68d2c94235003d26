"""Allowances: exact whoever asks and however many at once, and bounded in time when Redis is not there."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from chassis.quota import Quota
from devstack.testing_service import Tokens
from devstack.valkey import Valkey
from gateway.rate_limit import LARGEST_BATCH, LocalLimits, SharedLimits, open_limiter
from gateway.tests.conftest import Peer, RunGateway, Running, bearer, eventually

ID = "01935b0e-7f1c-7b1e-9a51-0c2f6f3a9c11"
OTP = {"phone": "+919876543210"}


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


async def statuses(gateway: Running, calls: int, path: str = "/v1/agents") -> Counter[int]:
    responses = await asyncio.gather(*(gateway.client.get(path) for _ in range(calls)))
    return Counter(response.status_code for response in responses)


async def test_exactly_the_quota_passes_however_many_ask_at_once(run_gateway: RunGateway) -> None:
    async with run_gateway(read_limit="30/1m") as gateway:
        assert await statuses(gateway, 100) == {200: 30, 429: 70}


async def test_replicas_share_the_quota(run_gateway: RunGateway) -> None:
    async with run_gateway(read_limit="31/1m") as one, run_gateway(read_limit="31/1m") as other:
        counted = await asyncio.gather(statuses(one, 50), statuses(other, 50))
        assert sum(counted, Counter()) == {200: 31, 429: 69}


async def test_a_used_up_allowance_tells_when_to_come_back(run_gateway: RunGateway) -> None:
    async with run_gateway(read_limit="1/30s") as gateway:
        first = await gateway.client.get("/v1/agents")
        assert first.headers["ratelimit-policy"] == '"read";q=1;w=30'
        assert first.headers["ratelimit"] == '"read";r=0;t=30'
        second = await gateway.client.get("/v1/agents")
        assert second.status_code == 429
        assert 29 <= int(second.headers["retry-after"]) <= 30
        assert second.headers["ratelimit"].startswith('"read";r=0;t=')
        assert second.json()["error"]["code"] == "RATE_LIMITED"


async def test_each_person_has_an_allowance_and_an_address_its_own(
    run_gateway: RunGateway, tokens: Tokens
) -> None:
    async with run_gateway(read_limit="1/1m") as gateway:
        for token in (tokens.person(), tokens.person()):
            assert (
                await gateway.client.get("/v1/agents", headers=bearer(token))
            ).status_code == 200
            assert (
                await gateway.client.get("/v1/agents", headers=bearer(token))
            ).status_code == 429
        assert (await gateway.client.get("/v1/agents")).status_code == 200
        assert (await gateway.client.get("/v1/agents")).status_code == 429


async def test_reads_and_writes_draw_on_different_allowances(
    run_gateway: RunGateway, tokens: Tokens
) -> None:
    token = tokens.person()
    async with run_gateway(read_limit="1/1m", write_limit="1/1m") as gateway:
        assert (await gateway.client.get("/v1/users/me", headers=bearer(token))).status_code == 200
        logout = await gateway.client.post("/v1/auth/logout", headers=bearer(token))
        assert logout.status_code == 204
        assert logout.headers["ratelimit-policy"] == '"write";q=1;w=60'


async def test_sending_and_trying_passwords_is_limited_by_address(
    run_gateway: RunGateway, peer: Peer, tokens: Tokens
) -> None:
    given = {
        "trusted_proxies": 1,
        "otp_send_limit_per_address": "2/15m",
        "auth_limit_per_address": "1/15m",
    }
    async with run_gateway(**given) as gateway:
        for address, expected in [
            ("1.1.1.1", 202),
            ("1.1.1.1", 202),
            ("1.1.1.1", 429),
            ("2.2.2.2", 202),
        ]:
            # Signing in as ever more people does not help.
            headers = {"x-forwarded-for": f"9.9.9.9, {address}", **bearer(tokens.person())}
            sent = await gateway.client.post("/v1/auth/otp", json=OTP, headers=headers)
            assert sent.status_code == expected
        assert peer.calls == 3
        code = {"challenge_id": ID, "code": "123456"}
        headers = {"x-forwarded-for": "1.1.1.1"}
        tried = [
            (
                await gateway.client.post("/v1/auth/otp/verify", json=code, headers=headers)
            ).status_code
            for _ in range(2)
        ]
        assert tried == [200, 429]


async def test_at_default_limits_an_address_has_ten_tries_at_all_replicas_together(
    run_gateway: RunGateway, peer: Peer
) -> None:
    body = {"challenge_id": ID, "code": "123456"}
    async with run_gateway() as one, run_gateway() as other:
        answers = await asyncio.gather(
            *(who.client.post("/v1/auth/otp/verify", json=body) for who in (one, other) * 50)
        )
    assert Counter(answer.status_code for answer in answers) == {200: 10, 429: 90}
    assert peer.calls == 10
    waits = [int(answer.headers["retry-after"]) for answer in answers if answer.is_client_error]
    assert all(880 <= wait <= 900 for wait in waits)


async def test_at_default_limits_an_address_has_ten_codes_sent_whoever_they_are_for(
    run_gateway: RunGateway, peer: Peer
) -> None:
    async with run_gateway() as gateway:
        answers = [
            await gateway.client.post("/v1/auth/otp", json={"phone": f"+9198765432{number}"})
            for number in range(10, 21)
        ]
    assert [answer.status_code for answer in answers] == [202] * 10 + [429]
    assert 880 <= int(answers[-1].headers["retry-after"]) <= 900
    assert peer.calls == 10


async def test_the_window_slides(redis: Redis) -> None:
    limits, quota = SharedLimits(redis), Quota(2, 1)
    assert (await limits.take("a", quota)).allowed  # type: ignore[union-attr]
    await asyncio.sleep(0.6)
    assert (await limits.take("a", quota)).allowed  # type: ignore[union-attr]
    refused = await limits.take("a", quota)
    assert refused is not None
    assert not refused.allowed
    assert 0 < refused.seconds <= 0.45
    await asyncio.sleep(refused.seconds + 0.01)
    assert (await limits.take("a", quota)).allowed  # type: ignore[union-attr]
    assert not (await limits.take("a", quota)).allowed  # type: ignore[union-attr]
    await limits.close()


async def test_keys_leave_redis_with_their_window(redis: Redis) -> None:
    limits = SharedLimits(redis)
    await limits.take("a", Quota(2, 1))
    assert 0 < await redis.pttl("{limits}:a") <= 1000
    await limits.close()


async def test_a_smaller_quota_holds_at_once(redis: Redis) -> None:
    limits = SharedLimits(redis)
    for _ in range(10):
        await limits.take("a", Quota(10, 60))
    smaller = await limits.take("a", Quota(3, 60))
    assert smaller is not None
    assert (smaller.allowed, smaller.remaining) == (False, 0)
    await limits.close()


def test_the_local_rule_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("gateway.rate_limit.time.monotonic", lambda: now)
    limits, quota = LocalLimits(), Quota(2, 10)
    assert [limits.take("a", quota).allowed for _ in range(3)] == [True, True, False]
    assert limits.take("b", quota).allowed
    now = 1009.9
    assert not limits.take("a", quota).allowed
    now = 1010.0
    assert limits.take("a", quota).allowed


def test_the_local_rule_forgets_the_longest_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.rate_limit.LOCAL_CALLERS", 2)
    limits, quota = LocalLimits(), Quota(1, 10)
    for caller in ("a", "b", "a", "c"):
        limits.take(caller, quota)
    assert not limits.take("a", quota).allowed
    assert limits.take("b", quota).allowed


async def test_without_redis_all_goes_on_but_signing_in(
    run_gateway: RunGateway, valkey: Valkey, peer: Peer, tokens: Tokens
) -> None:
    async with run_gateway(read_limit="5/1m") as gateway:
        assert (await gateway.client.post("/v1/auth/otp", json=OTP)).status_code == 202
        valkey.stop()
        try:
            assert await statuses(gateway, 20) == {200: 5, 429: 15}
            calls = peer.calls
            verify = {"challenge_id": ID, "code": "123456"}
            for path, body in [
                ("/v1/auth/otp", OTP),
                ("/v1/auth/otp/verify", verify),
                ("/v1/auth/refresh", {"refresh_token": "x" * 43}),
            ]:
                refused = await gateway.client.post(path, json=body)
                assert refused.status_code == 503
                assert refused.headers["retry-after"] == "1"
                assert refused.json()["error"]["code"] == "SERVICE_UNAVAILABLE"
            assert peer.calls == calls
            # Nobody is kept from signing out.
            left = await gateway.client.post("/v1/auth/logout", headers=bearer(tokens.person()))
            assert left.status_code == 204
            assert REGISTRY.get_sample_value("propmubi_rate_limit_shared") == 0
        finally:
            valkey.start()

        async def otp_is_sent() -> bool:
            return (await gateway.client.post("/v1/auth/otp", json=OTP)).status_code == 202

        await eventually(otp_is_sent, within=5)
        assert REGISTRY.get_sample_value("propmubi_rate_limit_shared") == 1


async def test_a_redis_that_was_restarted_while_nobody_asked_is_not_away(
    valkey: Valkey, redis_url: str
) -> None:
    async with open_limiter(redis_url) as limiter:
        shared, quota = limiter._shared, Quota(100, 60)
        assert await shared.take("a", quota) is not None
        valkey.stop()
        valkey.start()
        answers = await asyncio.gather(*(shared.take("a", quota) for _ in range(10)))
        assert all(answers)


async def test_a_redis_that_refuses_is_called_anew(valkey: Valkey, redis_url: str) -> None:
    """As when it lost an election: whoever has its address now is asked."""
    async with open_limiter(redis_url) as limiter, Redis.from_url(redis_url) as redis:
        shared, quota = limiter._shared, Quota(100, 60)
        assert await shared.take("a", quota) is not None
        await redis.replicaof("127.0.0.1", 1)
        try:
            assert await shared.take("a", quota) is None
            assert not shared._script._connection.is_connected
        finally:
            await redis.replicaof("NO", "ONE")


async def test_a_redis_that_stalls_delays_nobody_for_long(
    valkey: Valkey, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert valkey.process is not None
    async with open_limiter(redis_url) as limiter:
        shared, quota = limiter._shared, Quota(100, 60)
        assert await shared.take("a", quota) is not None
        asked: list[int] = []
        call = shared._script.call

        async def counting(keys: list[str], arguments: list[int]) -> list[int]:
            if keys:  # Without, it only looks whether Redis is back.
                asked.append(len(keys))
            return await call(keys, arguments)

        monkeypatch.setattr(shared._script, "call", counting)
        os.kill(valkey.process.pid, signal.SIGSTOP)
        try:
            answers = await asyncio.gather(*(shared.take("a", quota) for _ in range(2_000)))
            assert answers == [None] * 2_000
            # All of them waited once, for the answer to the first.
            assert asked == [LARGEST_BATCH]
            # From now on nobody waits at all: the answer is there without a turn of the event loop.
            with pytest.raises(StopIteration) as given:
                shared.take("a", quota).send(None)
            assert given.value.value is None
        finally:
            os.kill(valkey.process.pid, signal.SIGCONT)


async def test_calls_given_up_leave_the_others_in_order(redis_url: str) -> None:
    async with open_limiter(redis_url) as limiter:
        shared, quota = limiter._shared, Quota(100, 60)
        waiting = [asyncio.create_task(shared.take("a", quota)) for _ in range(10)]
        await asyncio.sleep(0)
        for task in waiting[::2]:
            task.cancel()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(answer.allowed for answer in answers[1::2])  # type: ignore[union-attr]
        last = await shared.take("a", quota)
        assert last is not None
        assert last.remaining == 89
