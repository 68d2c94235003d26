"""What can go wrong, in the words of the domain.

A domain rule raises one of these; `chassis.status` turns it into a gRPC status and the gateway turns that into
an HTTP answer. `reason` is a name of `propmubi.common.v1.ErrorCode` without its prefix.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar


class Kind(Enum):
    """How an error ends a call. `chassis.status` maps each to one gRPC status."""

    INVALID_ARGUMENT = "invalid_argument"
    UNAUTHENTICATED = "unauthenticated"
    PERMISSION_DENIED = "permission_denied"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    ALREADY_EXISTS = "already_exists"
    STALE_VERSION = "stale_version"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    DEADLINE_EXCEEDED = "deadline_exceeded"


@dataclass(frozen=True, slots=True)
class Violation:
    """One field and what is wrong with it, in words that say what to do."""

    field: str
    message: str


class DomainError(Exception):
    """A call that can't be answered, for a reason its caller is meant to read."""

    kind: ClassVar[Kind]
    default_reason: ClassVar[str]

    def __init__(
        self, message: str, *, reason: str | None = None, violations: Iterable[Violation] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.violations = tuple(violations)


class InvalidArgument(DomainError):
    """The input breaks a rule, whatever the state of the world."""

    kind = Kind.INVALID_ARGUMENT
    default_reason = "VALIDATION_ERROR"

    def __init__(
        self,
        *violations: Violation,
        message: str = "The request is not valid.",
        reason: str | None = None,
    ) -> None:
        super().__init__(message, reason=reason, violations=violations)


class Unauthenticated(DomainError):
    """Nobody known is calling."""

    kind = Kind.UNAUTHENTICATED
    default_reason = "UNAUTHORIZED"


class PermissionDenied(DomainError):
    """The caller lacks the role. For somebody else's object raise NotFound instead, so that ids can't be probed."""

    kind = Kind.PERMISSION_DENIED
    default_reason = "FORBIDDEN"


class NotFound(DomainError):
    """There is no such thing, or it is not the caller's to see."""

    kind = Kind.NOT_FOUND
    default_reason = "RESOURCE_NOT_FOUND"


class Conflict(DomainError):
    """The state of the world does not allow it."""

    kind = Kind.CONFLICT
    default_reason = "ILLEGAL_TRANSITION"


class AlreadyExists(DomainError):
    """There may be only one, and there is one."""

    kind = Kind.ALREADY_EXISTS
    default_reason = "ALREADY_EXISTS"


class StaleVersion(DomainError):
    """The thing changed since the caller read it."""

    kind = Kind.STALE_VERSION
    default_reason = "STALE_VERSION"

    def __init__(self, message: str = "It was changed in the meantime: read it again.") -> None:
        super().__init__(message)


def check_version(expected: int | None, version: int) -> None:
    """Raises StaleVersion unless `version` is the one its caller means to change, if she said which."""
    if expected is not None and expected != version:
        raise StaleVersion


class RateLimited(DomainError):
    """Too often; `retry_after` is in seconds."""

    kind = Kind.RATE_LIMITED
    default_reason = "RATE_LIMITED"

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(DomainError):
    """Something it needs can't be reached just now."""

    kind = Kind.UNAVAILABLE
    default_reason = "SERVICE_UNAVAILABLE"


class DeadlineExceeded(DomainError):
    """There was no time left to answer."""

    kind = Kind.DEADLINE_EXCEEDED
    default_reason = "DEADLINE_EXCEEDED"
