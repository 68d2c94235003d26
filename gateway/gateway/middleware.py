"""What holds for every request, whatever its route: one pure ASGI class around the application.

Correlation id, trace, client address, limits of size and time, CORS, the error envelope, the access log, metrics.
"""

import asyncio
import random
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)
from prometheus_client import Histogram

from chassis.context import Call, enter
from chassis.errors import DomainError
from chassis.metrics import SECONDS
from chassis.tracing import parent_of, tracer
from gateway.client_address import client_address
from gateway.cors import Cors, is_preflight
from gateway.errors import EdgeError, from_domain
from gateway.exchange import (
    ANSWER_SECONDS,
    BODY_BYTES,
    RESERVE_SECONDS,
    App,
    Exchange,
    Receive,
    Scope,
    Send,
)

HEAD_BYTES = 16 << 10
UNMATCHED = "unmatched"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Asked for every few seconds by machines; they are counted, and not logged.
QUIET = frozenset({"/healthz", "/readyz"})

HTTP_SECONDS = Histogram(
    "propmubi_http_seconds",
    "Time to answer an HTTP request, by its route.",
    ["method", "route", "status"],
    buckets=SECONDS,
)

log = structlog.get_logger()
_is_correlation_id = re.compile(rb"[A-Za-z0-9-]{8,64}").fullmatch


@dataclass(frozen=True, slots=True)
class EdgeRules:
    """What the operator decides for every request."""

    cors: Cors
    trusted_proxies: int = 0
    trace_sample_ratio: float = 0.01
    # Greatest sizes of the bodies that are files, by path.
    uploads: Mapping[bytes, int] = field(default_factory=dict)


class Edge:
    """The outermost ASGI application."""

    def __init__(self, app: App, rules: EdgeRules) -> None:
        self._app = app
        self._cors = rules.cors
        self._uploads = rules.uploads
        self._trusted_proxies = rules.trusted_proxies
        self._sample_ratio = rules.trace_sample_ratio
        self._observers: dict[tuple[str, str, int], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = self._begin(scope, receive, send)
        scope["exchange"] = exchange
        span = self._start_span(exchange)
        try:
            async with exchange.limit:
                await self._serve(scope, exchange)
        except TimeoutError:
            # Those of parts were met within: here the time for the whole answer is over.
            await self._refuse(exchange, EdgeError(504))
        finally:
            if span is not None:
                self._end_span(span, exchange)
            self._account(exchange)

    def _begin(self, scope: Scope, receive: Receive, send: Send) -> Exchange:
        headers = dict(scope["headers"])
        given = headers.get(b"x-correlation-id", b"")
        started = asyncio.get_running_loop().time()
        call = Call(
            rpc="",
            correlation_id=given.decode() if _is_correlation_id(given) else str(uuid.uuid4()),
            deadline=started + ANSWER_SECONDS - RESERVE_SECONDS,
            client_address=client_address(scope, self._trusted_proxies),
            user_agent=_printable(headers.get(b"user-agent", b"")),
        )
        enter(call)
        exchange = Exchange(scope, headers, call, started, receive=receive, send=send)
        exchange.base.extend(self._cors.answer(headers))
        return exchange

    async def _serve(self, scope: Scope, exchange: Exchange) -> None:
        try:
            if is_preflight(exchange.method, exchange.headers):
                exchange.route = "preflight"
                await self._answer_preflight(exchange)
                return
            self._check_size(scope, exchange)
            await self._app(scope, exchange.receive, exchange.send_page)
        except EdgeError as error:
            await self._refuse(exchange, error)
        except DomainError as error:
            await self._refuse(exchange, from_domain(error))
        except Exception:
            # The last line of defence: logged whole, told as nothing.
            log.exception("unhandled error", route=exchange.route)
            await self._refuse(exchange, EdgeError(500))

    async def _refuse(self, exchange: Exchange, error: EdgeError) -> None:
        exchange.failure = error.code
        if not exchange.answered:
            await exchange.refuse(error)

    async def _answer_preflight(self, exchange: Exchange) -> None:
        exchange.base = exchange.base[:1]
        await exchange.answer(
            204,
            (
                *self._cors.preflight(exchange.headers),
                (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
            ),
        )

    def _check_size(self, scope: Scope, exchange: Exchange) -> None:
        size = len(exchange.raw_path) + len(exchange.query)
        for name, value in scope["headers"]:
            size += len(name) + len(value)
        if size > HEAD_BYTES:
            raise EdgeError(431)
        declared = exchange.headers.get(b"content-length")
        if declared is not None and int(declared) > self._uploads.get(
            exchange.raw_path, BODY_BYTES
        ):
            raise EdgeError(413)

    def _start_span(self, exchange: Exchange) -> trace.Span | None:
        """Start the request's span and make it current; None when nobody would see it end.

        A valid traceparent is continued, but whether this request is sampled is drawn here: a stranger's flag, or a
        trace id chosen to fall among the sampled ones, would otherwise make us record as much as they like.
        """
        given = exchange.headers.get(b"traceparent")
        parent = Context() if given is None else self._redrawn(parent_of(given.decode("latin-1")))
        span = tracer.start_span(exchange.method, parent, SpanKind.SERVER)
        context.attach(trace.set_span_in_context(span, Context()))
        return span if span.is_recording() else None

    def _redrawn(self, parent: Context) -> Context:
        remote = trace.get_current_span(parent).get_span_context()
        if not remote.is_valid:
            return Context()
        sampled = random.random() < self._sample_ratio  # noqa: S311  Statistics, not secrets.
        flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
        drawn = SpanContext(remote.trace_id, remote.span_id, is_remote=True, trace_flags=flags)
        return trace.set_span_in_context(NonRecordingSpan(drawn), Context())

    def _end_span(self, span: trace.Span, exchange: Exchange) -> None:
        route = exchange.route or UNMATCHED
        span.update_name(f"{exchange.method} {route}")
        span.set_attributes(
            {
                "http.request.method": exchange.method,
                "http.route": route,
                "http.response.status_code": exchange.status,
                "propmubi.correlation_id": exchange.call.correlation_id,
            }
        )
        if exchange.status >= 500:
            span.set_status(Status(StatusCode.ERROR, exchange.failure))
        span.end()

    def _account(self, exchange: Exchange) -> None:
        seconds = asyncio.get_running_loop().time() - exchange.started
        method = exchange.method if exchange.method in METHODS else "OTHER"
        key = (method, exchange.route or UNMATCHED, exchange.status)
        observer = self._observers.get(key)
        if observer is None:
            observer = self._observers[key] = HTTP_SECONDS.labels(*key)
        observer.observe(seconds)
        if exchange.route in QUIET:
            return
        write = log.info if exchange.status < 500 else log.warning
        line = {
            "method": exchange.method,
            "path": exchange.path,
            "route": key[1],
            "status": exchange.status,
            "duration_ms": round(seconds * 1000, 2),
        }
        if exchange.failure:
            line["reason"] = exchange.failure
        write("request", **line)


def _printable(user_agent: bytes) -> str:
    """What gRPC metadata can carry of a User-Agent."""
    text = user_agent[:256].decode("ascii", "replace")
    return text if text.isprintable() and text.isascii() else ascii(text)[1:-1]
