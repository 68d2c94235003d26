"""Errors as gRPC statuses, and back: the only place where the two meet."""

from collections.abc import Mapping
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from chassis.errors import (
    AlreadyExists,
    Conflict,
    DeadlineExceeded,
    DomainError,
    InvalidArgument,
    Kind,
    NotFound,
    PermissionDenied,
    RateLimited,
    StaleVersion,
    Unauthenticated,
    Unavailable,
    Violation,
)

DOMAIN: Final = "propmubi"
DETAILS_KEY: Final = "grpc-status-details-bin"

STATUS_OF_KIND: Final[Mapping[Kind, grpc.StatusCode]] = {
    Kind.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Kind.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Kind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Kind.CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    Kind.ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Kind.STALE_VERSION: grpc.StatusCode.ABORTED,
    Kind.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Kind.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def to_status(error: DomainError) -> tuple[grpc.StatusCode, str, bytes]:
    """The code, the message and the serialised google.rpc.Status of `error`."""
    code = STATUS_OF_KIND[error.kind]
    status = status_pb2.Status(code=code.value[0], message=error.message)
    _pack(status, error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN))
    if error.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.message)
            for v in error.violations
        ]
        _pack(status, error_details_pb2.BadRequest(field_violations=violations))
    if isinstance(error, RateLimited):
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(max(1, round(error.retry_after * 1000)))
        _pack(status, error_details_pb2.RetryInfo(retry_delay=delay))
    return code, error.message, status.SerializeToString()


def from_rpc_error(  # noqa: PLR0911  One line for each status.
    error: grpc.aio.AioRpcError,
) -> DomainError | None:
    """What a peer of ours said went wrong, or None when it is a fault rather than an answer."""
    code, message = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNAVAILABLE:
        return Unavailable("A part of the platform can't be reached just now: try again.")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded("The answer did not come in time.")
    reason, violations, retry_after = _details(error)
    match code:
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.OUT_OF_RANGE:
            return InvalidArgument(*violations, message=message, reason=reason)
        case grpc.StatusCode.UNAUTHENTICATED:
            return Unauthenticated(message, reason=reason)
        case grpc.StatusCode.PERMISSION_DENIED:
            return PermissionDenied(message, reason=reason)
        case grpc.StatusCode.NOT_FOUND:
            return NotFound(message, reason=reason)
        case grpc.StatusCode.FAILED_PRECONDITION:
            return Conflict(message, reason=reason, violations=violations)
        case grpc.StatusCode.ALREADY_EXISTS:
            return AlreadyExists(message, reason=reason)
        case grpc.StatusCode.ABORTED:
            return StaleVersion(message)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return RateLimited(message, retry_after=retry_after)
        case _:
            return None


def _details(error: grpc.aio.AioRpcError) -> tuple[str | None, list[Violation], float]:
    reason: str | None = None
    violations: list[Violation] = []
    retry_after = 1.0
    for key, value in error.trailing_metadata() or ():
        if key != DETAILS_KEY or not isinstance(value, bytes):
            continue
        for detail in status_pb2.Status.FromString(value).details:
            info, bad, retry = (
                error_details_pb2.ErrorInfo(),
                error_details_pb2.BadRequest(),
                error_details_pb2.RetryInfo(),
            )
            if detail.Unpack(info):
                reason = info.reason
            elif detail.Unpack(bad):
                violations = [Violation(v.field, v.description) for v in bad.field_violations]
            elif detail.Unpack(retry):
                retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    return reason, violations, retry_after


def _pack(
    status: status_pb2.Status,
    detail: (
        error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo
    ),
) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)
