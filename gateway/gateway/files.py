"""Bodies and answers that are files: they come and go in pieces, so that neither is ever held whole.

The contract says which (`propmubi.options.v1.upload` and `download`). Between the processes all calls stay unary: a
piece of an upload is one call, which may be repeated; a download pages a List RPC.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Final

import grpc
import orjson
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from chassis.grpc_client import Trailers
from chassis.rules import is_map, is_nested, message_of
from gateway.codec import encoder, to_dict
from gateway.errors import EdgeError, from_rpc
from gateway.exchange import NO_STORE, VARY, Exchange
from gateway.routes import Handler, idempotency_key
from propmubi.options.v1.options_pb2 import Upload

PIECE_BYTES: Final = 512 << 10
# A sender who pauses longer has gone away.
PAUSE_SECONDS: Final = 10.0
PIECE_SECONDS: Final = 20.0
# A service that restarts is back by then; it takes a piece that it has already for the same one.
AGAIN_AFTER_SECONDS: Final = (0.2, 1.0, 3.0, 6.0)
DOWNLOAD_SECONDS: Final = 600.0
PAGE_SIZE: Final = 100
CSV: Final = "text/csv"
JSON_LINES: Final = "application/jsonl"
# What a cell is put in quotes for.
QUOTED: Final = ('"', ",", "\r", "\n")
# What spreadsheets take for the beginning of a formula.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class UploadHandler(Handler):
    """Serves an operation whose body is a file."""

    async def _ask(self, exchange: Exchange, path: dict[str, str]) -> tuple[Any, Trailers]:
        upload = self.operation.upload
        assert upload is not None
        exchange.allow(upload.max_seconds)
        content_type = (exchange.header(b"content-type") or "").partition(";")[0].strip().lower()
        if content_type not in upload.content_types:
            raise EdgeError(415, f"The body must be one of: {', '.join(upload.content_types)}.")
        # It has nothing but a body: whatever else was sent is refused here.
        self._bind(path, exchange.query, b"", None, None)
        upload_id = _upload_id(exchange, self.operation.rpc)
        exchange.half_read = True
        number = 0
        answer: tuple[Any, Trailers] | None = None
        async for content, last in _pieces(exchange, upload):
            request = self.operation.input(
                upload_id=upload_id,
                number=number,
                content=content,
                last=last,
                content_type=content_type,
            )
            answer = await self._hand_on(request)
            number += 1
        exchange.half_read = False
        assert answer is not None  # There is always a last piece, be it empty.
        return answer

    async def _hand_on(self, request: Message) -> tuple[Any, Trailers]:
        for pause in (*AGAIN_AFTER_SECONDS, None):
            try:
                return await self._rpc.with_trailers(request, limit=PIECE_SECONDS)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or pause is None:
                    raise from_rpc(error) from error
                await asyncio.sleep(pause)
        raise AssertionError("the last attempt answers or raises")


class DownloadHandler(Handler):
    """Serves an operation whose answer is a file. Its first page is there before the answer begins, so that what is
    refused is refused in the envelope; a page that fails later cuts the answer off, which its end tells the reader.
    """

    async def _reply(self, exchange: Exchange, path: dict[str, str]) -> None:
        exchange.allow(DOWNLOAD_SECONDS)
        request: Any = self._bind(path, exchange.query, b"", None, None)
        request.page_size = PAGE_SIZE
        reply, _ = await self._call(request)
        await self._send(exchange, request, reply)

    async def _send(self, exchange: Exchange, request: Any, reply: Any) -> None:
        download = self.operation.download
        assert download is not None
        lines = JSON_LINES in (exchange.header(b"accept") or "")
        [listed] = (field for field in self.operation.method.output_type.fields if is_nested(field))
        line_of = (json_lines if lines else csv_rows)(message_of(listed))
        kind, extension = (JSON_LINES, "jsonl") if lines else (f"{CSV}; charset=utf-8", "csv")
        named = f'attachment; filename="{download.file_name}.{extension}"'
        headers = (
            (b"content-type", kind.encode()),
            (b"content-disposition", named.encode()),
            NO_STORE,
            (b"vary", VARY[1] + b", Accept"),
        )
        await exchange.begin(200, headers)
        await exchange.go_on(line_of(None), more=True)
        while True:
            items = getattr(reply, listed.name)
            await exchange.go_on(b"".join(map(line_of, items)), more=bool(reply.next_page_token))
            if not reply.next_page_token:
                return
            request.page_token = reply.next_page_token
            reply, _ = await self._call(request)


def _upload_id(exchange: Exchange, rpc: str) -> str:
    """The same for all that one caller sends under one Idempotency-Key."""
    key, caller = idempotency_key(exchange), exchange.call.principal
    if key is None:
        return str(uuid.uuid4())
    who = caller.subject if caller else exchange.call.client_address
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{rpc} {who} {key.key}"))


async def _pieces(exchange: Exchange, upload: Upload) -> AsyncIterator[tuple[bytes, bool]]:
    """The body in pieces, and whether each is the last; raises EdgeError when it is too large, too slow or cut off."""
    held, size, more = bytearray(), 0, True
    while more:
        try:
            async with asyncio.timeout(PAUSE_SECONDS):
                event = await exchange.receive()
        except TimeoutError as error:
            raise EdgeError(408) from error
        if event["type"] == "http.disconnect":
            raise EdgeError(499)
        body, more = event.get("body", b""), event.get("more_body", False)
        size += len(body)
        if size > upload.max_bytes:
            raise EdgeError(413)
        held += body
        while len(held) > PIECE_BYTES:
            yield bytes(held[:PIECE_BYTES]), False
            del held[:PIECE_BYTES]
    yield bytes(held), True


LineOf = Callable[[Message | None], bytes]
"""Writes an item; of None, what comes before the first."""


def json_lines(message: Descriptor) -> LineOf:
    encode = encoder(message)
    return lambda item: b"" if item is None else encode(item) + b"\n"


def csv_rows(message: Descriptor) -> LineOf:
    """Rows of messages of this type: a column for each field, those of a message within as `address.city`, lists of
    plain values with semicolons between, other lists as JSON.
    """
    columns, plain = list(_columns(message)), to_dict(message)

    def row(item: Message | None) -> bytes:
        if item is None:
            return _line(".".join(column) for column in columns)
        values = plain(item)
        return _line(_cell(_found(values, column)) for column in columns)

    return row


def _columns(message: Descriptor, *before: str) -> Iterator[tuple[str, ...]]:
    for field in message.fields:
        if is_nested(field) and not field.is_repeated and not is_map(field):
            yield from _columns(message_of(field), *before, field.name)
        else:
            yield *before, field.name


def _found(item: Any, column: tuple[str, ...]) -> Any:
    for part in column:
        item = (item or {}).get(part)
    return item


def _line(cells: Iterable[str]) -> bytes:
    """As `csv.writer` has it, which looks at each character of a description, at ten times the cost of all else."""
    quoted = (
        '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in QUOTED) else cell
        for cell in cells
    )
    return (",".join(quoted) + "\r\n").encode()


def _cell(value: Any) -> str:
    """`value` as spreadsheets are to show it: text that they would run begins with an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        value = ";".join(map(str, value))
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    if isinstance(value, bool | int | float):
        return str(value).lower()
    return orjson.dumps(value, option=orjson.OPT_UTC_Z).decode().strip('"')
