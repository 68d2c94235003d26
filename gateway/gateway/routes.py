"""The contract's routes: one handler per operation, found by the segment table.

A handler does, in this order: limit by address or device, who calls, may she, limit by caller, body, binding, the call,
the answer.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol
from zlib import crc32

import grpc
from google.protobuf import empty_pb2
from google.protobuf.message import Message

from chassis.context import IdempotencyKey
from chassis.errors import Violation
from chassis.grpc_client import Trailers
from gateway import devices
from gateway.auth import Verifier, authenticate, authorize
from gateway.batch import Rpc
from gateway.cache import AnswerCache
from gateway.cookies import CookieRules, Cookies
from gateway.devices import Devices
from gateway.errors import EdgeError, Headers, from_rpc
from gateway.exchange import JSON, NO_STORE, VARY, Answer, App, Exchange, Receive, Scope, Send
from gateway.operation import Operation, is_tagged, is_versioned, unnamed_fields
from gateway.rate_limit import Allowance, Limiter
from gateway.refusals import PARAMETER
from gateway.segments import SegmentTable

READ_SECONDS = 10.0
# A stored answer is shown again only after asking whether it is still the current one.
REVALIDATE = (b"cache-control", b"private, no-cache")
EXISTING = ("propmubi-existing", "true")
REPLAYED = ("idempotency-replayed", "true")

_is_idempotency_key = re.compile(r"[\x21-\x7e]{1,255}").fullmatch


class Bind(Protocol):
    """Reads a request into one message; raises what is wrong with it."""

    def __call__(
        self,
        path: dict[str, str],
        query: bytes,
        body: bytes,
        content_type: str | None,
        if_match: str | None,
    ) -> Message: ...


@dataclass(frozen=True, slots=True)
class Edges:
    """What every handler shares."""

    verifier: Verifier
    limiter: Limiter
    cookies: CookieRules
    devices: Devices
    cache: AnswerCache


class Handler:
    """Serves one operation."""

    def __init__(
        self,
        operation: Operation,
        *,
        rpc: Rpc,
        bind: Bind,
        encode: Callable[[Message], bytes],
        allowance: Allowance,
        edges: Edges,
    ) -> None:
        self.operation = operation
        self._rpc = rpc
        self._bind = bind
        self._encode = encode
        self._allowance = allowance
        self._edges = edges
        self._cookies = Cookies(operation, edges.cookies)
        self._makes_device = devices.are_made_by(operation)
        self._is_post = operation.http_method == "POST"
        self._is_get = operation.http_method == "GET"
        self._versioned, self._tagged = is_versioned(operation), is_tagged(operation)
        self._unnamed = unnamed_fields(operation)
        self._empty = operation.output.DESCRIPTOR.full_name == empty_pb2.Empty.DESCRIPTOR.full_name
        self._cache_control = _cache_control(operation, revalidate=self._tagged and self._is_get)
        self._located_by = [
            name
            for name in PARAMETER.findall(operation.location)
            if name not in operation.path_parameters
        ]
        self._limit_seconds = READ_SECONDS if operation.read_only else None

    async def __call__(self, exchange: Exchange, values: Sequence[str]) -> None:
        operation, call = self.operation, exchange.call
        call.rpc = operation.rpc
        if self._allowance.guarded:
            person = await self._edges.devices.person_of(exchange.header(devices.HEADER))
            await self._limit(exchange, person or call.client_address)
        call.principal = await authenticate(exchange.header(b"authorization"), self._edges.verifier)
        authorize(call.principal, operation.callers)
        if not self._allowance.guarded:
            await self._limit(
                exchange, call.principal.subject if call.principal else call.client_address
            )
        path = dict(zip(operation.path_parameters, values, strict=True))
        await self._reply(exchange, path)

    async def _reply(self, exchange: Exchange, path: dict[str, str]) -> None:
        coding = exchange.header(b"content-encoding")
        has_body = self.operation.body or self.operation.upload
        if has_body and coding and coding.strip().lower() != "identity":
            raise EdgeError(415, "Send the body as it is, without a Content-Encoding.")
        reply, trailers = await self._ask(exchange, path)
        await self._answer(exchange, path, reply, trailers)

    async def _ask(self, exchange: Exchange, path: dict[str, str]) -> tuple[Any, Trailers]:
        """What the service says to the request."""
        operation, call = self.operation, exchange.call
        if self._is_post:
            call.idempotency = idempotency_key(exchange)
        by_cookie = self._cookies.are_asked_for(exchange)
        body = await exchange.body() if operation.body else b""
        content_type = exchange.header(b"content-type")
        if by_cookie:
            content_type = content_type if body else "application/json"
            body = self._cookies.put_in(body, exchange)
        request = self._bind(path, exchange.query, body, content_type, exchange.header(b"if-match"))
        reply, trailers = await self._call(request)
        if by_cookie:
            exchange.base.extend(self._cookies.take_out(reply))
        if self._makes_device:
            token = exchange.header(devices.HEADER)
            exchange.base.extend(await self._edges.devices.remember(token, reply.user.id))
        return reply, trailers

    async def _call(self, request: Message) -> tuple[Any, Trailers]:
        try:
            return await self._rpc.with_trailers(request, limit=self._limit_seconds)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, self._unnamed) from error

    async def _limit(self, exchange: Exchange, caller: str) -> None:
        exchange.base.extend(await self._edges.limiter.admit(self._allowance, caller))

    async def _answer(
        self, exchange: Exchange, path: dict[str, str], reply: Message, trailers: Trailers
    ) -> None:
        replayed: Headers = ((b"idempotency-replayed", b"true"),) if REPLAYED in trailers else ()
        if self._empty:
            await exchange.answer(204, (NO_STORE, VARY, *replayed))
            return
        status = self.operation.success_status
        located: Headers = ()
        if status == 201:
            if EXISTING in trailers:
                status = 200
            else:
                named = {name: getattr(reply, name) for name in self._located_by}
                location = self.operation.location.format(**path, **named)
                located = ((b"location", location.encode()),)
        await self._show(exchange, self._written(reply), status, (*located, *replayed))

    def _written(self, reply: Message) -> Answer:
        body = self._encode(reply)
        if self._versioned:
            # Two callers may see different fields of one version, so the tag covers the bytes too.
            return Answer(body, b'"%d-%08x"' % (reply.version, crc32(body)))  # type: ignore[attr-defined]
        if self._tagged:
            return Answer(body, b'"%b"' % blake2b(body, digest_size=16).hexdigest().encode())
        return Answer(body, None)

    async def _show(
        self, exchange: Exchange, answer: Answer, status: int = 200, more: Headers = ()
    ) -> None:
        tagged: Headers = () if answer.tag is None else ((b"etag", answer.tag),)
        asked = exchange.headers.get(b"if-none-match") if self._is_get else None
        if answer.tag and _matches(asked, answer.tag):
            # It has no content to describe.
            await exchange.answer(304, (self._cache_control, VARY, *tagged))
            return
        length = (b"content-length", b"%d" % len(answer.body))
        headers = (JSON, self._cache_control, VARY, length, *tagged, *more)
        await exchange.answer(status, headers, answer.body)


class ContractRoutes:
    """The ASGI application of the contract; paths that it does not know go to `otherwise`."""

    def __init__(self, handlers: Sequence[Handler], otherwise: App) -> None:
        self._table: SegmentTable[Handler] = SegmentTable()
        self._otherwise = otherwise
        for handler in handlers:
            method, path = handler.operation.http_method, handler.operation.path
            self._table.add(method, path, handler)
            if method == "GET":
                self._table.add("HEAD", path, handler)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._otherwise(scope, receive, send)
            return
        exchange: Exchange = scope["exchange"]
        found = self._table.find(exchange.raw_path)
        if found is None:
            await self._otherwise(scope, receive, send)
            return
        methods, values = found
        exchange.route = next(iter(methods.values())).operation.path
        handler = methods.get(exchange.method)
        if handler is None:
            allowed = ", ".join(sorted(methods)).encode()
            raise EdgeError(405, headers=((b"allow", allowed),))
        await handler(exchange, values)


def _cache_control(operation: Operation, *, revalidate: bool) -> tuple[bytes, bytes]:
    policy = operation.cache
    if policy is not None and policy.max_age:
        scope = "public" if policy.public else "private"
        return b"cache-control", f"{scope}, max-age={policy.max_age}".encode()
    return REVALIDATE if revalidate else NO_STORE


def idempotency_key(exchange: Exchange) -> IdempotencyKey | None:
    key = exchange.header(b"idempotency-key")
    if key is None:
        return None
    if not _is_idempotency_key(key):
        fault = Violation("Idempotency-Key", "must be 1 to 255 visible ASCII characters")
        raise EdgeError(422, violations=[fault])
    # The service that keeps it hashes the request that it came with.
    return IdempotencyKey(key, b"")


def _matches(if_none_match: bytes | None, tag: bytes) -> bool:
    """Whether an If-None-Match names this tag, by the weak comparison of RFC 9110."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == b"*" or tag in (
        candidate.strip().removeprefix(b"W/") for candidate in if_none_match.split(b",")
    )
