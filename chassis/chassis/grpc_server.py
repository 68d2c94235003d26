"""The gRPC server of a service: one interceptor between the wire and the servicers, health, and a drain on SIGTERM."""

import asyncio
import hashlib
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol, cast

import grpc
import structlog
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse
from opentelemetry.trace import SpanKind, Status, StatusCode
from prometheus_client import Histogram

from chassis import constraints, metrics
from chassis.context import LONGEST_CALL_SECONDS, Call, IdempotencyKey, enter
from chassis.errors import (
    DeadlineExceeded,
    DomainError,
    InvalidArgument,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from chassis.idempotency import Replayed
from chassis.identity import Principal
from chassis.redis import AWAY
from chassis.settings import ServiceSettings
from chassis.status import DETAILS_KEY, to_status
from chassis.tls import Certificates, Pems, open_certificates
from chassis.tracing import continued
from propmubi.options.v1 import options_pb2
from propmubi.options.v1.options_pb2 import Caller

MAX_MESSAGE_BYTES = 1 << 20
DRAIN_SECONDS = 8.0
# The name by which health says that the process lives, ready or not: a restart would not help it to become ready.
ALIVE = "alive"

log = structlog.get_logger()

_well_formed = re.compile(r"[A-Za-z0-9-]{8,64}").fullmatch

Handler = Callable[[Message, grpc.aio.ServicerContext[Any, Any]], Awaitable[Message]]


class Verifier(Protocol):
    """Turns a bearer token into a principal; `chassis.verification.TokenVerifier` does."""

    async def verify(self, token: str) -> Principal: ...


class ReplyTooLarge(Exception):
    """A reply that gRPC would refuse to send without telling anybody here. It is a fault of ours: lists are cut to fit
    (`chassis.page_tokens`), and the contract's tests see to it that all else fits.
    """

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} bytes")
        self.size = size


class Contract:
    """What the proto says of one RPC; raises ValueError when it says too little to serve it."""

    def __init__(self, path: str) -> None:
        name = path.removeprefix("/").replace("/", ".")
        method = descriptor_pool.Default().FindMethodByName(name)
        self.path = path
        self.name = name
        self.callers = allowed_callers(method)
        self.request = message_factory.GetMessageClass(method.input_type)
        # A stored reply would be a stored secret: RPCs that answer with one do without idempotency keys.
        self.idempotent = not _gives_a_token(method.output_type)


def allowed_callers(method: MethodDescriptor) -> frozenset["Caller.ValueType"]:
    """Who may call `method`; raises ValueError when the contract does not say."""
    callers = frozenset(method.GetOptions().Extensions[options_pb2.access].allow)
    if not callers or Caller.CALLER_UNSPECIFIED in callers:
        raise ValueError(f"{method.full_name} has no access rule: add (propmubi.options.v1.access)")
    return callers


def _sendable(reply: Message) -> bytes:
    sent = reply.SerializeToString()
    if len(sent) > MAX_MESSAGE_BYTES:
        raise ReplyTooLarge(len(sent))
    return sent


def _correlation_id(metadata: Mapping[str, str]) -> str:
    given = metadata.get("x-correlation-id", "")
    return given if _well_formed(given) else str(uuid.uuid4())


def _gives_a_token(message: Descriptor) -> bool:
    return any(
        field.GetOptions().Extensions[options_pb2.sensitive] and "token" in field.name
        for field in message.fields
    )


class Interceptor(grpc.aio.ServerInterceptor):
    """Everything that holds for every RPC, in one place and one order: deadline, identity, access, constraints, the
    servicer, and the translation of what went wrong.
    """

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        handler = self._wrapped.get(details.method)
        if handler is None:
            found = await continuation(details)
            if found is None or not details.method.startswith("/propmubi."):
                return found
            handler = self._wrapped[details.method] = self._wrap(details.method, found)
        return handler

    def _wrap(self, path: str, handler: Any) -> "grpc.RpcMethodHandler[Any, Any]":
        contract = Contract(path)
        servicer: Handler = handler.unary_unary

        @cache
        def seconds_of(code: grpc.StatusCode) -> Histogram:
            return metrics.RPC_SECONDS.labels(contract.name, code.name)

        async def serve(raw: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            started = time.perf_counter()
            metadata = {
                key: value
                for key, value in context.invocation_metadata() or ()
                if isinstance(value, str)
            }
            call = Call(path, _correlation_id(metadata), 0.0)
            enter(call)
            code, failure = grpc.StatusCode.OK, None
            parent = metadata.get("traceparent", "")
            with continued(contract.name, parent, SpanKind.SERVER) as span:
                try:
                    request = await self._admitted(contract, call, raw, metadata, context)
                    return _sendable(await servicer(request, context))
                except Replayed as replayed:
                    call.trailers.extend((("idempotency-replayed", "true"), *replayed.trailers))
                    return replayed.reply
                except DomainError as error:
                    code, message, status = to_status(error)
                    failure = error.reason
                    await self._abort(context, call, code, message, status)
                    raise  # Never reached: abort raises.
                except asyncio.CancelledError:
                    code = grpc.StatusCode.CANCELLED
                    raise
                except grpc.aio.AbortError:
                    raise
                except Exception as error:
                    # The last line of defence: logged whole, told as nothing.
                    code, message, status = self._fault(error)
                    failure = type(error).__name__
                    await self._abort(context, call, code, message, status)
                    raise
                finally:
                    if call.trailers and code is grpc.StatusCode.OK:
                        context.set_trailing_metadata(tuple(call.trailers))
                    if code is grpc.StatusCode.INTERNAL:
                        span.set_status(Status(StatusCode.ERROR, failure))
                    seconds = time.perf_counter() - started
                    seconds_of(code).observe(seconds)
                    log.info(
                        "rpc",
                        method=contract.name,
                        status=code.name,
                        duration_ms=round(seconds * 1000, 2),
                        **({"reason": failure} if failure else {}),
                    )

        return grpc.unary_unary_rpc_method_handler(
            serve,
            # Read by us, once it is known who calls: gRPC tells bytes that are no message as a fault of the server. And
            # written by us, since what it can't send would look answered here.
            request_deserializer=None,
            response_serializer=None,
        )

    async def _admitted(
        self,
        contract: Contract,
        call: Call,
        raw: bytes,
        metadata: Mapping[str, str],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> Message:
        """The request, if its caller may send it; raises a DomainError."""
        remaining = cast("float | None", context.time_remaining())
        if remaining is None or remaining > LONGEST_CALL_SECONDS:
            raise InvalidArgument(
                message=f"Give the call a deadline of at most {LONGEST_CALL_SECONDS:.0f} s."
            )
        if remaining <= 0:
            raise DeadlineExceeded("There was no time left to answer.")
        call.deadline = asyncio.get_running_loop().time() + remaining
        call.client_address = metadata.get("x-client-address", "")
        call.user_agent = metadata.get("x-client-user-agent", "")
        authorization = metadata.get("authorization")
        if authorization is not None:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() != "bearer" or not token:
                raise Unauthenticated("The authorization must be `Bearer <access token>`.")
            call.principal = await self._verifier.verify(token)
        if call.principal is None:
            if Caller.CALLER_ANYONE not in contract.callers:
                raise Unauthenticated("Sign in first.")
        elif contract.callers.isdisjoint(call.principal.callers):
            raise PermissionDenied("Your role does not allow this.")
        try:
            request = contract.request.FromString(raw)
        except DecodeError as error:
            raise InvalidArgument(message="The request can't be read as its message.") from error
        violations = constraints.validate(request)
        if violations:
            raise InvalidArgument(*violations)
        key = metadata.get("idempotency-key")
        if key and contract.idempotent:
            body = request.SerializeToString(deterministic=True)
            call.idempotency = IdempotencyKey(key, hashlib.sha256(body).digest())
        return request

    @staticmethod
    async def _abort(
        context: grpc.aio.ServicerContext[Any, Any],
        call: Call,
        code: grpc.StatusCode,
        message: str,
        status: bytes,
    ) -> None:
        await context.abort(code, message, ((DETAILS_KEY, status), *call.trailers))

    @staticmethod
    def _fault(error: Exception) -> tuple[grpc.StatusCode, str, bytes]:
        """What the caller is told of a fault of ours: nothing but that there was one, or that a peer is away."""
        if isinstance(error, AWAY):
            log.error("dependency unavailable", exc_info=error)
            return to_status(
                Unavailable("A part of the platform can't be reached just now: try again.")
            )
        if isinstance(error, ReplyTooLarge):
            log.error("reply too large", bytes=error.size)
        else:
            log.error("unhandled error", exc_info=error)
        return grpc.StatusCode.INTERNAL, "Something went wrong on our side.", b""


class Server:
    """A grpc.aio server with health, which says NOT_SERVING first when it stops and answers what is under way."""

    def __init__(self, settings: ServiceSettings, verifier: Verifier) -> None:
        self._settings = settings
        self.server = grpc.aio.server(
            interceptors=[Interceptor(verifier)],
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                # Long-lived connections are ended now and then, so that new replicas get their share.
                ("grpc.max_connection_age_ms", 300_000),
                ("grpc.max_connection_age_grace_ms", 35_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
                ("grpc.so_reuseport", 0),
            ],
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        self._probes: grpc.aio.Server | None = None
        self.port = 0

    async def start(self, services: Sequence[str]) -> None:
        """Listen, NOT_SERVING; raises SystemExit with a line when the port is taken or the contract says too little."""
        try:
            check_access_rules(services)
        except ValueError as error:
            raise SystemExit(f"The contract can't be served: {error}") from error
        settings = self._settings
        self.port = _listen(
            self.server, settings, "GRPC_PORT", settings.grpc_port, open_certificates(settings)
        )
        await self._health.set("", HealthCheckResponse.NOT_SERVING)
        await self._health.set(ALIVE, HealthCheckResponse.SERVING)
        await self.server.start()
        if settings.health_port:
            self._probes = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._probes)
            _listen(self._probes, settings, "HEALTH_PORT", settings.health_port, None)
            await self._probes.start()

    async def ready(self) -> None:
        """Tell health checks that calls are welcome."""
        await self._health.set("", HealthCheckResponse.SERVING)
        log.info("serving", port=self.port)

    async def drain(self) -> None:
        """Turn new calls away, answer those under way, and stop."""
        await self._health.set("", HealthCheckResponse.NOT_SERVING)
        await self.server.stop(DRAIN_SECONDS)
        if self._probes is not None:
            await self._probes.stop(0)


def _listen(
    server: grpc.aio.Server,
    settings: ServiceSettings,
    setting: str,
    port: int,
    certificates: Certificates | None,
) -> int:
    address = f"{settings.grpc_host}:{port}"
    try:
        if certificates is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, _credentials(certificates))
    except RuntimeError as error:
        raise SystemExit(f"{setting}: {address} can't be listened on; is it taken?") from error


def _credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Shows the current certificate to each new connection, which must show one of the same authority."""
    shown = certificates.current()

    def fetch() -> grpc.ServerCertificateConfiguration:
        nonlocal shown
        current = certificates.current()
        if current is shown:
            return cast("grpc.ServerCertificateConfiguration", None)  # gRPC's word for: as before.
        shown = current
        return _configuration(current)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(shown), fetch, require_client_authentication=True
    )


def _configuration(pems: Pems) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(pems.key, pems.certificate)], root_certificates=pems.authority
    )


def check_access_rules(services: Sequence[str]) -> None:
    """Refuse to serve an RPC about which the contract does not say who may call it."""
    for name in services:
        for method in descriptor_pool.Default().FindServiceByName(name).methods:
            allowed_callers(method)
