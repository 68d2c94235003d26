"""What can be done with units, and by whom."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

from chassis import phones
from chassis.database import Transaction
from chassis.errors import Conflict, InvalidArgument, Violation, check_version
from chassis.identity import Principal
from chassis.india import today
from chassis.protobuf import timestamp
from projects_service.history import CLOCK
from projects_service.projects.repository import not_found as project_not_found
from projects_service.projects.service import builder_of
from projects_service.units.domain import (
    Booking,
    Buyer,
    Claim,
    Claimant,
    ClaimEnd,
    ClaimKind,
    HoldLimits,
    Unit,
    check_changeable,
    check_may_hold,
    check_price,
    lead_of_booking,
    status_after,
)
from projects_service.units.repository import UnitRepository, booking_not_found, not_found
from propmubi.projects.v1.events_pb2 import UnitBooked, UnitHeld, UnitPriceChanged, UnitReleased

HOLD_MINUTES = 30

_CHARGES = ("preferential_location_charge", "floor_rise_charge", "parking_charge")


class UnitService:
    """The use cases of units. Each write takes the transaction that its caller opened."""

    def __init__(self, units: UnitRepository, limits: HoldLimits) -> None:
        self._units = units
        self._limits = limits

    async def add(
        self, tx: Transaction, caller: Principal, project_id: uuid.UUID, unit: Mapping[str, Any]
    ) -> Unit:
        """Add a unit to the caller's own project; without a price it gets its type's, with its charges."""
        place = await self._units.place(tx, project_id, unit["tower_id"], unit["unit_type_id"])
        if place.builder_id != builder_of(caller):
            raise project_not_found()
        place.check(unit["floor"])
        wanted = {**unit, **{name: unit[name] or 0 for name in _CHARGES}}
        charges = sum(wanted[name] for name in _CHARGES)
        if wanted["price"] is None:
            wanted["price"] = (place.base_price or 0) + charges
        check_price(wanted["price"], charges)
        return await self._units.add(tx, {**wanted, "project_id": project_id})

    async def get(self, caller: Principal | None, unit_id: uuid.UUID) -> Unit:
        """The unit, if `caller` may see it; raises NotFound."""
        return _seen(caller, await self._units.get(unit_id))

    async def list_page(
        self,
        caller: Principal | None,
        project_id: uuid.UUID,
        filters: Mapping[str, Any],
        *,
        after: uuid.UUID | None,
        limit: int,
    ) -> list[Unit]:
        """A page of the units of a project that `caller` may see; raises NotFound."""
        return await self._units.list_page(
            project_id,
            filters,
            seen_by_builder=caller.builder_id if caller else None,
            after=after,
            limit=limit,
        )

    async def update(
        self,
        tx: Transaction,
        caller: Principal,
        unit_id: uuid.UUID,
        changes: Mapping[str, Any],
        expected_version: int | None,
    ) -> Unit:
        """Change a unit of the caller's own, and tell the other services of another price."""
        unit = await self._freed(tx, await self._own(tx, caller, unit_id))
        check_version(expected_version, unit.version)
        check_changeable(unit)
        wanted: dict[str, Any] = {
            name: value or 0 if name in _CHARGES else value for name, value in changes.items()
        }
        charges = replace(unit, **wanted).charges
        if "price" in wanted and wanted["price"] is None:
            wanted["price"] = unit.base_price + charges
        price = wanted.get("price", unit.price)
        check_price(price, charges)
        if price != unit.price:
            event = UnitPriceChanged(unit_id=str(unit.id), from_price=unit.price, to_price=price)
            tx.publish(event, unit.id)
        return await self._units.change(tx, unit, wanted, caller.subject)

    async def hold(
        self,
        tx: Transaction,
        caller: Principal,
        unit_id: uuid.UUID,
        *,
        lead_id: uuid.UUID | None,
        minutes: int | None,
    ) -> Claim:
        """Hold a unit for `caller`, for a lead that she may see; raises Conflict unless it is free and on sale, and
        what `check_may_hold` raises unless it is a unit of her own.
        """
        unit = _seen(caller, await self._units.locked(tx, unit_id))
        unit.sale.check_open(today())
        unit = await self._freed(tx, unit)
        status = status_after(unit, "hold")
        if caller.builder_id != unit.sale.builder_id:
            hers = await self._units.holds_of(tx, caller.user_id, unit.project_id)
            most = self._limits.buyer if caller.agent_id is None else self._limits.agent
            check_may_hold(unit.id, hers, most)
        lasts = timedelta(minutes=minutes or HOLD_MINUTES)
        claim = await self._units.add_claim(
            tx, unit, ClaimKind.HOLD, _claimant(caller, lead_id), lasts
        )
        claimed = {"claim_id": claim.id, "claim_expires_at": claim.expires_at}
        await self._units.change(tx, unit, {"status": status, **claimed}, caller.subject)
        assert claim.expires_at is not None
        event = UnitHeld(
            unit_id=str(unit.id),
            claim_id=str(claim.id),
            lead_id=_text(claim.lead_id),
            expires_at=timestamp(claim.expires_at),
        )
        tx.publish(event, unit.id)
        return claim

    async def release(self, tx: Transaction, caller: Principal, unit_id: uuid.UUID) -> Unit:
        """End a hold that is the caller's, her office's, or on a unit of her own."""
        unit = _seen(caller, await self._units.locked(tx, unit_id))
        status_after(unit.current(), "release")
        assert unit.claim_id is not None
        claim = await self._units.claim(tx, unit.claim_id)
        if not (_claimed_by(caller, claim) or caller.builder_id == unit.sale.builder_id):
            raise Conflict("The hold is somebody else's.", reason="CLAIM_NOT_ACTIVE")
        return await self._release(tx, unit, "release", ClaimEnd.RELEASED, caller.subject)

    async def release_all_of(self, tx: Transaction, user_id: uuid.UUID, by: str) -> None:
        """End the holds of a user."""
        for unit in await self._units.locked_held_by(tx, user_id):
            await self._release(tx, unit, "release", ClaimEnd.RELEASED, by)

    async def lead_to_check(
        self, unit_id: uuid.UUID, lead_id: uuid.UUID | None
    ) -> uuid.UUID | None:
        """The lead that a builder must be able to see before the unit is booked for it: not the one it is held for."""
        if lead_id is None or lead_id == await self._units.held_for(unit_id):
            return None
        return lead_id

    async def book(
        self,
        tx: Transaction,
        caller: Principal,
        unit_id: uuid.UUID,
        *,
        buyers: Sequence[Buyer],
        lead_id: uuid.UUID | None,
    ) -> Booking:
        """Book a unit of the caller's own: at the price and for the lead it is held for, else as it is offered."""
        unit = await self._own(tx, caller, unit_id)
        unit.sale.check_open(today())
        unit = await self._freed(tx, unit)
        status = status_after(unit, "book")
        held = await self._units.claim(tx, unit.claim_id) if unit.claim_id else None
        lead_id = lead_of_booking(held.lead_id if held else None, lead_id)
        if not buyers and lead_id is None:
            raise InvalidArgument(Violation("buyers", "is required: there is no lead who buys"))
        if held is not None:
            await self._units.end_claim(tx, held.id, ClaimEnd.BOOKED)
            unit = replace(unit, price=held.price_snapshot)
        seller = _claimant_of(held) if held and held.is_for(lead_id) else _claimant(caller, None)
        claimant = replace(seller, lead_id=lead_id)
        claim = await self._units.add_claim(tx, unit, ClaimKind.BOOKING, claimant)
        booking = await self._units.add_booking(
            tx,
            {
                **asdict(claimant),
                "unit_id": unit.id,
                "project_id": unit.project_id,
                "builder_id": unit.sale.builder_id,
                "claim_id": claim.id,
                "buyers": [asdict(buyer) for buyer in _normalised(buyers)],
                "price": claim.price_snapshot,
            },
        )
        claimed = {"claim_id": claim.id, "claim_expires_at": None}
        await self._units.change(tx, unit, {"status": status, **claimed}, caller.subject)
        event = UnitBooked(
            unit_id=str(unit.id),
            booking_id=str(booking.id),
            lead_id=_text(lead_id),
            price=booking.price,
        )
        tx.publish(event, unit.id)
        return booking

    async def move(self, tx: Transaction, caller: Principal, unit_id: uuid.UUID, move: str) -> Unit:
        """Freeze or unfreeze a unit of the caller's own."""
        unit = await self._freed(tx, await self._own(tx, caller, unit_id))
        status = status_after(unit, move)
        return await self._units.change(tx, unit, {"status": status}, caller.subject)

    async def booking(self, caller: Principal, booking_id: uuid.UUID) -> Booking:
        """The booking, if `caller` may see it; raises NotFound."""
        booking = await self._units.booking(booking_id)
        own = caller.builder_id == booking.builder_id or _claimed_by(caller, booking)
        if not (own or caller.is_admin):
            raise booking_not_found()
        return booking

    async def expire(self, tx: Transaction) -> int:
        """Free units whose claim ran out; how many, EXPIRE_BATCH at most."""
        expired = await self._units.locked_expired(tx)
        for unit in expired:
            await self._freed(tx, unit)
        return len(expired)

    async def _own(self, tx: Transaction, caller: Principal, unit_id: uuid.UUID) -> Unit:
        unit = await self._units.locked(tx, unit_id)
        if caller.builder_id != unit.sale.builder_id:
            raise not_found()
        return unit

    async def _freed(self, tx: Transaction, unit: Unit) -> Unit:
        """`unit`, which is locked, after its claim was ended if it ran out: whoever meets it first does that."""
        if not unit.claim_expired:
            return unit
        return await self._release(tx, unit, "expire", ClaimEnd.EXPIRED, CLOCK)

    async def _release(
        self, tx: Transaction, unit: Unit, move: str, end: ClaimEnd, changed_by: str
    ) -> Unit:
        assert unit.claim_id is not None
        claim = await self._units.end_claim(tx, unit.claim_id, end)
        status = status_after(unit, move)
        free = {"status": status, "claim_id": None, "claim_expires_at": None}
        event = UnitReleased(
            unit_id=str(unit.id), claim_id=str(claim.id), lead_id=_text(claim.lead_id)
        )
        tx.publish(event, unit.id)
        return await self._units.change(tx, unit, free, changed_by)


def _seen(caller: Principal | None, unit: Unit) -> Unit:
    """`unit`, if `caller` may see it; raises NotFound for a draft's of another builder."""
    if unit.is_public or (caller and caller.builder_id == unit.sale.builder_id):
        return unit
    raise not_found()


def _claimant(caller: Principal, lead_id: uuid.UUID | None) -> Claimant:
    return Claimant(
        user_id=caller.user_id,
        agent_id=caller.agent_id,
        office_id=caller.office_id,
        lead_id=lead_id,
    )


def _claimant_of(claim: Claim) -> Claimant:
    return Claimant(
        user_id=claim.user_id,
        agent_id=claim.agent_id,
        office_id=claim.office_id,
        lead_id=claim.lead_id,
    )


def _claimed_by(caller: Principal, claimant: Claimant) -> bool:
    """Whether `caller` is the claimant, or an administrator of her office."""
    office_id = caller.administered_office_id
    return caller.subject == str(claimant.user_id) or (
        office_id is not None and claimant.office_id == office_id
    )


def _normalised(buyers: Sequence[Buyer]) -> list[Buyer]:
    return [
        replace(buyer, phone=phones.normalise(buyer.phone, f"buyers[{index}].phone"))
        for index, buyer in enumerate(buyers)
    ]


def _text(value: uuid.UUID | None) -> str | None:
    return None if value is None else str(value)
