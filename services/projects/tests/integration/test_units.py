"""Units over a real socket: adding, finding, pricing them, and what they cost."""

import uuid
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from chassis.errors import AlreadyExists, Conflict, InvalidArgument, NotFound, StaleVersion
from propmubi.projects.v1 import units_pb2 as pb


async def update(sales: Any, unit_id: str, version: int | None = None, **fields: Any) -> pb.Unit:
    request = pb.UpdateUnitRequest(
        unit_id=unit_id,
        unit=pb.Unit(**fields),
        update_mask=FieldMask(paths=list(fields)),
        expected_version=version,
    )
    changed: pb.Unit = await sales.units(sales.token).UpdateUnit(request)
    return changed


async def test_a_units_price_is_its_types_with_its_charges_unless_it_has_its_own(
    sales: Any,
) -> None:
    unit = await sales.unit(
        "A-101", preferential_location_charge=150_000, floor_rise_charge=120_000, floor=12
    )
    assert (unit.price, unit.bhk, unit.carpet_area) == (8_770_000, 2, 780)
    assert unit.status == pb.UNIT_STATUS_AVAILABLE
    assert (await sales.unit("A-102", price=9_000_000)).price == 9_000_000
    assert await sales.units().GetUnit(pb.GetUnitRequest(unit_id=unit.id)) == unit


async def test_a_unit_fits_its_project_and_tower(sales: Any) -> None:
    await sales.unit("A-101")
    with pytest.raises(AlreadyExists):
        await sales.unit("A-101")
    with pytest.raises(InvalidArgument) as refused:
        await sales.unit("A-2301", floor=23)
    assert [violation.field for violation in refused.value.violations] == ["unit.floor"]
    with pytest.raises(InvalidArgument) as refused:
        await sales.unit("A-103", price=100, parking_charge=100)
    assert [violation.field for violation in refused.value.violations] == ["unit.price"]
    sales.tower_id = sales.unit_type_id = str(uuid.uuid4())
    with pytest.raises(InvalidArgument) as refused:
        await sales.unit("A-104")
    assert {violation.field for violation in refused.value.violations} == {
        "unit.tower_id",
        "unit.unit_type_id",
    }


async def test_another_builder_neither_adds_nor_changes_units(sales: Any) -> None:
    unit = await sales.unit()
    _, sales.token = await sales.active_builder()
    with pytest.raises(NotFound):
        await sales.unit("A-102")
    with pytest.raises(NotFound):
        await update(sales, unit.id, price=1)
    for method, request in (("FreezeUnit", pb.FreezeUnitRequest), ("BookUnit", pb.BookUnitRequest)):
        with pytest.raises(NotFound):
            await getattr(sales.units(sales.token), method)(request(unit_id=unit.id))


async def test_changing_a_price_is_told_and_needs_the_version_that_was_read(sales: Any) -> None:
    unit = await sales.unit(preferential_location_charge=100_000)
    changed = await update(sales, unit.id, 1, price=9_500_000, facing=1)
    assert (changed.price, changed.facing, changed.version) == (9_500_000, 1, 2)
    with pytest.raises(StaleVersion):
        await update(sales, unit.id, 1, facing=2)
    assert (await update(sales, unit.id, 2, facing=2)).version == 3
    assert await sales.events(unit.id) == ["unit.price_changed"]
    request = pb.UpdateUnitRequest(
        unit_id=unit.id, unit=pb.Unit(), update_mask=FieldMask(paths=["price"])
    )
    assert (await sales.units(sales.token).UpdateUnit(request)).price == 8_600_000


async def test_units_are_filtered_and_paged_in_the_order_they_were_added(sales: Any) -> None:
    units = [await sales.unit(f"A-{n}", price=9_000_000 + n) for n in range(5)]
    await sales.units(sales.token).FreezeUnit(pb.FreezeUnitRequest(unit_id=units[1].id))
    public = sales.units()
    request = pb.ListUnitsRequest(
        project_id=sales.project_id,
        tower_id=sales.tower_id,
        unit_type_id=sales.unit_type_id,
        status=[pb.UNIT_STATUS_AVAILABLE],
        bhk=[2, 2.5],
        price_min=9_000_001,
        page_size=2,
    )
    first = await public.ListUnits(request)
    request.page_token = first.next_page_token
    second = await public.ListUnits(request)
    assert [unit.id for unit in (*first.units, *second.units)] == [u.id for u in units[2:]]
    assert second.next_page_token == ""
    nothing = pb.ListUnitsRequest(project_id=sales.project_id, bhk=[3])
    assert not (await public.ListUnits(nothing)).units
    with pytest.raises(NotFound):
        await public.ListUnits(pb.ListUnitsRequest(project_id=str(uuid.uuid4())))


async def test_a_drafts_units_are_seen_by_their_builder_alone(sales: Any) -> None:
    unit = await sales.unit()
    await sales.sql("update projects set status = 'draft'")
    stranger = sales.units(sales.tokens.agent())
    with pytest.raises(NotFound):
        await stranger.GetUnit(pb.GetUnitRequest(unit_id=unit.id))
    with pytest.raises(NotFound):
        await stranger.ListUnits(pb.ListUnitsRequest(project_id=sales.project_id))
    with pytest.raises(NotFound):
        await stranger.HoldUnit(pb.HoldUnitRequest(unit_id=unit.id))
    mine = sales.units(sales.token)
    assert (await mine.GetUnit(pb.GetUnitRequest(unit_id=unit.id))).id == unit.id
    assert (await mine.ListUnits(pb.ListUnitsRequest(project_id=sales.project_id))).units
    with pytest.raises(Conflict) as refused:
        await mine.HoldUnit(pb.HoldUnitRequest(unit_id=unit.id))
    assert refused.value.reason == "PROJECT_NOT_SELLING"


async def test_freezing_takes_a_unit_off_the_market(sales: Any) -> None:
    unit = await sales.unit()
    mine = sales.units(sales.token)
    frozen = await mine.FreezeUnit(pb.FreezeUnitRequest(unit_id=unit.id))
    assert frozen.status == pb.UNIT_STATUS_FROZEN
    with pytest.raises(Conflict) as refused:
        await mine.HoldUnit(pb.HoldUnitRequest(unit_id=unit.id))
    assert refused.value.reason == "UNIT_NOT_AVAILABLE"
    with pytest.raises(Conflict) as refused:
        await mine.FreezeUnit(pb.FreezeUnitRequest(unit_id=unit.id))
    assert refused.value.reason == "ILLEGAL_TRANSITION"
    free = await mine.UnfreezeUnit(pb.UnfreezeUnitRequest(unit_id=unit.id))
    assert free.status == pb.UNIT_STATUS_AVAILABLE


async def test_the_cost_sheet_adds_up(sales: Any) -> None:
    unit = await sales.unit(parking_charge=400_000, floor_rise_charge=100_000)
    sheet = await sales.units().GetCostSheet(pb.GetCostSheetRequest(unit_id=unit.id))
    assert (sheet.base_price, sheet.price) == (8_500_000, 9_000_000)
    assert (sheet.gst, sheet.stamp_duty) == (450_000, 630_000)
    assert sheet.all_in_price == 10_080_000
    assert sheet.all_in_price_per_sqft == 12_923
