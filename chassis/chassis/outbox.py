"""The outbox: events written in the transaction of the change, for `chassis.relay` to publish once it is committed."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf import any_pb2
from google.protobuf.message import Message
from sqlalchemy import ARRAY, bindparam, text

from chassis.context import current_call_or_none
from chassis.ids import new_id
from chassis.tables import outbox
from chassis.tracing import traceparent
from propmubi.options.v1 import options_pb2

if TYPE_CHECKING:
    from chassis.database import Transaction

# One statement for all events of a transaction, since each costs a round trip. The counters are locked in one order,
# so that two transactions can't wait for each other, and before positions are drawn.
_WRITE = text("""
    with event as (
        select * from unnest(:ids, :aggregate_ids, :names, :payloads, :correlation_ids, :traceparents)
            with ordinality as event (id, aggregate_id, name, payload, correlation_id, traceparent, place)
    ), counted as (
        insert into event_sequence (aggregate_id, last)
        select aggregate_id, count(*) from event group by aggregate_id order by aggregate_id
        on conflict (aggregate_id) do update set last = event_sequence.last + excluded.last
        returning aggregate_id, last
    )
    insert into outbox (id, aggregate_id, sequence, name, payload, correlation_id, traceparent)
    select
        id,
        aggregate_id,
        last - count(*) over (partition by aggregate_id)
            + row_number() over (partition by aggregate_id order by place),
        name,
        payload,
        correlation_id,
        traceparent
    from event join counted using (aggregate_id)
    order by place
    """).bindparams(
    bindparam("ids", type_=ARRAY(outbox.c.id.type)),
    bindparam("aggregate_ids", type_=ARRAY(outbox.c.aggregate_id.type)),
    bindparam("names", type_=ARRAY(outbox.c.name.type)),
    bindparam("payloads", type_=ARRAY(outbox.c.payload.type)),
    bindparam("correlation_ids", type_=ARRAY(outbox.c.correlation_id.type)),
    bindparam("traceparents", type_=ARRAY(outbox.c.traceparent.type)),
)


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something that happened to an aggregate in the course of a call, not written yet."""

    aggregate_id: uuid.UUID
    payload: Message
    correlation_id: str
    traceparent: str

    @classmethod
    def of(cls, payload: Message, aggregate_id: uuid.UUID) -> "NewEvent":
        """An event of the current call."""
        call = current_call_or_none()
        return cls(aggregate_id, payload, call.correlation_id if call else "", traceparent())


def event_name(payload: Message) -> str:
    """The name the contract gives to the events that `payload` carries, such as "listing.price_changed"."""
    name = str(payload.DESCRIPTOR.GetOptions().Extensions[options_pb2.event])
    if not name:
        raise ValueError(
            f"{payload.DESCRIPTOR.full_name} is no event: add (propmubi.options.v1.event)"
        )
    return name


async def write(tx: "Transaction", events: Sequence[NewEvent]) -> None:
    """Write `events`, in their order, in the transaction `tx`."""
    if not events:
        return
    await tx.run(
        _WRITE,
        {
            "ids": [new_id() for _ in events],
            "aggregate_ids": [event.aggregate_id for event in events],
            "names": [event_name(event.payload) for event in events],
            "payloads": [_packed(event.payload) for event in events],
            "correlation_ids": [event.correlation_id for event in events],
            "traceparents": [event.traceparent for event in events],
        },
    )


def _packed(payload: Message) -> bytes:
    packed = any_pb2.Any()
    packed.Pack(payload)
    return packed.SerializeToString()
