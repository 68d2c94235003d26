"""Devices that somebody signed in on. There she is counted by herself, and not by an address that her carrier lets
thousands share.

Such a device has a token of 256 random bits, given at a sign-in and remembered in Redis by its hash with whose it is.
It opens nothing: it only chooses the allowance. That is the person's and not the token's, so that nobody gains by
signing in again and again for more of them.
"""

import asyncio
import hashlib
import re
import secrets
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.errors import Headers
from gateway.operation import Operation
from gateway.rate_limit import GUARDED, TIMEOUT_SECONDS
from propmubi.options.v1.options_pb2 import RateLimit

HEADER: Final = b"x-device-token"
# Since the last sign-in.
KEPT_SECONDS: Final = 90 * 86_400

_is_token = re.compile(r"[\w-]{43}", re.ASCII).fullmatch


class Devices:
    """Who signed in where. Without Redis nobody did, and the calls that ask are refused anyway."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def person_of(self, token: str | None) -> str | None:
        """The id of the person who signed in on the device with this token."""
        if token is None or not _is_token(token):
            return None
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                person = await self._redis.get(_key(token))
        except (RedisError, OSError, TimeoutError):
            return None
        return person.decode() if isinstance(person, bytes) else None

    async def remember(self, token: str | None, person: str) -> Headers:
        """The header that tells a device on which `person` signed in her token: the one it has, if that is hers."""
        if token is None or await self.person_of(token) != person:
            token = secrets.token_urlsafe(32)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._redis.set(_key(token), person, ex=KEPT_SECONDS)
        except (RedisError, OSError, TimeoutError):
            return ()
        return ((HEADER, token.encode()),)


def _key(token: str) -> str:
    return f"propmubi:device:{hashlib.sha256(token.encode()).hexdigest()}"


def pass_by(operation: Operation) -> bool:
    """Whether a known device passes the address's limit on `operation`."""
    return operation.rate_limit in GUARDED


def are_made_by(operation: Operation) -> bool:
    """Whether `operation` signs somebody in, who is the reply's `user`."""
    attempt = operation.rate_limit == RateLimit.RATE_LIMIT_AUTH_ATTEMPT
    return attempt and "user" in operation.output.DESCRIPTOR.fields_by_name
