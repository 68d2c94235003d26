"""What can go wrong, as HTTP: one envelope for every status, and the one table from gRPC statuses."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

import grpc
import orjson

from chassis.errors import DomainError, RateLimited, Violation
from chassis.status import DETAILS_KEY, STATUS_OF_KIND, from_rpc_error

Headers = tuple[tuple[bytes, bytes], ...]

CHALLENGE: Final = b'Bearer realm="propmubi"'
RETRY_SECONDS: Final = 1

HTTP_STATUS: Final[Mapping[grpc.StatusCode, int]] = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 502,
    grpc.StatusCode.INVALID_ARGUMENT: 422,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.ABORTED: 412,
    grpc.StatusCode.OUT_OF_RANGE: 422,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}

# What a status is called, and said to mean, when nobody said it better.
DEFAULTS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("VALIDATION_ERROR", "That is not a valid HTTP request."),
    401: ("UNAUTHORIZED", "Sign in first."),
    403: ("FORBIDDEN", "Your role does not allow this."),
    404: ("RESOURCE_NOT_FOUND", "There is nothing at this address."),
    405: ("METHOD_NOT_ALLOWED", "This address does not take that method."),
    408: ("REQUEST_TIMEOUT", "The request did not arrive in time."),
    409: ("ILLEGAL_TRANSITION", "The state of things does not allow this."),
    412: ("STALE_VERSION", "It was changed in the meantime: read it again."),
    413: ("PAYLOAD_TOO_LARGE", "The body is larger than 1 MiB."),
    415: ("UNSUPPORTED_MEDIA_TYPE", "Send the body as application/json."),
    422: ("VALIDATION_ERROR", "The request is not valid."),
    429: ("RATE_LIMITED", "Too many calls: come back after the seconds that Retry-After says."),
    431: ("HEADERS_TOO_LARGE", "The address and headers together are larger than 16 KiB."),
    499: ("CANCELLED", "The call was given up."),
    500: ("INTERNAL", "Something went wrong on our side; the correlation id finds it."),
    501: ("NOT_IMPLEMENTED", "The platform does not do that yet."),
    502: ("BAD_GATEWAY", "A part of the platform gave an answer that makes no sense."),
    503: ("SERVICE_UNAVAILABLE", "A part of the platform can't be reached just now: try again."),
    504: ("DEADLINE_EXCEEDED", "The answer did not come in time; the call may have taken effect."),
}


class EdgeError(Exception):
    """An answer that is an error. Code and message are the status's own unless given."""

    def __init__(
        self,
        status: int,
        message: str = "",
        *,
        code: str = "",
        violations: Iterable[Violation] = (),
        headers: Headers = (),
    ) -> None:
        default_code, default_message = DEFAULTS[status]
        super().__init__(message or default_message)
        self.status = status
        self.code = code or default_code
        self.message = message or default_message
        self.violations = tuple(violations)
        self.headers = headers

    def envelope(self, *, correlation_id: str, path: str) -> bytes:
        """The body of the answer."""
        error = {
            "code": self.code,
            "message": self.message,
            "correlation_id": correlation_id,
            "path": path,
            "details": [{"field": v.field, "message": v.message} for v in self.violations],
        }
        return orjson.dumps({"error": error})


def from_domain(error: DomainError) -> EdgeError:
    """An error of the domain, raised here or reported by a service."""
    return _told(HTTP_STATUS[STATUS_OF_KIND[error.kind]], error)


def from_rpc(error: grpc.aio.AioRpcError, unnamed: Iterable[str] = ()) -> EdgeError:
    """What a service answered. The words of faults, and of gRPC's own machinery, stay inside.

    Services name a field by its path in the request; clients know nothing of the messages `unnamed`.
    """
    code = error.code()
    answer = from_rpc_error(error)
    if answer is None:
        return EdgeError(HTTP_STATUS[code])
    if not isinstance(answer, RateLimited) or _is_deliberate(error):
        return _told(HTTP_STATUS[code], answer, unnamed)
    return EdgeError(502)  # gRPC's own RESOURCE_EXHAUSTED: a message beyond the size limit.


def _as_sent(violation: Violation, unnamed: Iterable[str]) -> Violation:
    for message in unnamed:
        if violation.field.startswith(f"{message}."):
            return replace(violation, field=violation.field.removeprefix(f"{message}."))
    return violation


def _is_deliberate(error: grpc.aio.AioRpcError) -> bool:
    return any(key == DETAILS_KEY for key, _ in error.trailing_metadata() or ())


def _told(status: int, error: DomainError, unnamed: Iterable[str] = ()) -> EdgeError:
    headers: Headers = ()
    if status == 401:
        headers = ((b"www-authenticate", CHALLENGE),)
    elif isinstance(error, RateLimited):
        headers = (retry_after(error.retry_after),)
    elif status == 503:
        headers = (retry_after(RETRY_SECONDS),)
    violations = [_as_sent(each, unnamed) for each in error.violations]
    return EdgeError(
        status, error.message, code=error.reason, violations=violations, headers=headers
    )


def retry_after(seconds: float) -> tuple[bytes, bytes]:
    """The header that tells when to come back: whole seconds, never too early."""
    return b"retry-after", str(max(1, math.ceil(seconds))).encode()
