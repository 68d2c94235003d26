"""Calls to another service: who asks, until when, in which trace and under which correlation id travel along.

`outgoing(channel)` is handed to a generated stub in place of grpc's own, so that `await stub.GetLead(request)` is all a
caller writes. Interceptors of grpc.aio would do the same at the price of a task for each call.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import grpc
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from opentelemetry.trace import SpanKind, Status, StatusCode, get_current_span

from chassis.context import LONGEST_CALL_SECONDS, Call, current_call
from chassis.errors import PermissionDenied, Unauthenticated
from chassis.settings import Settings
from chassis.status import from_rpc_error
from chassis.tls import Certificates, open_certificates
from chassis.tracing import traceparent, tracer

# Left of the caller's time for its own answer after the peer's.
RESERVE_SECONDS = 0.02
MAX_MESSAGE_BYTES = 1 << 20

# A token for the process itself, when a call is not made for somebody.
TokenSource = Callable[[], Awaitable[str]]
Trailers = Sequence[tuple[str, str | bytes]]


def open_channel(
    target: str, settings: Settings, files: Sequence[FileDescriptor]
) -> grpc.aio.Channel:
    """A channel to `target`, encrypted when the settings name certificates. One per target and process."""
    options = [
        ("grpc.service_config", json.dumps(service_config(files))),
        ("grpc.enable_retries", 1),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # A peer that restarts is looked for again at once, not after two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # Names are looked up again at most this often (gRPC's own 30 s would outlive a rolling restart).
        ("grpc.dns_min_time_between_resolutions_ms", 2_000),
    ]
    certificates = open_certificates(settings)
    if certificates is None:
        return grpc.aio.insecure_channel(target, options=options)
    return cast("grpc.aio.Channel", _RenewedChannel(target, options, certificates))


class _RenewedChannel:
    """A channel that is opened anew once our certificate was renewed: gRPC's own shows the first one for ever."""

    def __init__(
        self, target: str, options: Sequence[tuple[str, Any]], certificates: Certificates
    ) -> None:
        self._target, self._options, self._certificates = target, options, certificates
        self._shown = certificates.current()
        self._channel = self._open()
        self._closing: set[asyncio.Task[None]] = set()

    def _open(self) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(
            self._shown.authority, self._shown.key, self._shown.certificate
        )
        return grpc.aio.secure_channel(self._target, credentials, options=self._options)

    def current(self) -> grpc.aio.Channel:
        """The channel for the next call; what is under way on the one before may end."""
        pems = self._certificates.current()
        if pems is not self._shown:
            closing = asyncio.ensure_future(self._channel.close(LONGEST_CALL_SECONDS))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self._shown = pems
            self._channel = self._open()
        return self._channel

    def unary_unary(self, method: str, *serializers: Any, **more: Any) -> Any:
        made_on: grpc.aio.Channel | None = None
        rpc: Any = None

        def call(*request: Any, **given: Any) -> Any:
            nonlocal made_on, rpc
            if (channel := self.current()) is not made_on:
                made_on, rpc = channel, channel.unary_unary(method, *serializers, **more)
            return rpc(*request, **given)

        return call

    def unary_stream(self, *method: Any, **more: Any) -> Any:
        """For the stub of health, which also has a stream that nobody here asks for."""
        return self._channel.unary_stream(*method, **more)

    async def close(self, grace: float | None = None) -> None:
        await asyncio.gather(self._channel.close(grace), *self._closing)


def service_config(files: Sequence[FileDescriptor]) -> dict[str, Any]:
    """GRPC's service config: calls go in turns to the replicas that say SERVING, and UNAVAILABLE is retried on the RPCs
    that say they have no side effects.
    """
    methods = [
        {"service": service.full_name, "method": method.name}
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
        if is_read_only(method)
    ]
    retry = {
        "maxAttempts": 3,
        "initialBackoff": "0.05s",
        "maxBackoff": "0.5s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        # One that was started again on its old address listens before it has auth's keys: it would refuse good tokens.
        "healthCheckConfig": {"serviceName": ""},
        "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
        "methodConfig": [{"name": methods, "retryPolicy": retry}] if methods else [],
    }


def is_read_only(method: MethodDescriptor) -> bool:
    """Whether the contract says that the RPC has no side effects."""
    return bool(method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS)


def outgoing(channel: grpc.aio.Channel, *, token: TokenSource | None = None) -> grpc.aio.Channel:
    """`channel`, for a generated stub, with calls that carry the current call's deadline, identity, trace and
    correlation id. They are made for the current caller, or for the process itself where `token` gives its own token.
    """
    return cast("grpc.aio.Channel", _Outgoing(channel, token))


class _Outgoing:
    """The part of a channel that generated stubs use: unary calls."""

    def __init__(self, channel: grpc.aio.Channel, token: TokenSource | None) -> None:
        self._channel = channel
        self._token = token

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool = False,
    ) -> "UnaryCall":
        callable_ = self._channel.unary_unary(
            method,
            request_serializer=request_serializer,
            response_deserializer=response_deserializer,
        )
        return UnaryCall(method, callable_, self._token)


class UnaryCall:
    """One RPC of a peer."""

    def __init__(self, rpc: str, multicallable: Any, token: TokenSource | None) -> None:
        self._rpc = rpc
        self._multicallable = multicallable
        self._token = token

    async def __call__(
        self,
        request: Message,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  gRPC's name for it.
    ) -> Any:
        """The reply. Raises the DomainError that the peer reported, or grpc.aio.AioRpcError for a fault of its own.

        `timeout` (seconds) shortens the time that is left of the current call.
        """
        try:
            reply, _ = await self.with_trailers(request, limit=timeout)
        except grpc.aio.AioRpcError as error:
            answer = from_rpc_error(error)
            # Whom the peer refused, where we called for ourselves, is us: a fault, and no answer to our caller.
            ourselves = self._token and isinstance(answer, (Unauthenticated, PermissionDenied))
            if answer is None or ourselves:
                raise
            raise answer from error
        return reply

    async def with_trailers(
        self, request: Message, *, limit: float | None = None
    ) -> tuple[Any, Trailers]:
        """The reply and its trailing metadata, within `limit` seconds; raises grpc.aio.AioRpcError."""
        call = current_call()
        token = (
            await self._token() if self._token else call.principal.token if call.principal else ""
        )
        left = max(0.001, call.remaining() - RESERVE_SECONDS)
        seconds = left if limit is None else min(left, limit)
        if not get_current_span().is_recording():
            return await self._send(request, call, token, seconds)
        with tracer.start_as_current_span(
            self._rpc.removeprefix("/"), kind=SpanKind.CLIENT
        ) as span:
            try:
                return await self._send(request, call, token, seconds)
            except grpc.aio.AioRpcError as error:
                span.set_status(Status(StatusCode.ERROR, error.code().name))
                raise

    async def _send(
        self, request: Message, call: Call, token: str, seconds: float
    ) -> tuple[Any, Trailers]:
        metadata = [("x-correlation-id", call.correlation_id)]
        parent = traceparent()
        if parent:
            metadata.append(("traceparent", parent))
        if token:
            metadata.append(("authorization", f"Bearer {token}"))
        if call.client_address:
            metadata.append(("x-client-address", call.client_address))
        if call.user_agent:
            metadata.append(("x-client-user-agent", call.user_agent))
        if call.idempotency is not None and not self._token:
            metadata.append(("idempotency-key", call.idempotency.key))
        rpc = self._multicallable(request, timeout=seconds, metadata=metadata)
        reply = await rpc
        return reply, tuple(await rpc.trailing_metadata() or ())
