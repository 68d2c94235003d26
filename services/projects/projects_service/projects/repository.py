"""The SQL of projects, their towers and unit types."""

import uuid
from collections.abc import Mapping
from dataclasses import fields
from datetime import date
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    Text,
    Uuid,
    any_,
    bindparam,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from chassis.database import Database, Transaction
from chassis.errors import AlreadyExists, NotFound, StaleVersion
from chassis.ids import new_id
from projects_service import history
from projects_service.builders.models import builders
from projects_service.projects.domain import (
    Address,
    Description,
    Owner,
    Project,
    ProjectStatus,
    Tower,
    UnitType,
)
from projects_service.projects.models import projects, towers, unit_types

# The clock moves so many projects in one transaction.
LAPSE_BATCH = 100

# Before every id.
FIRST = uuid.UUID(int=0)

_DESCRIPTION = tuple(field.name for field in fields(Description))
_COLUMNS_OF_ADDRESS = {
    "line": "address_line",
    "subdivision_name": "subdivision_name",
    "city": "city",
    "state": "state",
    "postal_code": "postal_code",
}
_GET = select(projects).where(projects.c.id == bindparam("id"))
_OWNER = (
    select(
        projects.c.project_name,
        projects.c.city,
        projects.c.status,
        projects.c.builder_id,
        builders.c.user_id,
        builders.c.status.label("builder_status"),
    )
    .join(builders, builders.c.id == projects.c.builder_id)
    .where(projects.c.id == bindparam("id"))
)
_FILTERS = {
    "status": projects.c.status == any_(bindparam("status", type_=ARRAY(Text))),
    "city": func.lower(projects.c.city) == func.lower(bindparam("city")),
    "subdivision_name": func.lower(projects.c.subdivision_name)
    == any_(bindparam("subdivision_name", type_=ARRAY(Text))),
    "postal_code": projects.c.postal_code == any_(bindparam("postal_code", type_=ARRAY(Text))),
    "builder_id": projects.c.builder_id == bindparam("builder_id"),
    "before": projects.c.id < bindparam("before"),
}


def seen_by(builder_id: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether the project is one that the builder may see: drafts are their own builder's."""
    return (projects.c.status != ProjectStatus.DRAFT) | (projects.c.builder_id == builder_id)


def _parts_of(table: Table) -> Select[Any]:
    """A page of what a project consists of, and whether there is such a project, in one query: a project without
    parts gives one row of nulls.
    """
    page = (
        select(table)
        .where(table.c.project_id == projects.c.id, table.c.id > bindparam("after"))
        .order_by(table.c.id)
        .limit(bindparam("limit"))
        .lateral()
    )
    return (
        select(*page.c)
        .select_from(projects.outerjoin(page, true()))
        .where(projects.c.id == bindparam("id"), seen_by(bindparam("builder_id", type_=Uuid())))
        .order_by(page.c.id)
    )


_TOWERS = _parts_of(towers)
_UNIT_TYPES = _parts_of(unit_types)


class ProjectRepository:
    """Projects in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, project_id: uuid.UUID) -> Project:
        """The project; raises NotFound."""
        return _existing(await self._database.fetch_one(_GET, {"id": project_id}))

    async def owner(self, project_id: uuid.UUID) -> Owner:
        """Who is to get an enquiry about the project; raises NotFound."""
        row = await self._database.fetch_one(_OWNER, {"id": project_id})
        if row is None:
            raise not_found()
        return Owner(**{**row, "status": ProjectStatus(row["status"])})

    async def list_page(
        self, filters: Mapping[str, Any], *, seen_by_builder: uuid.UUID | None, limit: int
    ) -> list[Project]:
        """Projects that pass the `filters` (names of _FILTERS) and that the builder may see, newest first."""
        statement = (
            select(projects)
            .where(seen_by(bindparam("seen_by_builder", type_=Uuid())))
            .where(*(_FILTERS[name] for name in filters))
            .order_by(projects.c.id.desc())
            .limit(bindparam("limit"))
        )
        rows = await self._database.fetch(
            statement,
            {**filters, "seen_by_builder": seen_by_builder, "limit": limit},
            key=("projects.list_page", *filters),
        )
        return [_project(row) for row in rows]

    async def locked(self, tx: Transaction, project_id: uuid.UUID) -> Project:
        """The project, locked until the transaction ends; raises NotFound."""
        found = await tx.execute(
            select(projects).where(projects.c.id == project_id).with_for_update()
        )
        return _existing(found.mappings().first())

    async def locked_past_registration(
        self, tx: Transaction, status: ProjectStatus, today: date
    ) -> list[Project]:
        """Projects of `status` past their registration, locked, LAPSE_BATCH at most; none that others have locked."""
        found = await tx.execute(
            select(projects)
            .where(projects.c.status == status, projects.c.rera_valid_to < today)
            .limit(LAPSE_BATCH)
            .with_for_update(skip_locked=True)
        )
        return [_project(row) for row in found.mappings()]

    async def add(
        self,
        tx: Transaction,
        builder_id: uuid.UUID,
        description: Description,
        verification_status: str,
    ) -> Project:
        added = await tx.execute(
            insert(projects)
            .values(
                id=new_id(),
                builder_id=builder_id,
                verification_status=verification_status,
                status=ProjectStatus.DRAFT,
                **_columns({name: getattr(description, name) for name in _DESCRIPTION}),
            )
            .returning(projects)
        )
        return _project(added.mappings().one())

    async def change(
        self, tx: Transaction, project: Project, changes: Mapping[str, Any], changed_by: str
    ) -> Project:
        """Write `changes` to `project` and to its history; raises StaleVersion when it changed since it was read."""
        changed = await tx.execute(
            update(projects)
            .where(projects.c.id == project.id, projects.c.version == project.version)
            .values(**_columns(changes), version=projects.c.version + 1, updated_at=func.now())
            .returning(projects)
        )
        row = changed.mappings().first()
        if row is None:
            raise StaleVersion
        await history.write(tx, project, changes, changed_by)
        return _project(row)

    async def add_tower(
        self, tx: Transaction, project_id: uuid.UUID, tower: Mapping[str, Any]
    ) -> Tower:
        """A new tower; raises AlreadyExists when the project has one of that name."""
        added = await tx.execute(
            upsert(towers)
            .values(id=new_id(), project_id=project_id, **tower)
            .on_conflict_do_nothing(constraint="towers_project_id_name")
            .returning(towers)
        )
        row = added.mappings().first()
        if row is None:
            raise AlreadyExists(f"The project has a tower {tower['name']} already.")
        return Tower(**row)

    async def add_unit_type(
        self, tx: Transaction, project_id: uuid.UUID, unit_type: Mapping[str, Any]
    ) -> UnitType:
        added = await tx.execute(
            insert(unit_types)
            .values(id=new_id(), project_id=project_id, **unit_type)
            .returning(unit_types)
        )
        return UnitType(**added.mappings().one())

    async def towers(
        self,
        project_id: uuid.UUID,
        *,
        builder_id: uuid.UUID | None,
        after: uuid.UUID | None,
        limit: int,
    ) -> list[Tower]:
        """Towers in the order they were added; raises NotFound when the builder may not see the project."""
        rows = await self._parts(_TOWERS, project_id, builder_id, after, limit)
        return [Tower(**row) for row in rows]

    async def unit_types(
        self,
        project_id: uuid.UUID,
        *,
        builder_id: uuid.UUID | None,
        after: uuid.UUID | None,
        limit: int,
    ) -> list[UnitType]:
        """Unit types in the order they were added; raises NotFound when the builder may not see the project."""
        rows = await self._parts(_UNIT_TYPES, project_id, builder_id, after, limit)
        return [UnitType(**row) for row in rows]

    async def _parts(
        self,
        statement: Select[Any],
        project_id: uuid.UUID,
        builder_id: uuid.UUID | None,
        after: uuid.UUID | None,
        limit: int,
    ) -> list[dict[str, Any]]:
        rows = await self._database.fetch(
            statement,
            {"id": project_id, "builder_id": builder_id, "after": after or FIRST, "limit": limit},
        )
        if not rows:
            raise not_found()
        return [dict(row) for row in rows if row["id"] is not None]


def not_found() -> NotFound:
    return NotFound("There is no such project.")


def _columns(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that `changes` of a Project set."""
    columns = dict(changes)
    if "address" in columns:
        address = columns.pop("address")
        columns |= {
            column: getattr(address, name) if address else None
            for name, column in _COLUMNS_OF_ADDRESS.items()
        }
    if "amenities" in columns:
        columns["amenities"] = list(columns["amenities"])
    return columns


def _existing(row: Any) -> Project:
    if row is None:
        raise not_found()
    return _project(row)


def _project(row: Any) -> Project:
    values = dict(row)
    address = {name: values.pop(column) for name, column in _COLUMNS_OF_ADDRESS.items()}
    values["address"] = Address(**address) if address["city"] is not None else None
    values["amenities"] = tuple(values["amenities"])
    values["status"] = ProjectStatus(values["status"])
    return Project(**values)
