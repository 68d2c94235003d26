"""Idempotency keys: a POST repeated under its key is answered as it was the first time.

The record is written in the transaction of the effect, so that there is never one without the other. Kept for 24 h.
"""

import hashlib
from typing import TYPE_CHECKING, Any

import orjson
from google.protobuf.message import Message
from sqlalchemy import bindparam, delete, func, insert, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.context import Call, IdempotencyKey, current_call_or_none
from chassis.errors import Conflict, InvalidArgument, Violation
from chassis.tables import idempotency_key

if TYPE_CHECKING:
    from chassis.database import Database

KEPT = text("interval '24 hours'")
_FIND = select(
    idempotency_key.c.request_hash, idempotency_key.c.reply, idempotency_key.c.trailers
).where(
    *(idempotency_key.c[name] == bindparam(name) for name in ("scope", "rpc", "key")),
    idempotency_key.c.created_at > func.now() - KEPT,
)


class Replayed(Exception):
    """The call was answered before; `reply` is the serialised message."""

    def __init__(self, reply: bytes, trailers: list[tuple[str, str]]) -> None:
        super().__init__("answered before")
        self.reply = reply
        self.trailers = trailers


async def begin(connection: AsyncConnection) -> None:
    """Make sure that the current call, if it carries a key, is the first under it.

    Raises Replayed when it was answered before, Conflict while the first is still under way and InvalidArgument when
    the key came with another request.
    """
    call = current_call_or_none()
    if call is None or call.idempotency is None:
        return
    identity = _identity(call)
    # Taken before looking: whoever holds it will commit the record that we would then miss.
    locked = await connection.scalar(select(func.pg_try_advisory_xact_lock(_lock_of(identity))))
    if not locked:
        raise Conflict(
            "A call with this Idempotency-Key is still under way: wait for its answer.",
            reason="IDEMPOTENCY_IN_FLIGHT",
        )
    found = (await connection.execute(_FIND, identity)).mappings().first()
    if found is not None:
        raise _repeated(call.idempotency, found)


async def replay(database: "Database") -> None:
    """Raise what `begin` would of a call that was answered before, outside any transaction.

    For use cases that ask peers, or about the state of the world, before their transaction: what held when the call
    was answered need not hold when it is repeated. One that carries no key reads nothing.
    """
    call = current_call_or_none()
    if call is None or call.idempotency is None:
        return
    found = await database.fetch_one(_FIND, _identity(call))
    if found is not None:
        raise _repeated(call.idempotency, found)


async def record(connection: AsyncConnection, reply: Message) -> None:
    """Remember `reply` as the answer to the current call, if it carries a key."""
    call = current_call_or_none()
    if call is None or call.idempotency is None:
        return
    identity = _identity(call)
    await connection.execute(
        delete(idempotency_key).filter_by(
            **identity
        )  # One past its 24 h that the sweep has not met yet.
    )
    await connection.execute(
        insert(idempotency_key).values(
            **identity,
            request_hash=call.idempotency.request_hash,
            reply=reply.SerializeToString(),
            trailers=orjson.dumps(call.trailers).decode(),
        )
    )


async def sweep(connection: AsyncConnection) -> None:
    """Forget what was answered more than 24 h ago."""
    await connection.execute(
        delete(idempotency_key).where(idempotency_key.c.created_at <= func.now() - KEPT)
    )


async def forget(connection: AsyncConnection, subject: str, *phones: str) -> None:
    """Forget what the person was answered, and whatever anybody was that names her or a phone of hers: replies hold
    what is known of her.

    Whoever repeats such a call does it anew.
    """
    named = [
        func.pg_catalog.position(idempotency_key.c.reply, word.encode()) > 0
        for word in (subject, *phones)
    ]
    await connection.execute(
        delete(idempotency_key).where(or_(idempotency_key.c.scope == subject, *named))
    )


def _identity(call: Call) -> dict[str, str]:
    """Whose key it is: two callers may choose the same one."""
    assert call.idempotency is not None
    scope = call.principal.subject if call.principal else f"address:{call.client_address}"
    return {"scope": scope, "rpc": call.rpc, "key": call.idempotency.key}


def _repeated(given: IdempotencyKey, found: Any) -> Exception:
    """What to raise of a call that comes under the key of the record `found`."""
    if found["request_hash"] != given.request_hash:
        return InvalidArgument(
            Violation("Idempotency-Key", "was used before with another request: take a new one"),
            message="The Idempotency-Key was used before with another request.",
            reason="IDEMPOTENCY_KEY_REUSED",
        )
    return Replayed(
        found["reply"], [(name, value) for name, value in orjson.loads(found["trailers"])]
    )


def _lock_of(identity: dict[str, str]) -> int:
    digest = hashlib.sha256("\0".join(identity.values()).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
