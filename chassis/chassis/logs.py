"""JSON logs on standard output, one line each: what happened, when, in which request and trace, for whom.

Lines are buffered for a fifth of a second, because a system call for each costs more than the line; warnings and
worse are written at once, with what was waiting before them.
"""

import asyncio
import atexit
import contextlib
import json
import logging
import re
import sys
import uuid
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Any

import orjson
import structlog
from opentelemetry import trace

from chassis.context import current_call_or_none
from chassis.settings import Settings

FLUSH_SECONDS = 0.2
# Keys whose values are never written, whatever they hold: the names of all sensitive fields, and some more.
SENSITIVE = frozenset(
    [
        "authorization",
        "access_token",
        "refresh_token",
        "service_secret",
        "password",
        "current_password",
        "code",
        "otp",
        "token",
        "former_phones",
        "phone",
        "secret",
        "member_mobile_phone",
        "email",
        "full_name",
        "client_address",
        "ip",
        "database_url",
        "redis_url",
    ]
)
# Ids of requests, as their own lines have them: to look sixty-four over for phones costs as much as two requests.
UNMASKED = frozenset(["correlation_ids"])
# Phones anywhere in a text, as people and addresses write them: what follows a plus, ten digits and more in one, and
# Indian mobile numbers with blanks or dashes between the digits. Of ids, times and decimals none is like that.
_GAP = r"(?:[ \xa0-]|%20)?"
_PHONE = re.compile(
    r"(?:\+|%2B)\d(?:(?:[ \xa0().-]|%20){0,3}\d){7,14}(?!\d)"
    r"|(?:(?<![\w.-])|(?<=\\[nrt]))"
    rf"(?:\d{{10,13}}|(?:(?:00|0)?91{_GAP}|0{_GAP})?[6-9]\d(?:{_GAP}\d){{8}})(?![\w-]|\.\d)"
)
_NOT_DIGITS = re.compile(r"%20|\D")
# Tokens, and the password in an address of a server.
_SECRET = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*|(?<=://)[^\s:/@]*:[^\s/@]+(?=@)")

# Nearly no text holds one, and this look costs a third of the other.
_may_be_phone = re.compile(r"\d(?:[ \xa0().%-]{0,2}\d){7}").search

Line = MutableMapping[str, Any]
# Values that hold no text. A tuple made once: a union would be made anew for each value.
_PLAIN = (int, float, bool, type(None))


def mask(text: str) -> str:
    """`text` with every phone number cut down to its last four digits, and without tokens and passwords."""
    if _may_be_phone(text):
        text = _PHONE.sub(_cut_down, text)
    if "eyJ" in text or "://" in text:
        text = _SECRET.sub("***", text)
    return text


def _cut_down(phone: re.Match[str]) -> str:
    """+91 98765 43210 → +91******3210."""
    written = phone[0].replace("%2B", "+")
    digits = _NOT_DIGITS.sub("", written)
    return f"{'+' if written[0] == '+' else ''}{digits[:-10]}******{digits[-4:]}"


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, dict):
        return {
            str(key): "***" if key in SENSITIVE else _masked(item) for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(item) for item in value]
    return mask(str(value) if isinstance(value, uuid.UUID | datetime | date) else repr(value))


def _mask_line(_logger: Any, _method: str, line: Line) -> Line:
    for key, value in line.items():
        if key in SENSITIVE:
            line[key] = "***"
        elif not isinstance(value, _PLAIN) and key not in UNMASKED:
            line[key] = _masked(value)
    return line


def _add_context(_logger: Any, _method: str, line: Line) -> Line:
    line["timestamp"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    call = current_call_or_none()
    if call is not None:
        line.setdefault("correlation_id", call.correlation_id)
        if call.principal is not None:
            line.setdefault("user_id", call.principal.subject)
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        line["trace_id"] = format(span.trace_id, "032x")
    return line


class _Output:
    """Where lines go: a buffer, and standard output when it is flushed."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self._lines.append(line)

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            with contextlib.suppress(
                BrokenPipeError
            ):  # Whoever read our logs is gone; serving goes on.
                sys.stdout.buffer.write(b"\n".join(lines) + b"\n")
                sys.stdout.buffer.flush()


_output = _Output()


class _Logger:
    """The end of structlog's chain."""

    def debug(self, line: bytes) -> None:
        _output.write(line)

    info = debug

    def warning(self, line: bytes) -> None:
        _output.write(line)
        _output.flush()

    warn = error = critical = exception = fatal = warning


def _to_json(value: Any, default: Any) -> bytes:
    try:
        return orjson.dumps(value, default=default)
    except TypeError:
        # A number of more than 64 bits, or text that is no Unicode: a line must never fail what it tells of.
        text = json.dumps(value, default=default, ensure_ascii=False)
        return text.encode(errors="replace")


class _StandardHandler(logging.Handler):
    """Takes what libraries log by the standard module into the same stream."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        level = max(record.levelno // 10 * 10, logging.DEBUG)
        log.log(level, record.getMessage(), logger=record.name, exc_info=record.exc_info or None)


def configure(settings: Settings, service: str) -> None:
    """Set up logging for the process `service`."""
    level = logging.getLevelNamesMapping()[settings.level]
    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        processors=[
            structlog.processors.format_exc_info,
            _mask_line,
            # What is added after the masking is ours, and holds nothing to mask.
            structlog.processors.add_log_level,
            lambda _logger, _method, line: {"service": service, **line},
            _add_context,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ],
        logger_factory=lambda *_: _Logger(),
    )
    # Libraries have no business below warnings, except where a developer asks for all.
    logging.basicConfig(handlers=[_StandardHandler()], level=max(level, logging.INFO), force=True)
    for chatty in ("aiohttp", "alembic", "asyncio", "grpc", "httpx", "twilio", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    atexit.register(_output.flush)


@asynccontextmanager
async def flushing() -> AsyncIterator[None]:
    """Write buffered lines out for as long as the context lasts."""

    async def flush() -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            _output.flush()

    task = asyncio.create_task(flush())
    try:
        yield
    finally:
        task.cancel()
        _output.flush()
