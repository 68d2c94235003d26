"""A real gateway on a real socket, in front of a real gRPC server whose answers each test chooses."""

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

from chassis.grpc_server import Interceptor
from chassis.revocations import Revocations
from chassis.verification import TokenVerifier
from devstack.testing_service import AUDIENCE, ISSUER, KID, Tokens
from devstack.valkey import Valkey
from gateway.__main__ import open_app
from gateway.readiness import Readiness
from gateway.server import listen, serve, server
from gateway.settings import GatewaySettings
from propmubi.agents.v1 import (
    agents_pb2,
    agents_pb2_grpc,
    listing_files_pb2_grpc,
    listings_pb2,
    listings_pb2_grpc,
)
from propmubi.auth.v1 import auth_pb2, auth_pb2_grpc
from propmubi.projects.v1 import projects_pb2_grpc

Reply = Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[Message]]


class Peer(
    agents_pb2_grpc.AgentServiceServicer,
    listings_pb2_grpc.ListingServiceServicer,
    listing_files_pb2_grpc.ListingFileServiceServicer,
    auth_pb2_grpc.AuthServiceServicer,
    auth_pb2_grpc.UserServiceServicer,
    projects_pb2_grpc.ProjectServiceServicer,
):
    """Auth, agents and projects behind one port, answering as `replies` says, by the name of the RPC."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.replies: dict[str, Reply] = {}
        self.metadata: dict[str, str] = {}
        self.remaining = 0.0
        self.calls = 0
        self.port = 0
        self.health = health.aio.HealthServicer()

    async def answer(self, rpc: str, request: Any, context: Any) -> Any:
        self.calls += 1
        self.metadata = dict(context.invocation_metadata())
        self.remaining = context.time_remaining()
        return await self.replies.get(rpc, DEFAULTS[rpc])(request, context)

    async def GetJwks(self, request: Any, context: Any) -> Any:  # noqa: N802
        point = self.tokens.key.public_key().public_numbers()
        x, y = (
            base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()
            for number in (point.x, point.y)
        )
        key = auth_pb2.JsonWebKey(kty="EC", kid=KID, use="sig", alg="ES256", crv="P-256", x=x, y=y)
        return auth_pb2.GetJwksResponse(keys=[key])


def rpc(name: str) -> Any:
    async def method(self: Peer, request: Any, context: Any) -> Any:
        return await self.answer(name, request, context)

    return method


async def some_agent(request: Any, _context: Any) -> Any:
    return agent(request.agent_id)


async def page(_request: Any, _context: Any) -> Any:
    return agents_pb2.ListAgentsResponse(agents=[agent(str(uuid.uuid4()))])


async def created(request: Any, _context: Any) -> Any:
    reply = agents_pb2.Agent(id="created", version=1)
    reply.MergeFrom(request.agent)
    return reply


async def sent(_request: Any, _context: Any) -> Any:
    return auth_pb2.RequestOtpResponse(challenge_id=str(uuid.uuid4()), expires_in=300)


async def signed_in(_request: Any, _context: Any) -> Any:
    return auth_pb2.TokenResponse(access_token="a", token_type="Bearer", refresh_token="r")


async def refreshed(request: Any, _context: Any) -> Any:
    new = f"{request.refresh_token}+1"
    return auth_pb2.TokenResponse(access_token="a", token_type="Bearer", refresh_token=new)


async def nothing(_request: Any, _context: Any) -> Any:
    return Empty()


async def me(_request: Any, _context: Any) -> Any:
    return auth_pb2.User(id="me", version=1)


async def public_listings(request: Any, _context: Any) -> Any:
    listings = [listings_pb2.Listing(id=each, version=3) for each in request.listing_ids]
    return listings_pb2.BatchGetListingsResponse(listings=listings)


async def own_listing(request: Any, _context: Any) -> Any:
    return listings_pb2.Listing(id=request.listing_id, version=1)


DEFAULTS: dict[str, Reply] = {
    "GetListing": own_listing,
    "ListListings": nothing,
    "BatchGetListings": public_listings,
    "GetAgent": some_agent,
    "ListAgents": page,
    "CreateAgent": created,
    "UpdateAgent": some_agent,
    "VerifyAgent": some_agent,
    "RequestOtp": sent,
    "VerifyOtp": signed_in,
    "RefreshToken": refreshed,
    "Logout": nothing,
    "GetMe": me,
    "ImportListings": nothing,
    "ExportListings": nothing,
    "GetListingImport": nothing,
    "GetProject": nothing,
    "ListProjects": nothing,
}
for _name in DEFAULTS:
    setattr(Peer, _name, rpc(_name))


def agent(agent_id: str) -> agents_pb2.Agent:
    return agents_pb2.Agent(id=agent_id, member_full_name="Asha Kulkarni", version=7)


@asynccontextmanager
async def serving(peer: Peer) -> AsyncIterator[None]:
    verifier = TokenVerifier(peer.tokens, Revocations(), issuer=ISSUER, audience=AUDIENCE)
    grpc_server = grpc.aio.server(
        interceptors=[Interceptor(verifier)], options=[("grpc.so_reuseport", 0)]
    )
    agents_pb2_grpc.add_AgentServiceServicer_to_server(peer, grpc_server)
    listings_pb2_grpc.add_ListingServiceServicer_to_server(peer, grpc_server)
    listing_files_pb2_grpc.add_ListingFileServiceServicer_to_server(peer, grpc_server)
    auth_pb2_grpc.add_AuthServiceServicer_to_server(peer, grpc_server)
    auth_pb2_grpc.add_UserServiceServicer_to_server(peer, grpc_server)
    projects_pb2_grpc.add_ProjectServiceServicer_to_server(peer, grpc_server)
    health_pb2_grpc.add_HealthServicer_to_server(peer.health, grpc_server)
    await peer.health.set("", HealthCheckResponse.SERVING)
    peer.port = grpc_server.add_insecure_port(f"127.0.0.1:{peer.port}")
    await grpc_server.start()
    try:
        yield
    finally:
        await grpc_server.stop(None)


@pytest_asyncio.fixture(scope="session")
async def shared_peer(tokens: Tokens) -> AsyncIterator[Peer]:
    chosen = Peer(tokens)  # type: ignore[abstract]  # What no test calls stays UNIMPLEMENTED.
    async with serving(chosen):
        yield chosen


@pytest.fixture
def peer(shared_peer: Peer) -> Peer:
    shared_peer.replies.clear()
    shared_peer.calls = 0
    return shared_peer


@dataclass
class Running:
    """A gateway that serves."""

    port: int
    readiness: Readiness
    client: httpx.AsyncClient
    stopped: asyncio.Future[None] = field(default_factory=asyncio.Future)

    async def is_ready(self) -> bool:
        return (await self.client.get("/readyz")).status_code == 200

    async def raw(self, request: bytes, *, then: bytes = b"") -> bytes:
        """What comes back for these bytes, until the gateway hangs up."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            if then:
                await writer.drain()
                await asyncio.sleep(0.05)  # So that they arrive apart.
                writer.write(then)
            return await asyncio.wait_for(reader.read(), 5)
        finally:
            writer.close()
            await writer.wait_closed()


RunGateway = Callable[..., AbstractAsyncContextManager[Running]]


def settings_for(peer_port: int, redis_url: str, **given: Any) -> GatewaySettings:
    target = f"dns:///127.0.0.1:{peer_port}"
    values: dict[str, Any] = {
        "environment": "development",
        "log_level": "INFO",
        "redis_url": redis_url,
        "metrics_port": 0,
        "gateway_port": 0,
        "drain_seconds": 0,
        # Tests ask for the same again and again; those of the cache have one.
        "cache_bytes": 0,
        "auth_target": target,
        "agents_target": target,
        "crm_target": target,
        "projects_target": target,
        **given,
    }
    return GatewaySettings(**values)


@asynccontextmanager
async def running(settings: GatewaySettings) -> AsyncIterator[Running]:
    listener = listen(settings)
    port = listener.getsockname()[1]
    async with open_app(settings) as (app, readiness):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            gateway = Running(port, readiness, client)
            served = asyncio.create_task(serve(server(app, settings), listener, gateway.stopped))
            await eventually(gateway.is_ready)
            yield gateway
        if not gateway.stopped.done():
            gateway.stopped.set_result(None)
        await served


@pytest_asyncio.fixture(scope="session")
async def shared_gateway(shared_peer: Peer, valkey: Valkey) -> AsyncIterator[Running]:
    async with running(settings_for(shared_peer.port, valkey.url)) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared_gateway: Running, peer: Peer, redis_url: str) -> Running:
    """The gateway with its default settings; nobody has called it yet."""
    return shared_gateway


@pytest.fixture
def run_gateway(peer: Peer, redis_url: str) -> RunGateway:
    """A gateway with settings of the test's own."""
    return lambda **given: running(settings_for(peer.port, redis_url, **given))


async def eventually(holds: Callable[[], Awaitable[bool]], *, within: float = 30) -> None:
    async with asyncio.timeout(within):
        while not await holds():  # noqa: ASYNC110  Another process, or a server, makes it hold.
            await asyncio.sleep(0.01)


def raising(error: Exception) -> Reply:
    """A reply of a peer that fails."""

    async def reply(_request: Any, _context: Any) -> Any:
        raise error

    return reply


def error_of(response: Any) -> dict[str, Any]:
    """The envelope's content, once its form is checked."""
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"code", "message", "correlation_id", "path", "details"}
    assert error["correlation_id"] == response.headers["x-correlation-id"]
    assert error["path"] == response.request.url.path
    return error


def utf8(**headers: str) -> httpx.Headers:
    """Headers beyond ASCII, as some clients send them."""
    return httpx.Headers(headers, encoding="utf-8")


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


AGENT = {
    "member_full_name": "Asha Kulkarni",
    "member_mobile_phone": "+919876543210",
    "rera_agent_no": "A52100012345",
    "rera_state": "Maharashtra",
    "rera_valid_to": "2029-03-31",
}
