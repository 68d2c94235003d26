"""Two peers over a real socket: who is let in, what travels along, how every error comes back, and the drain."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import orjson
import pytest
import pytest_asyncio
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from chassis import errors, logs, metrics
from chassis.context import Call, current_call, enter
from chassis.errors import DomainError, Kind, Unavailable, Violation
from chassis.grpc_client import open_channel, outgoing
from chassis.grpc_server import MAX_MESSAGE_BYTES, Server, check_access_rules
from chassis.ids import new_id
from chassis.revocations import Revocations
from chassis.settings import ServiceSettings
from chassis.status import STATUS_OF_KIND
from chassis.tracing import traceparent
from chassis.verification import TokenVerifier
from devstack.process import free_port
from devstack.testing_service import AUDIENCE, ISSUER, SECRET, Tokens
from propmubi.agents.v1 import agents_pb2 as pb
from propmubi.agents.v1.agents_pb2_grpc import (
    AgentServiceServicer,
    AgentServiceStub,
    add_AgentServiceServicer_to_server,
)

SERVICES = ["propmubi.agents.v1.AgentService"]
ID = str(new_id())


class Peer(AgentServiceServicer):
    """Does in every RPC what the test says, and remembers under which calls."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.metadata: list[dict[str, Any]] = []
        self.act: Callable[[], Awaitable[None]] = self.nothing
        self.bio = ""

    async def nothing(self) -> None: ...

    async def _answer(self, context: Any) -> pb.Agent:
        self.calls.append(current_call())
        self.metadata.append(dict(context.invocation_metadata()))
        await self.act()
        return pb.Agent(id=ID, bio=self.bio)

    async def GetAgent(self, request: Any, context: Any) -> pb.Agent:  # noqa: N802
        return await self._answer(context)

    async def VerifyAgent(self, request: Any, context: Any) -> pb.Agent:  # noqa: N802
        return await self._answer(context)

    def fails(self, error: BaseException) -> None:
        async def fail() -> None:
            raise error

        self.act = fail


class Serving:
    def __init__(self, peer: Peer, server: Server, channel: grpc.aio.Channel) -> None:
        self.peer, self.server, self.channel = peer, server, channel
        self.stub = AgentServiceStub(outgoing(channel))
        self.raw = AgentServiceStub(channel)


def settings(port: int = 0) -> ServiceSettings:
    return ServiceSettings(
        environment="development",
        redis_url="redis://x",
        metrics_port=0,
        grpc_host="127.0.0.1",
        grpc_port=port,
        database_url="postgresql://x",
        service_id="agents",
        service_secret=SECRET,
        cursor_key=SECRET,
    )


@pytest_asyncio.fixture
async def serving(tokens: Tokens) -> AsyncIterator[Serving]:
    verifier = TokenVerifier(tokens, Revocations(), issuer=ISSUER, audience=AUDIENCE)
    peer = Peer()  # type: ignore[abstract]  # The other RPCs are not called.
    server = Server(settings(), verifier)
    add_AgentServiceServicer_to_server(peer, server.server)
    await server.start(SERVICES)
    await server.ready()
    channel = open_channel(f"dns:///127.0.0.1:{server.port}", settings(), [pb.DESCRIPTOR])
    yield Serving(peer, server, channel)
    await channel.close()
    await server.server.stop(0)


def call(seconds: float = 5.0, **fields: Any) -> Call:
    made = Call("/test/Do", "correlation-1", asyncio.get_running_loop().time() + seconds, **fields)
    enter(made)
    return made


GET = pb.GetAgentRequest(agent_id=ID)
VERIFY = pb.VerifyAgentRequest(agent_id=ID)
EVERY_ERROR = [
    errors.InvalidArgument(Violation("bhk", "is odd"), message="m", reason="PAGE_TOKEN_INVALID"),
    errors.Unauthenticated("m", reason="OTP_INVALID"),
    errors.PermissionDenied("m"),
    errors.NotFound("m"),
    errors.Conflict("m", reason="UNIT_NOT_AVAILABLE"),
    errors.AlreadyExists("m"),
    errors.StaleVersion("m"),
    errors.RateLimited("m", retry_after=2.5),
    errors.Unavailable("m"),
    errors.DeadlineExceeded("m"),
]


def test_every_kind_has_a_status_of_its_own_and_an_error_above() -> None:
    assert set(STATUS_OF_KIND) == set(Kind) == {error.kind for error in EVERY_ERROR}
    assert len(set(STATUS_OF_KIND.values())) == len(Kind)


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: error.kind.name)
async def test_every_error_comes_back_as_it_was_raised(
    serving: Serving, error: DomainError
) -> None:
    call()
    serving.peer.fails(error)
    with pytest.raises(type(error)) as raised:
        await serving.stub.GetAgent(GET)
    back = raised.value
    assert (back.kind, back.reason, back.violations) == (error.kind, error.reason, error.violations)
    if isinstance(error, errors.RateLimited):
        assert isinstance(back, errors.RateLimited)
        assert back.retry_after == error.retry_after


async def test_bytes_that_are_no_message_are_bad_input_and_no_fault(serving: Serving) -> None:
    ask: Any = serving.channel.unary_unary("/propmubi.agents.v1.AgentService/GetAgent")
    for garbage in (b"\xff\xff", b"\x0a\x01\xff"):  # No field, and no UTF-8.
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await ask(garbage, timeout=5)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert serving.peer.calls == []


async def test_a_fault_says_nothing_of_itself(serving: Serving) -> None:
    call()
    serving.peer.fails(ValueError("the secret of +919876543210"))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await serving.stub.GetAgent(GET)
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(raised.value)


async def test_a_fault_of_a_peer_is_one_of_ours_and_a_lost_connection_is_not(
    serving: Serving,
) -> None:
    call()
    fault = grpc.aio.AioRpcError(grpc.StatusCode.UNKNOWN, None, None, "a secret")
    serving.peer.fails(fault)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await serving.stub.GetAgent(GET)
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(raised.value)
    serving.peer.fails(ConnectionResetError())
    with pytest.raises(Unavailable):
        await serving.stub.GetAgent(GET)


@pytest.mark.parametrize("seconds", [None, 3600.0])
async def test_a_call_without_a_sensible_deadline_is_refused(
    serving: Serving, seconds: float | None
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await serving.raw.GetAgent(GET, timeout=seconds)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert serving.peer.calls == []


async def test_identity_deadline_trace_and_correlation_travel_along(
    serving: Serving, tokens: Tokens
) -> None:
    verifier = TokenVerifier(tokens, Revocations(), issuer=ISSUER, audience=AUDIENCE)
    person = await verifier.verify(tokens.person())
    mine = call(seconds=3.0, principal=person, client_address="192.0.2.1", user_agent="test")
    left = mine.remaining()
    await serving.stub.GetAgent(GET)
    [theirs] = serving.peer.calls
    assert theirs.principal == person
    assert theirs.correlation_id == mine.correlation_id
    assert (theirs.client_address, theirs.user_agent) == ("192.0.2.1", "test")
    assert left - 1.0 < theirs.deadline - asyncio.get_running_loop().time() < left


TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize("flags", ["00", "01"])
async def test_a_trace_is_continued_as_sampled_or_not(serving: Serving, flags: str) -> None:
    seen: list[str] = []

    async def note() -> None:
        seen.append(traceparent())

    serving.peer.act = note
    header = f"00-{TRACE}-b7ad6b7169203331-{flags}"
    await serving.raw.GetAgent(GET, timeout=5, metadata=[("traceparent", header)])
    version, trace_id, span_id, sampled = seen[0].split("-")
    assert (version, trace_id, sampled) == ("00", TRACE, flags)
    assert int(span_id, 16)
    assert traceparent() == ""


@pytest.mark.parametrize("given", ["short", "x" * 65, 'a"b\\c1234', "spaces in it"])
async def test_a_correlation_id_of_another_form_is_replaced(serving: Serving, given: str) -> None:
    await serving.raw.GetAgent(GET, timeout=5, metadata=[("x-correlation-id", given)])
    assert serving.peer.calls[0].correlation_id != given
    assert len(serving.peer.calls[0].correlation_id) == 36


async def test_a_read_is_tried_again_where_the_peer_is_not_there_and_a_write_is_not(
    serving: Serving, tokens: Tokens
) -> None:
    verifier = TokenVerifier(tokens, Revocations(), issuer=ISSUER, audience=AUDIENCE)
    call(principal=await verifier.verify(tokens.admin()))
    serving.peer.fails(Unavailable("m"))
    with pytest.raises(Unavailable):
        await serving.stub.GetAgent(GET)
    assert len(serving.peer.calls) == 3
    serving.peer.calls.clear()
    with pytest.raises(Unavailable):
        await serving.stub.VerifyAgent(VERIFY)
    assert len(serving.peer.calls) == 1


async def test_a_peer_that_is_down_is_told_quickly() -> None:
    channel = open_channel(f"dns:///127.0.0.1:{free_port()}", settings(), [pb.DESCRIPTOR])
    call(seconds=20)
    started = time.monotonic()
    with pytest.raises(Unavailable):
        await AgentServiceStub(outgoing(channel)).GetAgent(GET)
    assert time.monotonic() - started < 3
    await channel.close()


async def test_calls_go_to_replicas_that_say_they_serve(serving: Serving, tokens: Tokens) -> None:
    verifier = TokenVerifier(tokens, Revocations(), issuer=ISSUER, audience=AUDIENCE)
    peer = Peer()  # type: ignore[abstract]  # The other RPCs are not called.
    # It listens already, and has no keys yet to know tokens by.
    starting = Server(settings(), verifier)
    add_AgentServiceServicer_to_server(peer, starting.server)
    await starting.start(SERVICES)
    target = f"ipv4:127.0.0.1:{starting.port},127.0.0.1:{serving.server.port}"
    channel = open_channel(target, settings(), [pb.DESCRIPTOR])
    stub = AgentServiceStub(outgoing(channel))
    call(seconds=20)
    await asyncio.gather(*(stub.GetAgent(GET) for _ in range(20)))
    assert (len(peer.calls), len(serving.peer.calls)) == (0, 20)

    await starting.ready()
    while not peer.calls:
        await stub.GetAgent(GET)
    await serving.server.drain()
    serving.peer.calls.clear()
    await asyncio.gather(*(stub.GetAgent(GET) for _ in range(20)))
    assert serving.peer.calls == []
    await channel.close()
    await starting.drain()


async def test_a_service_that_is_refused_does_not_tell_its_caller_to_sign_in(
    serving: Serving,
) -> None:
    async def bad_token() -> str:
        return "not.a.token"

    call()
    stub = AgentServiceStub(outgoing(serving.channel, token=bad_token))
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.GetAgent(GET)


async def test_who_may_call_what(serving: Serving, tokens: Tokens) -> None:
    async def status(method: Any, request: Any, token: str | None) -> str:
        metadata = [("authorization", f"Bearer {token}")] if token else []
        try:
            await method(request, timeout=5, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return "OK"

    callers = [None, tokens.person(), tokens.agent(), tokens.admin(), tokens.service("crm"), "bad"]
    get = [await status(serving.raw.GetAgent, GET, token) for token in callers]
    verify = [await status(serving.raw.VerifyAgent, VERIFY, token) for token in callers]
    assert get == ["OK"] * 5 + ["UNAUTHENTICATED"]
    assert verify == [
        "UNAUTHENTICATED",
        "PERMISSION_DENIED",
        "PERMISSION_DENIED",
        "OK",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
    ]


async def test_trailers_of_success(serving: Serving) -> None:
    async def existing() -> None:
        current_call().trailers.append(("propmubi-existing", "true"))

    serving.peer.act = existing
    rpc = serving.raw.GetAgent(GET, timeout=5)
    await rpc
    assert ("propmubi-existing", "true") in tuple(await rpc.trailing_metadata())


async def line_of_call(failure: type[BaseException], serving: Serving) -> Any:
    """What is logged of a call that fails so."""
    call()
    logs.configure(settings(), "agents")
    logs._output._lines.clear()
    with pytest.raises(failure):
        await serving.stub.GetAgent(GET)
    lines: list[Any] = []
    async with asyncio.timeout(10):
        while not lines:  # It is written after the answer.
            await asyncio.sleep(0)
            written = map(orjson.loads, logs._output._lines)
            lines = [line for line in written if line["event"] == "rpc"]
    [line] = lines
    return line


async def test_a_reply_that_is_too_large_to_be_sent_is_a_fault_logged_and_counted(
    serving: Serving,
) -> None:
    call()
    serving.peer.bio = "a" * (
        MAX_MESSAGE_BYTES - pb.Agent(id=ID, bio="a" * 1_000_000).ByteSize() + 1_000_000
    )
    await serving.stub.GetAgent(GET)
    serving.peer.bio += "a"
    counted = metrics.RPC_SECONDS.labels("propmubi.agents.v1.AgentService.GetAgent", "INTERNAL")
    before = counted._sum.get()
    line = await line_of_call(grpc.aio.AioRpcError, serving)
    assert (line["status"], line["reason"]) == ("INTERNAL", "ReplyTooLarge")
    assert counted._sum.get() > before


async def test_the_line_of_a_call(serving: Serving) -> None:
    serving.peer.fails(errors.Conflict("m", reason="UNIT_NOT_AVAILABLE"))
    line = await line_of_call(errors.Conflict, serving)
    assert line["correlation_id"] == "correlation-1"
    assert line["method"] == "propmubi.agents.v1.AgentService.GetAgent"
    assert (line["status"], line["reason"]) == ("FAILED_PRECONDITION", "UNIT_NOT_AVAILABLE")
    assert line["duration_ms"] >= 0


async def test_a_call_whose_caller_went_away_is_ended(serving: Serving) -> None:
    ended = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    serving.peer.act = wait
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await serving.raw.GetAgent(GET, timeout=0.3)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(5):
        await ended.wait()


async def test_a_drain_answers_what_is_under_way_and_nothing_new(serving: Serving) -> None:
    go, begun = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await go.wait()

    serving.peer.act = wait
    health = HealthStub(serving.channel)
    watch = health.Watch(HealthCheckRequest(), timeout=20)
    assert (await watch.read()).status == HealthCheckResponse.SERVING
    under_way = asyncio.ensure_future(serving.raw.GetAgent(GET, timeout=10))
    await begun.wait()
    drain = asyncio.ensure_future(serving.server.drain())
    assert (await watch.read()).status == HealthCheckResponse.NOT_SERVING
    watch.cancel()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await serving.raw.VerifyAgent(VERIFY, timeout=2)
    assert refused.value.code() in {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
    go.set()
    assert (await under_way).id == ID
    async with asyncio.timeout(10):
        await drain


async def test_a_taken_port_is_one_line(serving: Serving, tokens: Tokens) -> None:
    verifier = TokenVerifier(tokens, Revocations(), issuer=ISSUER, audience=AUDIENCE)
    second = Server(settings(serving.server.port), verifier)
    with pytest.raises(SystemExit, match=r"GRPC_PORT: .* is it taken"):
        await second.start(SERVICES)
    await second.server.stop(0)


def test_an_rpc_without_an_access_rule_stops_the_start() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="lax.proto", package="lax", syntax="proto3")
    file.message_type.add(name="Nothing")
    method = file.service.add(name="LaxService").method.add(name="Do")
    method.input_type = method.output_type = ".lax.Nothing"
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    with pytest.raises(ValueError, match=r"lax.LaxService.Do has no access rule"):
        check_access_rules(["lax.LaxService"])
