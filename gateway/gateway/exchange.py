"""One HTTP request and its answer, as everything behind the middleware sees them."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from chassis.context import Call
from gateway.errors import EdgeError, Headers

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_BYTES = 1 << 20
ARRIVAL_SECONDS = 10.0
ANSWER_SECONDS = 30.0
# Kept from the services' time, to say in our own words that theirs is over.
RESERVE_SECONDS = 0.5
# How long the rest of a refused body is read and thrown away, so that its sender sees the answer and not a reset.
LINGER_SECONDS = 1.0

# Nothing but JSON comes from the contract's routes: no page may run, frame or sniff it.
SECURITY: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
JSON = (b"content-type", b"application/json")
NO_STORE = (b"cache-control", b"no-store")
VARY = (b"vary", b"Authorization, Origin")


@dataclass(frozen=True, slots=True)
class Answer:
    """A body of JSON, and its tag if it has one."""

    body: bytes
    tag: bytes | None


class Exchange:
    """A request, and how it was answered. `base` are the headers of any answer to it."""

    __slots__ = (
        "answered",
        "base",
        "call",
        "failure",
        "half_read",
        "headers",
        "limit",
        "method",
        "path",
        "query",
        "raw_path",
        "receive",
        "route",
        "send",
        "started",
        "status",
    )

    def __init__(
        self,
        scope: Scope,
        headers: dict[bytes, bytes],
        call: Call,
        started: float,
        *,
        receive: Receive,
        send: Send,
    ) -> None:
        self.limit = asyncio.timeout_at(started + ANSWER_SECONDS)
        self.headers = headers
        self.call = call
        self.started = started
        self.receive = receive
        self.send = send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.raw_path: bytes = scope["raw_path"]
        self.query: bytes = scope["query_string"]
        self.base: list[tuple[bytes, bytes]] = [(b"x-correlation-id", call.correlation_id.encode())]
        self.route = ""
        self.status = 0
        self.failure = ""
        self.answered = False
        # Whether a part of the body is still to come that nobody will read.
        self.half_read = False

    def header(self, name: bytes) -> str | None:
        """A header's value; bytes beyond ASCII come as Latin-1, as HTTP has it."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def allow(self, seconds: float) -> None:
        """Let the answer take longer than others may, in seconds since the request began."""
        self.limit.reschedule(self.started + seconds)
        self.call.deadline = self.started + seconds - RESERVE_SECONDS

    async def body(self) -> bytes:
        """The whole body; raises EdgeError when it is too large, too slow or cut off."""
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout_at(self.started + ARRIVAL_SECONDS):
                while True:
                    event = await self.receive()
                    if event["type"] == "http.disconnect":
                        raise EdgeError(499)
                    chunks.append(event.get("body", b""))
                    size += len(chunks[-1])
                    if size > BODY_BYTES:
                        raise EdgeError(413)
                    if not event.get("more_body", False):
                        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        except TimeoutError as error:
            raise EdgeError(408) from error

    async def answer(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Answer with these headers and those of every answer."""
        await self.begin(status, headers)
        await self.go_on(body, more=False)

    async def begin(self, status: int, headers: Headers) -> None:
        """Begin an answer whose body follows by `go_on`, piece by piece."""
        self.status, self.answered = status, True
        await self.send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*headers, *SECURITY, *self.base],
            }
        )

    async def go_on(self, piece: bytes, *, more: bool) -> None:
        await self.send({"type": "http.response.body", "body": piece, "more_body": more})

    async def refuse(self, error: EdgeError) -> None:
        """Answer with the envelope of `error`."""
        self.status, self.answered, self.failure = error.status, True, error.code
        body = error.envelope(correlation_id=self.call.correlation_id, path=self.path)
        headers = [
            JSON,
            NO_STORE,
            VARY,
            (b"content-length", str(len(body)).encode()),
            *error.headers,
            *SECURITY,
            *self.base,
        ]
        unread = error.status in (408, 413) or self.half_read
        if unread:
            headers.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": unread})
        if unread:
            await self._linger()
            await self.send({"type": "http.response.body", "body": b""})

    async def _linger(self) -> None:
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while (await self.receive()).get("more_body", False):
                    pass
        except TimeoutError:
            return  # It keeps sending; the connection closes now, whatever it has seen.

    async def send_page(self, event: Event) -> None:
        """The ASGI `send` of what FastAPI itself serves."""
        if event["type"] == "http.response.start":
            self.status, self.answered = event["status"], True
            headers = event["headers"]
            if not any(name == b"cache-control" for name, _ in headers):
                headers = [NO_STORE, *headers]
            # A page of documentation runs scripts, so it has no content-security-policy of ours.
            event = {**event, "headers": [*headers, *SECURITY[:2], *self.base]}
        await self.send(event)
