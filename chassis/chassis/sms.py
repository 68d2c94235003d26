"""Text messages behind one small interface: appended to a file in development, sent by Twilio elsewhere.

No body and no full phone number is ever logged: bodies carry one-time passwords.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import aiohttp
import orjson
import structlog
from pydantic import Field, SecretStr, ValidationInfo, field_validator
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.rest import Client

from chassis import metrics
from chassis.errors import Unavailable
from chassis.settings import PLACEHOLDER, ServiceSettings

# What a text message is made of, by GSM 03.38, and those of its characters that count twice. Any other character makes
# all of them count as sixteen bits.
GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_TWICE = frozenset("\f^{}\\[~]|€")

log = structlog.get_logger()


class SmsSettings(ServiceSettings):
    """What a service that sends text messages is told besides."""

    sms_provider: Literal["file", "twilio"] = "twilio"
    sms_outbox_file: Path = Path("var/sms-outbox.jsonl")
    # Ours, because the Twilio client never applies its own: a stalled provider may hold a sender no longer than this.
    sms_timeout_seconds: float = Field(default=10.0, gt=0, le=60)
    twilio_account_sid: str = Field(default="", validate_default=True)
    twilio_auth_token: SecretStr = Field(default=SecretStr(""), validate_default=True)
    twilio_from: str = Field(default="", validate_default=True)
    twilio_base_url: str = "https://api.twilio.com"

    @field_validator("sms_provider")
    @classmethod
    def _check_provider(cls, value: str, info: ValidationInfo) -> str:
        if value == "file" and info.data.get("environment") == "production":
            raise ValueError("file sends nothing and keeps passwords in clear: use twilio")
        return value

    @field_validator("twilio_account_sid", "twilio_auth_token", "twilio_from")
    @classmethod
    def _check_twilio(cls, value: str | SecretStr, info: ValidationInfo) -> str | SecretStr:
        if info.data.get("sms_provider") == "twilio":
            clear = value.get_secret_value() if isinstance(value, SecretStr) else value
            if not clear:
                raise ValueError("is not set, and SMS_PROVIDER is twilio")
            if PLACEHOLDER in clear:
                raise ValueError("is the placeholder of .env.example")
        return value


# Twilio has no idempotency key, and a second SMS is worse than none. So a message is sent again only where it certainly
# was not (failed): not where the provider will never take it (rejected), nor where it may have taken it (unknown, and
# timeout, where it said nothing in time).
Outcome = Literal["sent", "rejected", "failed", "unknown", "timeout"]
# Before each repetition, in seconds.
PAUSES = (0.5, 1.5)


class SmsNotSent(Unavailable):
    """The provider did not say that it took a message."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__("The message can't be sent just now.")
        self.outcome: Outcome = outcome

    @property
    def may_be_repeated(self) -> bool:
        """Whether nobody gets the message twice who is sent it again."""
        return self.outcome == "failed"


class SmsProvider(Protocol):
    """Sends text messages."""

    async def send(self, to: str, body: str) -> None:
        """Send `body` to `to` (E.164), at most once; raises SmsNotSent."""


@asynccontextmanager
async def open_sms(settings: SmsSettings) -> AsyncIterator[SmsProvider]:
    """The provider that the settings name."""
    if settings.sms_provider == "file":
        yield _Watched(_File(settings.sms_outbox_file), "file", settings.sms_timeout_seconds)
        return
    http = _TwilioHttp(settings.twilio_base_url)
    try:
        yield _Watched(_Twilio(settings, http), "twilio", settings.sms_timeout_seconds)
    finally:
        await http.close()


def segments(body: str) -> int:
    """How many parts `body` is sent and paid as."""
    if GSM.union(GSM_TWICE).issuperset(body):
        length = len(body) + sum(character in GSM_TWICE for character in body)
        whole, part = 160, 153
    else:
        length = len(body.encode("utf-16-le")) // 2
        whole, part = 70, 67
    return 1 if length <= whole else -(-length // part)


class _Watched:
    """A provider whose every message ends in time, repeated where that is safe, and counted by its outcome."""

    def __init__(self, provider: SmsProvider, name: str, seconds: float) -> None:
        self._provider = provider
        self._name = name
        self._seconds = seconds

    async def send(self, to: str, body: str) -> None:
        outcome: Outcome = "failed"
        try:
            await self._repeat(to, body)
            outcome = "sent"
            metrics.SMS_SEGMENTS.labels(self._name).inc(segments(body))
        except SmsNotSent as error:
            outcome = error.outcome
            raise
        finally:
            metrics.SMS.labels(self._name, outcome).inc()
            if outcome != "sent":
                log.warning(
                    "sms not sent", provider=self._name, outcome=outcome, last_digits=to[-4:]
                )

    async def _repeat(self, to: str, body: str) -> None:
        pauses = iter(PAUSES)
        while True:
            try:
                return await self._try(to, body)
            except SmsNotSent as error:
                pause = next(pauses, None)
                if pause is None or not error.may_be_repeated:
                    raise
            metrics.SMS_REPEATED.labels(self._name).inc()
            # Spread, so that those who failed together don't come back together.
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  No secret.

    async def _try(self, to: str, body: str) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await self._provider.send(to, body)
        except TimeoutError as error:
            raise SmsNotSent("timeout") from error


class _File:
    """For development: one JSON line for each message."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def send(self, to: str, body: str) -> None:
        line = orjson.dumps({"to": to, "body": body, "at": datetime.now(UTC).isoformat()}) + b"\n"
        try:
            # One write to the end, so that several processes can share the file without mixing lines.
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(file, line)
            finally:
                os.close(file)
        except OSError as error:
            raise SmsNotSent("failed") from error


class _Twilio:
    """Twilio's Messages API."""

    def __init__(self, settings: SmsSettings, http: "_TwilioHttp") -> None:
        self._client = Client(
            settings.twilio_account_sid,
            settings.twilio_auth_token.get_secret_value(),
            http_client=http,
        )
        self._from = settings.twilio_from

    async def send(self, to: str, body: str) -> None:
        try:
            await self._client.messages.create_async(to=to, from_=self._from, body=body)
        except TwilioRestException as error:
            # Not `from error`: it quotes the request.
            raise SmsNotSent(_outcome(error.status)) from None
        except aiohttp.ClientConnectorError as error:  # It was never reached.
            raise SmsNotSent("failed") from error
        except (TwilioException, aiohttp.ClientError, ValueError) as error:
            raise SmsNotSent("unknown") from error


def _outcome(status: int) -> Outcome:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "failed"
    return "rejected" if 400 <= status < 500 else "unknown"


class _TwilioHttp(AsyncTwilioHttpClient):  # type: ignore[misc]  # Twilio ships no types.
    """Twilio's client, on the origin that the settings name."""

    def __init__(self, base_url: str) -> None:
        super().__init__(pool_connections=False)
        # A connection each: one kept open may end just as a message is sent on it, and who knows then whether it was.
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        self._origin = urlsplit(base_url)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        auth: tuple[str, str],
        **others: Any,
    ) -> Any:
        parts = urlsplit(url)._replace(scheme=self._origin.scheme, netloc=self._origin.netloc)
        # As a header: Twilio's own way is deprecated in aiohttp.
        authorized = {**headers, "Authorization": aiohttp.encode_basic_auth(*auth)}
        return await super().request(method, parts.geturl(), headers=authorized, **others)
