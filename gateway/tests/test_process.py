"""The process itself, as it is started and stopped in earnest: `python -m gateway`."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

from devstack.testing_service import Tokens
from gateway.tests.conftest import Peer, RunGateway, Running, agent, bearer, eventually

ID = "01935b0e-7f1c-7b1e-9a51-0c2f6f3a9c11"
FreePort = Callable[[], int]


def environment(peer_port: int, redis_url: str, port: int, **given: str) -> dict[str, str]:
    target = f"dns:///127.0.0.1:{peer_port}"
    names = ("AUTH", "AGENTS", "CRM", "PROJECTS")
    return {
        "PATH": os.environ["PATH"],
        "ENVIRONMENT": "development",
        "LOG_LEVEL": "INFO",
        "REDIS_URL": redis_url,
        "GATEWAY_PORT": str(port),
        "METRICS_PORT": "0",
        "DRAIN_SECONDS": "0.5",
        **{f"{name}_TARGET": target for name in names},
        **given,
    }


@contextmanager
def process(env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        started = subprocess.Popen(
            [sys.executable, "-m", "gateway"], env=env, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


async def exit_of(started: subprocess.Popen[bytes], within: float = 30) -> int:
    return await asyncio.to_thread(started.wait, within)


def refused(env: dict[str, str]) -> tuple[int, list[str]]:
    ended = subprocess.run(
        [sys.executable, "-m", "gateway"],
        check=False,
        env=env,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return ended.returncode, ended.stderr.splitlines()


async def ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.ConnectError:
        return False


async def is_refused(port: int) -> bool:
    """Whether nobody listens on a port."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def test_it_drains_on_sigterm(
    peer: Peer, redis_url: str, free_port: FreePort, tokens: Tokens, tmp_path: Path
) -> None:
    asked, answered = asyncio.Event(), asyncio.Event()

    async def slow(request: Any, _context: Any) -> Any:
        asked.set()
        await answered.wait()
        return agent(request.agent_id)

    peer.replies["GetAgent"] = slow
    port, metrics_port, log = free_port(), free_port(), tmp_path / "log"
    env = environment(peer.port, redis_url, port, METRICS_PORT=str(metrics_port), DRAIN_SECONDS="5")
    with process(env, log) as started:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            await eventually(lambda: ready(client))
            under_way = asyncio.create_task(
                client.get(
                    f"/v1/agents/{ID}",
                    headers={"x-correlation-id": "request-4711", **bearer(tokens.person())},
                )
            )
            await asked.wait()
            metrics = (await client.get(f"http://127.0.0.1:{metrics_port}/metrics")).text
            with pytest.raises(httpx.TransportError):  # Where the gateway isn't, they aren't.
                await client.get(f"http://127.0.0.2:{metrics_port}/metrics")
            assert 'propmubi_http_seconds_count{method="GET",route="/readyz"' in metrics
            assert (
                'propmubi_rate_limit_decisions_total{allowance="read",outcome="allowed"}' in metrics
            )
            started.send_signal(signal.SIGTERM)

            async def refuses() -> bool:
                return not await ready(client)

            await eventually(refuses)
            told = await client.get("/readyz")
            assert told.status_code == 503
            assert told.json()["error"]["details"] == [
                {"field": "gateway", "message": "is about to stop"}
            ]
            assert (await client.get("/healthz")).status_code == 200
            started.send_signal(signal.SIGTERM)
            await eventually(lambda: is_refused(port))
            answered.set()
            assert (await under_way).status_code == 200
        assert await exit_of(started) == 0
    lines = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    assert {line["service"] for line in lines} == {"gateway"}
    (line,) = [line for line in lines if line.get("route") == "/v1/agents/{agent_id}"]
    assert line["event"] == "request"
    assert line["correlation_id"] == "request-4711"
    assert line["status"] == 200
    assert line["method"] == "GET"
    assert line["path"] == f"/v1/agents/{ID}"
    assert line["duration_ms"] > 0
    assert len(line["trace_id"]) == 32
    assert line["user_id"]


def test_a_taken_port_is_one_line(free_port: FreePort) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, lines = refused(environment(1, "redis://127.0.0.1:1", port))
    assert code == 1
    assert lines == [
        f"GATEWAY_PORT: 127.0.0.1:{port} can't be listened on (Address already in use); is it taken?"
    ]


def test_what_is_missing_or_wrong_is_a_line_each(free_port: FreePort) -> None:
    env = environment(1, "", free_port(), READ_LIMIT="many", CORS_ORIGINS="*")
    del env["REDIS_URL"]
    code, lines = refused(env)
    assert code == 2
    assert sorted(line.split(":")[0] for line in lines) == [
        "CORS_ORIGINS",
        "READ_LIMIT",
        "REDIS_URL",
    ]


async def test_it_starts_without_redis(peer: Peer, free_port: FreePort, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    with process(environment(peer.port, "redis://127.0.0.1:1", port), log):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            await eventually(lambda: ready(client))
            assert (await client.get(f"/v1/agents/{ID}")).status_code == 200
            sent = await client.post("/v1/auth/otp", json={"phone": "+919876543210"})
            assert sent.status_code == 503
    lost = [line for line in log.read_text().splitlines() if "rate limits are not shared" in line]
    assert len(lost) == 1


async def test_it_starts_without_its_peers_and_says_what_is_missing(
    redis_url: str, free_port: FreePort, tmp_path: Path
) -> None:
    port = free_port()
    with process(environment(free_port(), redis_url, port), tmp_path / "log") as started:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:

            async def alive() -> bool:
                try:
                    return (await client.get("/healthz")).status_code == 200
                except httpx.ConnectError:
                    return False

            async def missing(path: str) -> set[str]:
                told = await client.get(path)
                assert told.status_code == 503
                return {detail["field"] for detail in told.json()["error"]["details"]}

            async def knows_what_was_revoked() -> bool:
                return await missing("/readyz?peers=false") == {"jwks"}

            await eventually(alive)
            await eventually(knows_what_was_revoked)
            assert await missing("/readyz") == {"auth", "agents", "crm", "projects", "jwks"}
            away = await client.get(f"/v1/agents/{ID}")
            assert away.status_code == 503
            assert away.headers["retry-after"] == "1"
        started.send_signal(signal.SIGINT)
        assert await exit_of(started) == 0


async def test_a_service_that_stops_serving_is_named(run_gateway: RunGateway, peer: Peer) -> None:
    gateway: Running
    async with run_gateway() as gateway:
        await peer.health.set("", HealthCheckResponse.NOT_SERVING)
        try:
            told = await gateway.client.get("/readyz")
            by_itself = await gateway.client.get("/readyz?peers=false")
        finally:
            await peer.health.set("", HealthCheckResponse.SERVING)
        assert told.status_code == 503
        assert "agents" in {detail["field"] for detail in told.json()["error"]["details"]}
        assert by_itself.status_code == 200
        # Its channels follow the services' health in their own time.
        await eventually(gateway.is_ready)
