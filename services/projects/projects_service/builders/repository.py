"""The SQL of builders."""

import uuid
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from chassis.database import Database, Transaction
from chassis.errors import AlreadyExists, NotFound, StaleVersion
from chassis.ids import new_id
from projects_service import history
from projects_service.builders.domain import Builder, BuilderStatus, Company, not_active
from projects_service.builders.models import builders

_GET = select(builders).where(builders.c.id == bindparam("id"))


class BuilderRepository:
    """Builders in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, builder_id: uuid.UUID) -> Builder:
        """The builder; raises NotFound."""
        return _existing(await self._database.fetch_one(_GET, {"id": builder_id}))

    async def list_page(
        self, *, status: BuilderStatus, before: uuid.UUID | None, limit: int
    ) -> list[Builder]:
        """Builders by status, newest first, beginning after the id `before`."""
        statement = select(builders).where(builders.c.status == bindparam("status"))
        if before is not None:
            statement = statement.where(builders.c.id < bindparam("before"))
        rows = await self._database.fetch(
            statement.order_by(builders.c.id.desc()).limit(bindparam("limit")),
            {"status": status, "before": before, "limit": limit},
            key=("builders.list_page", before is not None),
        )
        return [_builder(row) for row in rows]

    async def locked(self, tx: Transaction, builder_id: uuid.UUID) -> Builder:
        """The builder, locked until the transaction ends; raises NotFound."""
        found = await tx.execute(
            select(builders).where(builders.c.id == builder_id).with_for_update()
        )
        return _existing(found.mappings().first())

    async def locked_of(self, tx: Transaction, user_id: uuid.UUID) -> Builder | None:
        """The builder whom the user acts for, locked until the transaction ends, if there is one."""
        found = await tx.execute(
            select(builders).where(builders.c.user_id == user_id).with_for_update()
        )
        row = found.mappings().first()
        return None if row is None else _existing(row)

    async def active_name(self, tx: Transaction, builder_id: uuid.UUID) -> str:
        """The builder's name; it stays that, and active, until the transaction ends. Raises Conflict unless active."""
        found = await tx.execute(
            select(builders.c.builder_name)
            .where(builders.c.id == builder_id, builders.c.status == BuilderStatus.ACTIVE)
            .with_for_update(read=True)
        )
        name: str | None = found.scalar()
        if name is None:
            raise not_active()
        return name

    async def add(
        self, tx: Transaction, user_id: uuid.UUID, company: Company, verification_status: str
    ) -> Builder:
        """A new application; raises AlreadyExists when the person has one."""
        added = await tx.execute(
            upsert(builders)
            .values(
                id=new_id(),
                user_id=user_id,
                verification_status=verification_status,
                status=BuilderStatus.PENDING_VERIFICATION,
                **asdict(company),
            )
            .on_conflict_do_nothing(index_elements=[builders.c.user_id])
            .returning(builders)
        )
        row = added.mappings().first()
        if row is None:
            raise AlreadyExists("You have applied already: there is one builder for each person.")
        return _builder(row)

    async def change(
        self,
        tx: Transaction,
        builder: Builder,
        changes: Mapping[str, Any],
        changed_by: str,
        reason: str | None = None,
    ) -> Builder:
        """Write `changes` to `builder` and to its history; raises StaleVersion when it changed since it was read."""
        changed = await tx.execute(
            update(builders)
            .where(builders.c.id == builder.id, builders.c.version == builder.version)
            .values(**changes, version=builders.c.version + 1, updated_at=func.now())
            .returning(builders)
        )
        row = changed.mappings().first()
        if row is None:
            raise StaleVersion
        await history.write(tx, builder, changes, changed_by, reason)
        return _builder(row)


def not_found() -> NotFound:
    return NotFound("There is no such builder.")


def _existing(row: Any) -> Builder:
    if row is None:
        raise not_found()
    return _builder(row)


def _builder(row: Any) -> Builder:
    return Builder(**{**row, "status": BuilderStatus(row["status"])})
