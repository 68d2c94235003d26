"""The SQL of units and of the claims on them."""

import uuid
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    Double,
    Select,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from chassis.database import Database, Transaction
from chassis.errors import AlreadyExists, Conflict, NotFound, StaleVersion
from chassis.ids import new_id
from projects_service import history
from projects_service.builders.models import builders
from projects_service.projects.models import projects, towers, unit_types
from projects_service.projects.repository import FIRST, seen_by
from projects_service.projects.repository import not_found as project_not_found
from projects_service.units.domain import (
    Booking,
    Buyer,
    Claim,
    Claimant,
    ClaimEnd,
    ClaimKind,
    Hold,
    Place,
    Sale,
    Unit,
    UnitStatus,
)
from projects_service.units.models import bookings, claims, units

# The clock frees so many units in one transaction.
EXPIRE_BATCH = 100
# How long the contract lets a hold last.
LONGEST_HOLD = timedelta(days=1)

_EXPIRED = and_(units.c.claim_expires_at.is_not(None), units.c.claim_expires_at <= func.now())
# What the status is now: a hold that ran out is none, whether or not the sweep has been there.
_STATUS = case((_EXPIRED, UnitStatus.AVAILABLE.value), else_=units.c.status)
_UNIT = (
    *units.c,
    _EXPIRED.label("claim_expired"),
    unit_types.c.bhk,
    unit_types.c.carpet_area,
    unit_types.c.base_price,
)
_SALE = (
    projects.c.builder_id,
    builders.c.status.label("builder_status"),
    projects.c.status.label("project_status"),
    projects.c.rera_valid_to,
    projects.c.city,
    projects.c.state,
)
_SALE_FIELDS = tuple(field.name for field in fields(Sale))
_UNITS = (
    select(*_UNIT, *_SALE)
    .join(unit_types, unit_types.c.id == units.c.unit_type_id)
    .join(projects, projects.c.id == units.c.project_id)
    .join(builders, builders.c.id == projects.c.builder_id)
)
_GET = _UNITS.where(units.c.id == bindparam("id"))
_FILTERS = {
    "tower_id": units.c.tower_id == bindparam("tower_id"),
    "unit_type_id": units.c.unit_type_id == bindparam("unit_type_id"),
    "status": any_(bindparam("status", type_=ARRAY(Text))) == _STATUS,
    "bhk": unit_types.c.bhk == any_(bindparam("bhk", type_=ARRAY(Double))),
    "price_min": units.c.price >= bindparam("price_min"),
    "price_max": units.c.price <= bindparam("price_max"),
}
_HELD_FOR = (
    select(claims.c.lead_id)
    .join(units, units.c.claim_id == claims.c.id)
    .where(units.c.id == bindparam("id"), ~_EXPIRED)
)
_BOOKING = select(bookings).where(bookings.c.id == bindparam("id"))
_CLAIM = tuple(claims.c[field.name] for field in fields(Claim))


class UnitRepository:
    """Units, their claims and bookings in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, unit_id: uuid.UUID) -> Unit:
        """The unit as it is now; raises NotFound."""
        return _existing(await self._database.fetch_one(_GET, {"id": unit_id})).current()

    async def list_page(
        self,
        project_id: uuid.UUID,
        filters: Mapping[str, Any],
        *,
        seen_by_builder: uuid.UUID | None,
        after: uuid.UUID | None,
        limit: int,
    ) -> list[Unit]:
        """Units of a project that pass the `filters` (names of _FILTERS), as they are now, in the order they were
        added; raises NotFound for a project that the builder may not see.
        """
        rows = await self._database.fetch(
            _page(filters),
            {
                **filters,
                "project_id": project_id,
                "builder_id": seen_by_builder,
                "after": after or FIRST,
                "limit": limit,
            },
            key=("units.list_page", *filters),
        )
        if not rows:
            raise project_not_found()
        return [_unit(row).current() for row in rows if row["id"] is not None]

    async def locked(self, tx: Transaction, unit_id: uuid.UUID) -> Unit:
        """The unit as it was last written, locked until the transaction ends; raises NotFound."""
        found = await tx.execute(_UNITS.where(units.c.id == unit_id).with_for_update(of=units))
        return _existing(found.mappings().first())

    async def locked_expired(self, tx: Transaction) -> list[Unit]:
        """Units whose claim ran out, locked, EXPIRE_BATCH at most; none that others have locked."""
        found = await tx.execute(
            _UNITS.where(_EXPIRED)
            .order_by(units.c.claim_expires_at)
            .limit(EXPIRE_BATCH)
            .with_for_update(of=units, skip_locked=True)
        )
        return [_unit(row) for row in found.mappings()]

    async def locked_held_by(self, tx: Transaction, user_id: uuid.UUID) -> list[Unit]:
        """The units that a user holds, locked."""
        held = select(claims.c.id).where(
            claims.c.user_id == user_id,
            claims.c.kind == ClaimKind.HOLD,
            claims.c.ended_at.is_(None),
        )
        found = await tx.execute(
            _UNITS.where(units.c.claim_id.in_(held)).order_by(units.c.id).with_for_update(of=units)
        )
        return [_unit(row) for row in found.mappings()]

    async def place(
        self,
        tx: Transaction,
        project_id: uuid.UUID,
        tower_id: uuid.UUID,
        unit_type_id: uuid.UUID,
    ) -> Place:
        """What a new unit would be part of; raises NotFound when there is no such project."""
        found = await tx.execute(
            select(projects.c.builder_id, towers.c.total_floors, unit_types.c.base_price)
            .select_from(projects)
            .outerjoin(towers, (towers.c.project_id == projects.c.id) & (towers.c.id == tower_id))
            .outerjoin(
                unit_types,
                (unit_types.c.project_id == projects.c.id) & (unit_types.c.id == unit_type_id),
            )
            .where(projects.c.id == project_id)
        )
        row = found.mappings().first()
        if row is None:
            raise project_not_found()
        return Place(**row)

    async def add(self, tx: Transaction, unit: Mapping[str, Any]) -> Unit:
        """A new unit; raises AlreadyExists when its tower has one of that number."""
        added = await tx.execute(
            upsert(units)
            .values(id=new_id(), status=UnitStatus.AVAILABLE, **unit)
            .on_conflict_do_nothing(constraint="units_tower_id_unit_no")
            .returning(units.c.id)
        )
        unit_id = added.scalar()
        if unit_id is None:
            raise AlreadyExists(f"The tower has a unit {unit['unit_no']} already.")
        found = await tx.execute(_UNITS.where(units.c.id == unit_id))
        return _unit(found.mappings().one())

    async def change(
        self, tx: Transaction, unit: Unit, changes: Mapping[str, Any], changed_by: str
    ) -> Unit:
        """Write `changes` to `unit` and to its history; raises StaleVersion when it changed since it was read."""
        changed = await tx.execute(
            update(units)
            .where(units.c.id == unit.id, units.c.version == unit.version)
            .values(**changes, version=units.c.version + 1, updated_at=func.now())
            .returning(units.c.version, units.c.updated_at)
        )
        row = changed.mappings().first()
        if row is None:
            raise StaleVersion
        await history.write(tx, unit, changes, changed_by)
        return replace(unit, **changes, **row, claim_expired=False)

    async def held_for(self, unit_id: uuid.UUID) -> uuid.UUID | None:
        """The lead that the active claim on the unit is for, if there are both."""
        row = await self._database.fetch_one(_HELD_FOR, {"id": unit_id})
        return row["lead_id"] if row else None

    async def claim(self, tx: Transaction, claim_id: uuid.UUID) -> Claim:
        found = await tx.execute(select(*_CLAIM).where(claims.c.id == claim_id))
        return _claim(found.mappings().one())

    async def holds_of(
        self, tx: Transaction, user_id: uuid.UUID, project_id: uuid.UUID
    ) -> list[Hold]:
        """A user's holds in a project, unless they began so long ago that they are over for longer than they can have
        lasted; until the transaction ends she gets no others there.
        """
        whose = func.hashtextextended(f"{user_id} {project_id}", 0)
        await tx.execute(select(func.pg_advisory_xact_lock(whose)))
        until = func.least(claims.c.expires_at, claims.c.ended_at, type_=claims.c.expires_at.type)
        found = await tx.execute(
            select(
                claims.c.unit_id,
                (until - claims.c.created_at).label("lasts"),
                (until - func.now()).label("left"),
            )
            .join(units, units.c.id == claims.c.unit_id)
            .where(
                claims.c.user_id == user_id,
                claims.c.kind == ClaimKind.HOLD,
                claims.c.created_at > func.now() - 2 * LONGEST_HOLD,
                units.c.project_id == project_id,
            )
        )
        return [Hold(**row) for row in found.mappings()]

    async def add_claim(
        self,
        tx: Transaction,
        unit: Unit,
        kind: ClaimKind,
        claimant: Claimant,
        lasts: timedelta | None = None,
    ) -> Claim:
        """A claim on `unit` at its price; raises Conflict when another is active."""
        added = await tx.execute(
            upsert(claims)
            .values(
                id=new_id(),
                unit_id=unit.id,
                kind=kind,
                expires_at=None if lasts is None else func.now() + lasts,
                price_snapshot=unit.price,
                **{field.name: getattr(claimant, field.name) for field in fields(Claimant)},
            )
            .on_conflict_do_nothing(
                index_elements=[claims.c.unit_id], index_where=claims.c.ended_at.is_(None)
            )
            .returning(*_CLAIM)
        )
        row = added.mappings().first()
        if row is None:
            raise Conflict("Another claim on the unit is active.", reason="UNIT_NOT_AVAILABLE")
        return _claim(row)

    async def end_claim(self, tx: Transaction, claim_id: uuid.UUID, reason: ClaimEnd) -> Claim:
        """End an active claim; raises Conflict when it is over already."""
        ended = await tx.execute(
            update(claims)
            .where(claims.c.id == claim_id, claims.c.ended_at.is_(None))
            .values(ended_at=func.now(), end_reason=reason)
            .returning(*_CLAIM)
        )
        row = ended.mappings().first()
        if row is None:
            raise Conflict("The claim is over.", reason="CLAIM_NOT_ACTIVE")
        return _claim(row)

    async def add_booking(self, tx: Transaction, booking: Mapping[str, Any]) -> Booking:
        added = await tx.execute(
            insert(bookings).values(id=new_id(), **booking).returning(bookings)
        )
        return _booking(added.mappings().one())

    async def booking(self, booking_id: uuid.UUID) -> Booking:
        """The booking; raises NotFound."""
        row = await self._database.fetch_one(_BOOKING, {"id": booking_id})
        if row is None:
            raise booking_not_found()
        return _booking(row)


def not_found() -> NotFound:
    return NotFound("There is no such unit.")


def booking_not_found() -> NotFound:
    return NotFound("There is no such booking.")


def _page(filters: Mapping[str, Any]) -> Select[Any]:
    """A page of a project's units, and whether there is such a project, in one query: a project without such units
    gives one row of nulls.
    """
    page = (
        select(*_UNIT)
        .join(unit_types, unit_types.c.id == units.c.unit_type_id)
        .where(units.c.project_id == projects.c.id, units.c.id > bindparam("after"))
        .where(*(_FILTERS[name] for name in filters))
        .order_by(units.c.id)
        .limit(bindparam("limit"))
        .lateral()
    )
    return (
        select(*page.c, *_SALE)
        .select_from(projects)
        .join(builders, builders.c.id == projects.c.builder_id)
        .outerjoin(page, true())
        .where(
            projects.c.id == bindparam("project_id"),
            seen_by(bindparam("builder_id", type_=Uuid())),
        )
        .order_by(page.c.id)
    )


def _existing(row: Any) -> Unit:
    if row is None:
        raise not_found()
    return _unit(row)


def _unit(row: Any) -> Unit:
    values = dict(row)
    sale = Sale(**{name: values.pop(name) for name in _SALE_FIELDS})
    values["status"] = UnitStatus(values["status"])
    return Unit(**values, sale=sale)


def _claim(row: Any) -> Claim:
    return Claim(**{**row, "kind": ClaimKind(row["kind"])})


def _booking(row: Any) -> Booking:
    return Booking(**{**row, "buyers": tuple(Buyer(**buyer) for buyer in row["buyers"])})
