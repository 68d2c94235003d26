"""The call that is being answered: who asks, until when, under which correlation id.

Set once by whoever starts the work (the gateway's handler, the gRPC interceptor, a consumer, a timer); logs, outgoing
calls and the database read it.
"""

import asyncio
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field

from chassis.errors import Unauthenticated
from chassis.identity import Principal

# A second longer than the gateway gives; nobody waits longer for one call.
LONGEST_CALL_SECONDS = 31.0


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The caller's Idempotency-Key, with the hash of the request it came with."""

    key: str
    request_hash: bytes


@dataclass(slots=True)
class Call:
    """One unit of work. `deadline` is in seconds on the event loop's clock."""

    rpc: str
    correlation_id: str
    deadline: float
    principal: Principal | None = None
    client_address: str = ""
    user_agent: str = ""
    idempotency: IdempotencyKey | None = None
    # What the interceptor sends back beside the reply: facts of HTTP that have no place in a message.
    trailers: list[tuple[str, str]] = field(default_factory=list)

    def remaining(self) -> float:
        """Seconds left until the deadline, 0 when it has passed."""
        return max(0.0, self.deadline - asyncio.get_running_loop().time())

    def caller(self) -> Principal:
        """Who is calling; raises Unauthenticated when nobody known is."""
        if self.principal is None:
            raise Unauthenticated("Sign in first.")
        return self.principal


_current: ContextVar[Call | None] = ContextVar("call", default=None)


def current_call() -> Call:
    """The call being answered. Outside of any, work of the process itself is one."""
    call = _current.get()
    if call is None:
        raise LookupError("no call is being answered here: start one with `enter`")
    return call


def current_call_or_none() -> Call | None:
    """The call being answered, if there is one."""
    return _current.get()


def enter(call: Call) -> None:
    """Make `call` the current one for the rest of this task."""
    _current.set(call)


def background_call(name: str, *, seconds: float = 30.0, correlation_id: str = "") -> Call:
    """A call of the process itself, such as a consumer's or a timer's, with time of its own."""
    deadline = asyncio.get_running_loop().time() + seconds
    return Call(name, correlation_id or str(uuid.uuid4()), deadline)


def principal() -> Principal:
    """Who is calling; raises Unauthenticated when nobody known is."""
    return current_call().caller()


def principal_or_none() -> Principal | None:
    """Who is calling, if anybody known is."""
    return current_call().principal
