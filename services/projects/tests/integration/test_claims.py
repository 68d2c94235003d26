"""Claims over a real socket: at most one is active on a unit, whatever happens, and the price stands still under it."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf import any_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from chassis.errors import (
    Conflict,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from propmubi.projects.v1 import events_pb2
from propmubi.projects.v1 import units_pb2 as pb

BUYER = {"full_name": "Meera Joshi", "phone": "9876543210"}


async def hold(sales: Any, unit_id: str, token: str, **fields: Any) -> pb.Claim:
    claim: pb.Claim = await sales.units(token).HoldUnit(
        pb.HoldUnitRequest(unit_id=unit_id, **fields)
    )
    return claim


async def book(sales: Any, unit_id: str, **fields: Any) -> pb.Booking:
    booking: pb.Booking = await sales.units(sales.token).BookUnit(
        pb.BookUnitRequest(unit_id=unit_id, **fields)
    )
    return booking


async def seen(sales: Any, unit_id: str) -> pb.Unit:
    unit: pb.Unit = await sales.units().GetUnit(pb.GetUnitRequest(unit_id=unit_id))
    return unit


async def payloads(sales: Any, unit_id: str) -> list[bytes]:
    rows = await sales.sql(
        "select payload from outbox where aggregate_id = :id order by position",
        id=uuid.UUID(unit_id),
    )
    return [row[0] for row in rows]


async def test_a_hold_is_the_holders_for_half_an_hour_at_the_price_of_now(sales: Any) -> None:
    unit, agent_id = await sales.unit(), uuid.uuid4()
    claim = await hold(sales, unit.id, sales.tokens.agent(agent_id))
    assert (claim.unit_id, claim.kind, claim.price_snapshot) == (
        unit.id,
        pb.CLAIM_KIND_HOLD,
        unit.price,
    )
    assert claim.agent_id == str(agent_id)
    left = claim.expires_at.ToDatetime(UTC) - datetime.now(UTC)
    assert timedelta(minutes=29) < left <= timedelta(minutes=30)
    held = await seen(sales, unit.id)
    assert (held.status, held.version, held.claim_expires_at) == (
        pb.UNIT_STATUS_HELD,
        2,
        claim.expires_at,
    )
    assert await sales.events(unit.id) == ["unit.held"]


async def test_of_a_hundred_holds_at_once_one_is_made(sales: Any) -> None:
    unit = await sales.unit()
    answers = await asyncio.gather(
        *(hold(sales, unit.id, sales.tokens.person()) for _ in range(100)), return_exceptions=True
    )
    assert sum(isinstance(answer, pb.Claim) for answer in answers) == 1
    refused = [answer for answer in answers if isinstance(answer, Conflict)]
    assert {error.reason for error in refused} == {"UNIT_NOT_AVAILABLE"}
    assert len(refused) == 99
    assert await sales.sql("select count(*) from claims where ended_at is null") == [(1,)]
    assert await sales.events(unit.id) == ["unit.held"]


async def test_the_database_itself_refuses_a_second_active_claim(sales: Any) -> None:
    unit = await sales.unit()
    await hold(sales, unit.id, sales.tokens.person())
    with pytest.raises(Exception, match="claims_one_active"):
        await sales.sql(
            "insert into claims (id, unit_id, kind, user_id, expires_at, price_snapshot)"
            " select gen_random_uuid(), unit_id, kind, user_id, expires_at, 1 from claims"
        )


@pytest.mark.parametrize("minutes", [5, 1440])
async def test_a_hold_lasts_as_long_as_asked(sales: Any, minutes: int) -> None:
    unit = await sales.unit()
    claim = await hold(sales, unit.id, sales.tokens.person(), minutes=minutes)
    lasts = claim.expires_at.ToDatetime(UTC) - claim.created_at.ToDatetime(UTC)
    assert lasts == timedelta(minutes=minutes)


@pytest.mark.parametrize("minutes", [4, 1441, -1])
async def test_a_hold_is_neither_too_short_nor_too_long(sales: Any, minutes: int) -> None:
    unit = await sales.unit()
    with pytest.raises(InvalidArgument):
        await hold(sales, unit.id, sales.tokens.person(), minutes=minutes)


async def test_holding_needs_a_person_and_a_unit(sales: Any) -> None:
    with pytest.raises(NotFound):
        await hold(sales, str(uuid.uuid4()), sales.tokens.person())
    unit = await sales.unit()
    with pytest.raises(PermissionDenied):
        await hold(sales, unit.id, sales.tokens.service("crm"))
    with pytest.raises(Unauthenticated):
        await sales.units().HoldUnit(pb.HoldUnitRequest(unit_id=unit.id))


async def test_an_expired_hold_counts_as_free_before_any_sweep(sales: Any) -> None:
    unit, other = await sales.unit("A-101"), await sales.unit("A-102")
    first = await hold(sales, unit.id, sales.tokens.person())
    await hold(sales, other.id, sales.tokens.person())
    await sales.sql(
        "insert into lease values ('timer/expire holds', gen_random_uuid(), 'infinity')"
        " on conflict (name) do update set holder = excluded.holder, expires_at = 'infinity'"
    )
    await sales.let_expire(unit.id)
    free = await seen(sales, unit.id)
    assert (free.status, free.HasField("claim_expires_at")) == (pb.UNIT_STATUS_AVAILABLE, False)
    for status, found in (
        (pb.UNIT_STATUS_AVAILABLE, [unit.id]),
        (pb.UNIT_STATUS_HELD, [other.id]),
    ):
        page = await sales.units().ListUnits(
            pb.ListUnitsRequest(project_id=sales.project_id, status=[status])
        )
        assert [item.id for item in page.units] == found
    with pytest.raises(Conflict) as refused:
        await sales.units(sales.token).ReleaseUnit(pb.ReleaseUnitRequest(unit_id=unit.id))
    assert refused.value.reason == "CLAIM_NOT_ACTIVE"
    second = await hold(sales, unit.id, sales.tokens.person())
    assert second.id != first.id
    assert await sales.events(unit.id) == ["unit.held", "unit.released", "unit.held"]


async def test_the_sweep_frees_expired_holds_and_tells_it_once(sales: Any) -> None:
    unit, lead_id = await sales.unit(), str(uuid.uuid4())
    agent = sales.tokens.agent()
    sales.crm.leads[lead_id] = agent
    claim = await hold(sales, unit.id, agent, lead_id=lead_id)
    await sales.let_expire(unit.id)
    before = await seen(sales, unit.id)
    units = sales.service_of_units()

    async def sweep() -> int:
        async with sales.running.database.transaction() as tx:
            return int(await units.expire(tx))

    assert sum(await asyncio.gather(*(sweep() for _ in range(5)))) <= 1
    after = await seen(sales, unit.id)
    assert (after.status, after.version) == (before.status, before.version)
    assert await sales.events(unit.id) == ["unit.held", "unit.released"]
    held, released = events_pb2.UnitHeld(), events_pb2.UnitReleased()
    for payload, event in zip(await payloads(sales, unit.id), (held, released), strict=True):
        assert any_pb2.Any.FromString(payload).Unpack(event)
    assert held.lead_id == released.lead_id == lead_id
    assert held.claim_id == released.claim_id == claim.id


async def test_who_may_release_a_hold(sales: Any) -> None:
    unit, office_id = await sales.unit(), uuid.uuid4()
    release = pb.ReleaseUnitRequest(unit_id=unit.id)
    broker = sales.tokens.person("agent", "office_admin", office_id=office_id)
    agents = [sales.tokens.agent(office_id=office_id) for _ in range(3)]
    for agent, token in zip(agents, (agents[0], broker, sales.token), strict=True):
        await hold(sales, unit.id, agent)
        for stranger in (sales.tokens.person(), sales.tokens.agent(office_id=office_id)):
            with pytest.raises(Conflict) as refused:
                await sales.units(stranger).ReleaseUnit(release)
            assert refused.value.reason == "CLAIM_NOT_ACTIVE"
        free = await sales.units(token).ReleaseUnit(release)
        assert free.status == pb.UNIT_STATUS_AVAILABLE
    assert await sales.events(unit.id) == ["unit.held", "unit.released"] * 3


async def test_a_lead_must_be_one_the_caller_sees(sales: Any) -> None:
    unit, lead_id = await sales.unit(), str(uuid.uuid4())
    agent = sales.tokens.agent()
    with pytest.raises(InvalidArgument) as refused:
        await hold(sales, unit.id, agent, lead_id=lead_id)
    assert [violation.field for violation in refused.value.violations] == ["lead_id"]
    sales.crm.leads[lead_id] = agent
    assert (await hold(sales, unit.id, agent, lead_id=lead_id)).lead_id == lead_id


async def test_without_crm_a_hold_for_a_lead_waits_and_others_do_not(sales: Any) -> None:
    unit = await sales.unit()
    await sales.crm.stop()
    with pytest.raises(Unavailable):
        await hold(sales, unit.id, sales.tokens.agent(), lead_id=str(uuid.uuid4()))
    await hold(sales, unit.id, sales.tokens.agent())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("update projects set status = 'registered'", "PROJECT_NOT_SELLING"),
        ("update projects set status = 'lapsed'", "PROJECT_NOT_SELLING"),
        ("update projects set status = 'completed'", "PROJECT_NOT_SELLING"),
        # The clock has not been there yet.
        ("update projects set rera_valid_to = current_date - 2", "PROJECT_NOT_SELLING"),
        ("update builders set status = 'suspended'", "BUILDER_NOT_ACTIVE"),
    ],
)
async def test_units_are_held_and_booked_only_while_they_are_on_sale(
    sales: Any, change: str, reason: str
) -> None:
    unit = await sales.unit()
    await sales.sql(change)
    with pytest.raises(Conflict) as refused:
        await hold(sales, unit.id, sales.tokens.person())
    assert refused.value.reason == reason
    with pytest.raises(Conflict) as refused:
        await book(sales, unit.id, buyers=[pb.Buyer(**BUYER)])
    assert refused.value.reason == reason


async def test_the_price_stands_still_while_a_unit_is_held(sales: Any) -> None:
    unit = await sales.unit()
    await hold(sales, unit.id, sales.tokens.person())
    change = pb.UpdateUnitRequest(
        unit_id=unit.id, unit=pb.Unit(price=1_000_000), update_mask=FieldMask(paths=["price"])
    )
    with pytest.raises(Conflict) as refused:
        await sales.units(sales.token).UpdateUnit(change)
    assert refused.value.reason == "UNIT_NOT_AVAILABLE"
    # Whatever else may happen to the price, the claim remembers it.
    await sales.sql("update units set price = 1")
    assert (await book(sales, unit.id, buyers=[pb.Buyer(**BUYER)])).price == unit.price


async def test_booking_what_an_agent_holds_keeps_her_lead(sales: Any) -> None:
    unit, lead_id = await sales.unit(), str(uuid.uuid4())
    agent = sales.tokens.agent()
    sales.crm.leads[lead_id] = agent
    await hold(sales, unit.id, agent, lead_id=lead_id)
    with pytest.raises(InvalidArgument) as refused:
        await book(sales, unit.id, lead_id=str(uuid.uuid4()))
    assert [violation.field for violation in refused.value.violations] == ["lead_id"]
    booking = await book(sales, unit.id, lead_id=lead_id, buyers=[pb.Buyer(**BUYER)])
    assert (booking.lead_id, booking.price) == (lead_id, unit.price)
    assert booking.buyers[0].phone == "+919876543210"
    assert (await seen(sales, unit.id)).status == pb.UNIT_STATUS_BOOKED
    assert await sales.events(unit.id) == ["unit.held", "unit.booked"]
    assert lead_id.encode() in (await payloads(sales, unit.id))[-1]
    assert await sales.sql("select kind, end_reason from claims order by id") == [
        ("hold", "booked"),
        ("booking", None),
    ]


async def test_a_lead_can_stand_for_the_buyers_but_somebody_must_buy(sales: Any) -> None:
    unit, lead_id = await sales.unit(), str(uuid.uuid4())
    with pytest.raises(InvalidArgument) as refused:
        await book(sales, unit.id)
    assert [violation.field for violation in refused.value.violations] == ["buyers"]
    with pytest.raises(InvalidArgument):
        await book(sales, unit.id, lead_id=lead_id)
    sales.crm.leads[lead_id] = sales.token
    assert (await book(sales, unit.id, lead_id=lead_id)).lead_id == lead_id


async def test_a_booked_unit_is_nobody_elses(sales: Any) -> None:
    unit = await sales.unit()
    await book(sales, unit.id, buyers=[pb.Buyer(**BUYER)])
    with pytest.raises(Conflict) as refused:
        await book(sales, unit.id, buyers=[pb.Buyer(**BUYER)])
    assert refused.value.reason == "UNIT_NOT_AVAILABLE"
    with pytest.raises(Conflict) as refused:
        await hold(sales, unit.id, sales.tokens.person())
    assert refused.value.reason == "UNIT_NOT_AVAILABLE"
    with pytest.raises(Conflict):
        await sales.units(sales.token).ReleaseUnit(pb.ReleaseUnitRequest(unit_id=unit.id))


async def test_holds_and_bookings_at_once_leave_one_claim(sales: Any) -> None:
    unit = await sales.unit()
    await asyncio.gather(
        *(hold(sales, unit.id, sales.tokens.person()) for _ in range(20)),
        *(book(sales, unit.id, buyers=[pb.Buyer(**BUYER)]) for _ in range(5)),
        return_exceptions=True,
    )
    assert (await seen(sales, unit.id)).status == pb.UNIT_STATUS_BOOKED
    assert await sales.sql("select kind from claims where ended_at is null") == [("booking",)]
    assert await sales.sql("select count(*) from bookings") == [(1,)]


async def test_the_same_hold_again_under_its_idempotency_key_is_the_same_claim(sales: Any) -> None:
    unit = await sales.unit()
    caller = sales.units(sales.tokens.person(), idempotency_key="hold-1")
    first = await caller.HoldUnit(pb.HoldUnitRequest(unit_id=unit.id))
    assert await caller.HoldUnit(pb.HoldUnitRequest(unit_id=unit.id)) == first


async def test_a_hold_and_a_booking_are_answered_again_though_crm_is_away(sales: Any) -> None:
    lead_id, agent = str(uuid.uuid4()), sales.tokens.agent()
    held, booked = await sales.unit("A-101"), await sales.unit("A-102")
    hold_it = pb.HoldUnitRequest(unit_id=held.id, lead_id=lead_id)
    book_it = pb.BookUnitRequest(unit_id=booked.id, lead_id=lead_id)
    holder = sales.units(agent, idempotency_key="hold-1")
    seller = sales.units(sales.token, idempotency_key="book-1")
    sales.crm.leads[lead_id] = agent
    claim = await holder.HoldUnit(hold_it)
    sales.crm.leads[lead_id] = sales.token
    booking = await seller.BookUnit(book_it)
    await sales.crm.stop()
    assert await holder.HoldUnit(hold_it) == claim
    assert await seller.BookUnit(book_it) == booking


async def test_who_sees_a_booking(sales: Any) -> None:
    unit, agent = await sales.unit(), sales.tokens.agent()
    await hold(sales, unit.id, agent)
    booking = await book(sales, unit.id, buyers=[pb.Buyer(**BUYER)])
    request = pb.GetBookingRequest(booking_id=booking.id)
    for token in (agent, sales.token, sales.tokens.admin()):
        assert await sales.units(token).GetBooking(request) == booking
    for token in (sales.tokens.person(), sales.tokens.builder(), sales.tokens.agent()):
        with pytest.raises(NotFound):
            await sales.units(token).GetBooking(request)


async def test_who_held_a_unit_does_not_see_to_whom_else_it_is_sold(sales: Any) -> None:
    buyer, agent, lead_id = sales.tokens.person(), sales.tokens.agent(), str(uuid.uuid4())
    sales.crm.leads[lead_id] = sales.token
    for unit_no, holder, booked in (
        ("A-1", buyer, {"buyers": [pb.Buyer(**BUYER)]}),
        ("A-2", buyer, {"lead_id": lead_id}),
        ("A-3", agent, {"lead_id": lead_id, "buyers": [pb.Buyer(**BUYER)]}),
    ):
        unit = await sales.unit(unit_no)
        await hold(sales, unit.id, holder)
        request = pb.GetBookingRequest(booking_id=(await book(sales, unit.id, **booked)).id)
        with pytest.raises(NotFound):
            await sales.units(holder).GetBooking(request)
        await sales.units(sales.token).GetBooking(request)
