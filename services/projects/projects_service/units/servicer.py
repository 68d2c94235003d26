"""UnitService on the wire: messages in, use cases, messages out."""

import uuid
from typing import Any

from chassis import idempotency
from chassis.context import principal, principal_or_none
from chassis.database import Database
from chassis.page_tokens import PageTokens
from chassis.protobuf import fill, masked, value, values
from projects_service.clients import Leads
from projects_service.units.cost_sheet import cost_sheet
from projects_service.units.domain import Booking, Buyer, Claim, Unit
from projects_service.units.service import UnitService
from propmubi.projects.v1 import units_pb2 as pb
from propmubi.projects.v1 import units_pb2_grpc

_INPUT = (
    "tower_id",
    "unit_type_id",
    "unit_no",
    "floor",
    "facing",
    "preferential_location_charge",
    "floor_rise_charge",
    "parking_charge",
    "price",
)
_UNIT = (
    "id",
    "project_id",
    *_INPUT,
    "bhk",
    "carpet_area",
    "status",
    "claim_expires_at",
    "version",
    "created_at",
    "updated_at",
)
_CLAIM = (
    "id",
    "unit_id",
    "kind",
    "lead_id",
    "user_id",
    "agent_id",
    "expires_at",
    "price_snapshot",
    "created_at",
)
_BUYER = ("full_name", "phone", "email")
_BOOKING = (
    "id",
    "unit_id",
    "project_id",
    "claim_id",
    "lead_id",
    "agent_id",
    "price",
    "created_at",
)
_COST_SHEET = (
    "base_price",
    "preferential_location_charge",
    "floor_rise_charge",
    "parking_charge",
    "price",
    "gst",
    "stamp_duty",
    "all_in_price",
    "all_in_price_per_sqft",
)


class UnitServicer(units_pb2_grpc.UnitServiceServicer):
    """Serves propmubi.projects.v1.UnitService."""

    def __init__(
        self, database: Database, service: UnitService, leads: Leads, page_tokens: PageTokens
    ) -> None:
        self._database = database
        self._service = service
        self._leads = leads
        self._page_tokens = page_tokens

    async def CreateUnit(self, request: pb.CreateUnitRequest, context: Any) -> pb.Unit:
        unit = _with_ids(values(request.unit, *_INPUT))
        async with self._database.transaction() as tx:
            added = await self._service.add(tx, principal(), uuid.UUID(request.project_id), unit)
            return tx.reply(to_proto(added))

    async def GetUnit(self, request: pb.GetUnitRequest, context: Any) -> pb.Unit:
        return to_proto(await self._service.get(principal_or_none(), uuid.UUID(request.unit_id)))

    async def ListUnits(self, request: pb.ListUnitsRequest, context: Any) -> pb.ListUnitsResponse:
        page = self._page_tokens.page(request)
        found = await self._service.list_page(
            principal_or_none(),
            uuid.UUID(request.project_id),
            _filters(request),
            after=page.last_id,
            limit=page.limit,
        )
        units, token = page.cut(found, to_proto)
        return pb.ListUnitsResponse(units=units, next_page_token=token)

    async def UpdateUnit(self, request: pb.UpdateUnitRequest, context: Any) -> pb.Unit:
        changes = masked(request.unit, request.update_mask)
        expected = value(request, "expected_version")
        async with self._database.transaction() as tx:
            unit = await self._service.update(
                tx, principal(), uuid.UUID(request.unit_id), changes, expected
            )
            return tx.reply(to_proto(unit))

    async def GetCostSheet(self, request: pb.GetCostSheetRequest, context: Any) -> pb.CostSheet:
        unit = await self._service.get(principal_or_none(), uuid.UUID(request.unit_id))
        message = pb.CostSheet(unit_id=str(unit.id))
        fill(message, cost_sheet(unit), *_COST_SHEET)
        return message

    async def HoldUnit(self, request: pb.HoldUnitRequest, context: Any) -> pb.Claim:
        asked = _with_ids(values(request, "unit_id", "lead_id", "minutes"))
        if asked["lead_id"] is not None:
            await idempotency.replay(self._database)
            await self._leads.check_seen_by_caller(asked["lead_id"])
        async with self._database.transaction() as tx:
            return tx.reply(_claim(await self._service.hold(tx, principal(), **asked)))

    async def ReleaseUnit(self, request: pb.ReleaseUnitRequest, context: Any) -> pb.Unit:
        unit_id = uuid.UUID(request.unit_id)
        async with self._database.transaction() as tx:
            return tx.reply(to_proto(await self._service.release(tx, principal(), unit_id)))

    async def BookUnit(self, request: pb.BookUnitRequest, context: Any) -> pb.Booking:
        asked = _with_ids(values(request, "unit_id", "lead_id"))
        buyers = [Buyer(**values(buyer, *_BUYER)) for buyer in request.buyers]
        await idempotency.replay(self._database)
        lead_id = await self._service.lead_to_check(**asked)
        if lead_id is not None:
            await self._leads.check_seen_by_caller(lead_id)
        async with self._database.transaction() as tx:
            booking = await self._service.book(tx, principal(), **asked, buyers=buyers)
            return tx.reply(_booking(booking))

    async def FreezeUnit(self, request: pb.FreezeUnitRequest, context: Any) -> pb.Unit:
        return await self._move(request.unit_id, "freeze")

    async def UnfreezeUnit(self, request: pb.UnfreezeUnitRequest, context: Any) -> pb.Unit:
        return await self._move(request.unit_id, "unfreeze")

    async def GetBooking(self, request: pb.GetBookingRequest, context: Any) -> pb.Booking:
        return _booking(await self._service.booking(principal(), uuid.UUID(request.booking_id)))

    async def _move(self, unit_id: str, move: str) -> pb.Unit:
        async with self._database.transaction() as tx:
            unit = await self._service.move(tx, principal(), uuid.UUID(unit_id), move)
            return tx.reply(to_proto(unit))


def to_proto(unit: Unit) -> pb.Unit:
    message = pb.Unit()
    fill(message, unit, *_UNIT)
    return message


def _claim(claim: Claim) -> pb.Claim:
    message = pb.Claim()
    fill(message, claim, *_CLAIM)
    return message


def _booking(booking: Booking) -> pb.Booking:
    message = pb.Booking()
    fill(message, booking, *_BOOKING)
    for buyer in booking.buyers:
        fill(message.buyers.add(), buyer, *_BUYER)
    return message


def _with_ids(asked: dict[str, Any]) -> dict[str, Any]:
    """`asked` with its ids as Python has them."""
    return {
        name: uuid.UUID(value) if name.endswith("_id") and value is not None else value
        for name, value in asked.items()
    }


def _filters(request: pb.ListUnitsRequest) -> dict[str, Any]:
    """What `request` asks for, by the names of the repository's filters."""
    asked = _with_ids(
        values(request, "tower_id", "unit_type_id", "status", "bhk", "price_min", "price_max")
    )
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asked.items()
        if value not in {None, ()}
    }
