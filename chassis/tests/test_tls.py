"""TLS between two peers over a real socket: who gets through, how renewed certificates arrive, and health in clear."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from chassis import tls
from chassis.context import Call, enter
from chassis.errors import Unavailable
from chassis.grpc_client import open_channel, outgoing
from chassis.grpc_server import ALIVE, Server
from chassis.revocations import Revocations
from chassis.settings import ServiceSettings
from chassis.verification import TokenVerifier
from devstack.process import free_port
from devstack.testing_authority import Authority
from devstack.testing_authority import settings as tls_settings
from devstack.testing_service import AUDIENCE, ISSUER, SECRET, Tokens
from propmubi.auth.v1 import auth_pb2 as pb
from propmubi.auth.v1.auth_pb2_grpc import (
    AuthServiceServicer,
    AuthServiceStub,
    add_AuthServiceServicer_to_server,
)

SERVICES = ["propmubi.auth.v1.AuthService"]
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


class Peer(AuthServiceServicer):
    """Remembers the number of the certificate that each caller showed."""

    def __init__(self) -> None:
        self.shown: list[int] = []

    async def GetJwks(self, request: Any, context: Any) -> pb.GetJwksResponse:  # noqa: N802
        (pem,) = context.auth_context()["x509_pem_cert"]
        self.shown.append(x509.load_pem_x509_certificate(pem).serial_number)
        return pb.GetJwksResponse()


def settings(**given: Any) -> ServiceSettings:
    return ServiceSettings(
        environment="development",
        redis_url="redis://x",
        metrics_port=0,
        grpc_host="127.0.0.1",
        grpc_port=0,
        database_url="postgresql://x",
        service_id="auth",
        service_secret=SECRET,
        cursor_key=SECRET,
        **given,
    )


@asynccontextmanager
async def serving(tokens: Tokens, **given: Any) -> AsyncIterator[tuple[Server, Peer]]:
    verifier = TokenVerifier(tokens, Revocations(), issuer=ISSUER, audience=AUDIENCE)
    peer = Peer()  # type: ignore[abstract]  # The other RPCs are not called.
    server = Server(settings(**given), verifier)
    add_AuthServiceServicer_to_server(peer, server.server)
    await server.start(SERVICES)
    yield server, peer
    await server.drain()


async def ask(channel: grpc.aio.Channel) -> None:
    enter(Call("/test/Do", "correlation-1", asyncio.get_running_loop().time() + 5.0))
    await AuthServiceStub(outgoing(channel)).GetJwks(pb.GetJwksRequest())


@asynccontextmanager
async def channel_to(server: Server, folder: Path | None) -> AsyncIterator[grpc.aio.Channel]:
    given = tls_settings(folder) if folder else {}
    channel = open_channel(f"dns:///localhost:{server.port}", settings(**given), [])
    yield channel
    await channel.close()


async def test_only_who_shows_a_certificate_of_the_same_authority_gets_through(
    tokens: Tokens, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
    number = Authority().issue(ours)
    Authority().issue(theirs)
    async with serving(tokens, **tls_settings(ours)) as (server, peer):
        await server.ready()
        async with channel_to(server, ours) as channel:
            await ask(channel)
        assert peer.shown == [number]
        for shown in (theirs, None):
            async with channel_to(server, shown) as channel:
                with pytest.raises(Unavailable):
                    await ask(channel)
        assert peer.shown == [number]


async def test_both_sides_take_renewed_files_without_a_restart(
    tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.0)
    Authority().issue(tmp_path)
    async with AsyncExitStack() as stack:
        server, peer = await stack.enter_async_context(serving(tokens, **tls_settings(tmp_path)))
        await server.ready()
        channel = await stack.enter_async_context(channel_to(server, tmp_path))
        await ask(channel)

        # Another authority: that the next call gets through shows that both sides took all three files.
        (tmp_path / "tls.crt").write_text("half of it")
        await ask(channel)
        renewed = Authority().issue(tmp_path)
        await asyncio.gather(*(ask(channel) for _ in range(50)))
        assert peer.shown[2:] == [renewed] * 50
        again = await stack.enter_async_context(channel_to(server, tmp_path))
        await ask(again)


def test_files_that_can_not_be_used_end_the_start_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="TLS_CERT_FILE, TLS_KEY_FILE, TLS_CA_FILE: can't be used"):
        tls.open_certificates(settings(**tls_settings(tmp_path)))


async def test_health_alone_is_served_in_clear_where_a_kubelet_asks(
    tokens: Tokens, tmp_path: Path
) -> None:
    Authority().issue(tmp_path)
    port = free_port()
    async with (
        serving(tokens, health_port=port, **tls_settings(tmp_path)) as (server, _),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):

        async def health(name: str) -> HealthCheckResponse.ServingStatus.ValueType:
            request = HealthCheckRequest(service=name)
            answer: HealthCheckResponse = await HealthStub(channel).Check(request, timeout=5)
            return answer.status

        assert (await health(""), await health(ALIVE)) == (NOT_SERVING, SERVING)
        await server.ready()
        assert (await health(""), await health(ALIVE)) == (SERVING, SERVING)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await AuthServiceStub(channel).GetJwks(pb.GetJwksRequest(), timeout=5)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
