"""Who is to be forgotten: her holds end, and her firm sells nothing more."""

import asyncio
import uuid
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from chassis.errors import Conflict
from chassis.ids import new_id
from chassis.redis import stream_of
from propmubi.auth.v1.events_pb2 import UserErased
from propmubi.common.v1.event_pb2 import Event
from propmubi.projects.v1 import builders_pb2
from propmubi.projects.v1 import units_pb2 as pb
from services.projects.tests.integration.test_builders import apply
from services.projects.tests.integration.test_claims import BUYER, book, hold, seen


async def erase(sales: Any, user_id: uuid.UUID, sequence: int) -> None:
    """Tell, twice as a relay may, that a person is erased, and wait until that was applied."""
    event = Event(
        id=str(new_id()), aggregate_id=str(user_id), sequence=sequence, payload=AnyMessage()
    )
    event.payload.Pack(UserErased(user_id=str(user_id), phone="+919876543210"))
    redis = sales.running.service.redis
    for _ in range(2):
        await redis.xadd(stream_of("auth"), {"event": event.SerializeToString()})
    met = "select 1 from inbox where aggregate_id = :id and sequence = :sequence"
    async with asyncio.timeout(10):
        while True:
            if await sales.sql(met, id=user_id, sequence=sequence):
                return
            await asyncio.sleep(0.02)


async def test_the_holds_of_who_is_erased_end_and_what_was_sold_stays_sold(sales: Any) -> None:
    user_id = uuid.uuid4()
    token = sales.tokens.person(user_id=user_id)
    held, others, booked = [await sales.unit(unit_no) for unit_no in ("A-1", "A-2", "A-3")]
    await hold(sales, held.id, token)
    await hold(sales, others.id, sales.tokens.person())
    await hold(sales, booked.id, token)
    booking = await book(sales, booked.id, buyers=[BUYER])
    once = sales.units(token, idempotency_key="once")
    await once.HoldUnit(pb.HoldUnitRequest(unit_id=(await sales.unit("A-4")).id))
    kept = "select 1 from idempotency_key where key = 'once'"
    assert await sales.sql(kept) != []
    for sequence in (1, 2):
        await erase(sales, user_id, sequence)
    assert await sales.sql(kept) == []
    assert [(await seen(sales, unit.id)).status for unit in (held, others, booked)] == [
        pb.UNIT_STATUS_AVAILABLE,
        pb.UNIT_STATUS_HELD,
        pb.UNIT_STATUS_BOOKED,
    ]
    assert await sales.events(held.id) == ["unit.held", "unit.released"]
    sold = await sales.units(sales.token).GetBooking(pb.GetBookingRequest(booking_id=booking.id))
    assert [buyer.full_name for buyer in sold.buyers] == ["Meera Joshi"]


async def test_the_firm_of_who_is_erased_is_suspended_once_and_for_all(sales: Any) -> None:
    [(user_id,)] = await sales.sql(
        "select user_id from builders where id = :id", id=sales.builder_id
    )
    for sequence in (1, 2):
        await erase(sales, user_id, sequence)
    request = builders_pb2.GetBuilderRequest(builder_id=str(sales.builder_id))
    admin = sales.builders(sales.tokens.admin())
    left = await admin.GetBuilder(request)
    assert left.status == builders_pb2.BUILDER_STATUS_SUSPENDED
    assert await sales.events(str(sales.builder_id)) == ["builder.verified", "builder.suspended"]
    with pytest.raises(Conflict, match="erased"):
        await admin.ReinstateBuilder(
            builders_pb2.ReinstateBuilderRequest(builder_id=str(sales.builder_id))
        )


async def test_no_firm_is_verified_whose_applicant_was_erased(sales: Any) -> None:
    user_id = uuid.uuid4()
    applied = await apply(sales, sales.tokens.person(user_id=user_id))
    await erase(sales, user_id, 1)
    with pytest.raises(Conflict, match="erased"):
        await sales.builders(sales.tokens.admin()).VerifyBuilder(
            builders_pb2.VerifyBuilderRequest(builder_id=applied.id)
        )
