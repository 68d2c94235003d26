"""What a container's health check says of a service and of the gateway, ready or not."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import pytest
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

from chassis import probe
from devstack.process import free_port

PORTS = ("GATEWAY_PORT", "GRPC_PORT", "HEALTH_PORT")


@asynccontextmanager
async def service(status: HealthCheckResponse.ServingStatus.ValueType) -> AsyncIterator[int]:
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    await servicer.set("", status)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@contextmanager
def gateway(status: int) -> Iterator[int]:
    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()
            self.wfile.write(b"Not ready to serve.")

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


async def said(monkeypatch: pytest.MonkeyPatch, **ports: int) -> object:
    """What the probe exits with in an environment that names these ports."""
    for name in PORTS:
        monkeypatch.delenv(name, raising=False)
    for name, port in ports.items():
        monkeypatch.setenv(name, str(port))
    with pytest.raises(SystemExit) as left:
        await asyncio.to_thread(probe.main)
    return left.value.code


async def test_a_service_is_healthy_while_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    async with service(HealthCheckResponse.SERVING) as port:
        assert await said(monkeypatch, GRPC_PORT=port) == 0
        assert await said(monkeypatch, GRPC_PORT=free_port(), HEALTH_PORT=port) == 0


async def test_a_service_that_drains_or_is_gone_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async with service(HealthCheckResponse.NOT_SERVING) as port:
        assert await said(monkeypatch, GRPC_PORT=port) == "NOT_SERVING"
    assert str(await said(monkeypatch, GRPC_PORT=free_port())).startswith("UNAVAILABLE")


async def test_the_gateway_is_healthy_once_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    with gateway(200) as port:
        assert await said(monkeypatch, GATEWAY_PORT=port) == 0
    with gateway(503) as port:
        assert await said(monkeypatch, GATEWAY_PORT=port) == "Not ready to serve."
    assert "refused" in str(await said(monkeypatch, GATEWAY_PORT=free_port()))


async def test_without_a_port_it_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await said(monkeypatch) == "neither GATEWAY_PORT nor GRPC_PORT is set"
