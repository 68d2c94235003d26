"""uvicorn's HTTP protocol, with the limits and the envelope that it leaves to a proxy in front.

A request's head must be whole within ARRIVAL_SECONDS of its first byte, and a connection must bring a first byte within
as long; a head that goes on and on is cut off; what is no HTTP at all gets our envelope too.
"""

import asyncio
import uuid
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.errors import EdgeError
from gateway.exchange import ARRIVAL_SECONDS, LINGER_SECONDS
from gateway.middleware import HEAD_BYTES


class _JoiningTransport:
    """A transport that writes what was written in one turn of the event loop by one system call.

    uvicorn writes the head and the body of an answer apart; the call to the kernel is the dearest part of both.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def write_eof(self) -> None:
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts:
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))


class EdgeProtocol(HttpToolsProtocol):
    """One connection. Heads that come in one piece, which is nearly all, cost nothing here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._arrival: asyncio.TimerHandle | None = None
        self._in_head = False
        self._head_bytes = 0
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_JoiningTransport(transport, self.loop))  # type: ignore[arg-type]
        self._arrival = self.loop.call_later(ARRIVAL_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        was_in_head = self._in_head
        super().data_received(data)
        if not self._in_head:
            if self._arrival is not None and not self._refused:
                self._disarm()
            return
        # The piece in which a head began may hold the body before it, so only those after it are counted.
        self._head_bytes = self._head_bytes + len(data) if was_in_head else 0
        if self._head_bytes > HEAD_BYTES:
            self._refuse(EdgeError(431))
        elif self._arrival is None:
            self._arrival = self.loop.call_later(ARRIVAL_SECONDS, self._too_slow)

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_head = False

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  Says the same each time.
        # An address beyond 64 KiB can't be taken apart, and gets here before its size is looked at.
        self._refuse(EdgeError(431 if self._in_head and len(self.url) > HEAD_BYTES else 400))

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: who offers another protocol is answered by HTTP, and uvicorn would tell us to install it."""

    def _too_slow(self) -> None:
        self._arrival = None
        if self._in_head:
            self._refuse(EdgeError(408))
        else:
            self.transport.close()

    def _refuse(self, error: EdgeError) -> None:
        """Answer outside of any request, and hang up."""
        self._in_head = False
        if self._refused or self.transport.is_closing():
            return
        self._disarm()
        correlation_id = str(uuid.uuid4())
        body = error.envelope(correlation_id=correlation_id, path="")
        self.logger.warning("refused a connection: %s %s", error.status, error.code)
        self.transport.write(
            STATUS_LINE[error.status]
            + b"content-type: application/json\r\ncache-control: no-store\r\nconnection: close\r\n"
            + b"x-correlation-id: %b\r\n" % correlation_id.encode()
            + b"content-length: %d\r\n\r\n" % len(body)
            + body
        )
        if self.transport.can_write_eof():
            # What is still on its way is read and thrown away: closing on it would reset the connection,
            # and the answer with it.
            self._refused = True
            self.transport.write_eof()
            self._arrival = self.loop.call_later(LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()

    def _disarm(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None
