"""Cross-origin requests: exact origins, with credentials; any other origin simply gets no CORS headers."""

from collections.abc import Iterable, Mapping

from gateway.errors import Headers

METHODS = b"GET, POST, PUT, PATCH, DELETE"
ALLOWED = b"Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Correlation-ID, Traceparent, X-Device-Token, X-Use-Cookie"
EXPOSED = (
    b"ETag, Location, Idempotency-Replayed, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, "
    b"X-Correlation-ID, X-Device-Token, Deprecation, Sunset, Link"
)
# Browsers cap it at two hours (Chromium) or a day (Firefox).
MAX_AGE_SECONDS = b"7200"


class Cors:
    """The headers for each allowed origin, made once."""

    def __init__(self, origins: Iterable[str]) -> None:
        shared = (b"access-control-allow-credentials", b"true")
        self._answers: dict[bytes, Headers] = {}
        self._preflights: dict[bytes, Headers] = {}
        for origin in (name.encode() for name in origins):
            allow = (b"access-control-allow-origin", origin)
            self._answers[origin] = (allow, shared, (b"access-control-expose-headers", EXPOSED))
            self._preflights[origin] = (
                allow,
                shared,
                (b"access-control-allow-methods", METHODS),
                (b"access-control-allow-headers", ALLOWED),
                (b"access-control-max-age", MAX_AGE_SECONDS),
            )

    def answer(self, headers: Mapping[bytes, bytes]) -> Headers:
        """What is added to the answer of a request with these headers."""
        origin = headers.get(b"origin")
        return () if origin is None else self._answers.get(origin, ())

    def preflight(self, headers: Mapping[bytes, bytes]) -> Headers:
        """What a preflight with these headers is answered."""
        return self._preflights.get(headers[b"origin"], ())


def is_preflight(method: str, headers: Mapping[bytes, bytes]) -> bool:
    return (
        method == "OPTIONS" and b"origin" in headers and b"access-control-request-method" in headers
    )
