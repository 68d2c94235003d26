"""What can be done with projects, and by whom."""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chassis import rera
from chassis.database import Transaction
from chassis.errors import PermissionDenied, check_version
from chassis.identity import Principal
from chassis.india import today
from projects_service.builders.repository import BuilderRepository
from projects_service.history import CLOCK
from projects_service.projects.domain import (
    LAPSES,
    Description,
    Owner,
    Project,
    ProjectStatus,
    Tower,
    UnitType,
    changed,
    check_areas,
    check_move,
)
from projects_service.projects.repository import ProjectRepository, not_found
from propmubi.projects.v1.events_pb2 import ProjectLapsed, ProjectPublished, ProjectUpdated


class ProjectService:
    """The use cases of projects. Each write takes the transaction that its caller opened."""

    def __init__(self, projects: ProjectRepository, builders: BuilderRepository) -> None:
        self._projects = projects
        self._builders = builders

    async def create(
        self, tx: Transaction, caller: Principal, description: Mapping[str, Any]
    ) -> Project:
        """A draft of the caller's builder; raises Conflict while it is not active."""
        wanted = Description(**description)
        builder_id = builder_of(caller)
        await self._builders.active_name(tx, builder_id)
        return await self._projects.add(tx, builder_id, wanted, _verification(wanted))

    async def get(self, caller: Principal | None, project_id: uuid.UUID) -> Project:
        """The project, if `caller` may see it; raises NotFound."""
        project = await self._projects.get(project_id)
        if not project.is_public and not _owns(caller, project):
            raise not_found()
        return project

    async def list_page(
        self, caller: Principal | None, filters: Mapping[str, Any], limit: int
    ) -> list[Project]:
        """A page of the projects that `caller` may see."""
        builder_id = caller.builder_id if caller else None
        return await self._projects.list_page(filters, seen_by_builder=builder_id, limit=limit)

    async def update(
        self,
        tx: Transaction,
        caller: Principal,
        project_id: uuid.UUID,
        changes: Mapping[str, Any],
        expected_version: int | None,
    ) -> Project:
        """Change the caller's own project."""
        project = await self._own(tx, caller, project_id)
        check_version(expected_version, project.version)
        after = changed(project, replace(project, **changes))
        wanted = {**changes, "verification_status": _verification(after)}
        after = await self._projects.change(tx, project, wanted, caller.subject)
        if project.is_public:
            tx.publish(ProjectUpdated(fields=changes, **_said_of(after)), after.id)
        return after

    async def move(
        self, tx: Transaction, caller: Principal, project_id: uuid.UUID, status: ProjectStatus
    ) -> Project:
        """Move the caller's own project, and tell the other services when it goes on sale."""
        project = await self._own(tx, caller, project_id)
        check_move(project, status, today())
        if status is ProjectStatus.SELLING:
            builder_name = await self._builders.active_name(tx, project.builder_id)
            published = ProjectPublished(builder_name=builder_name, **_said_of(project))
            tx.publish(published, project.id)
        return await self._projects.change(tx, project, {"status": status}, caller.subject)

    async def lapse(self, tx: Transaction) -> int:
        """Take projects past their registration off the market; how many, LAPSE_BATCH at most."""
        before, after = LAPSES
        past = await self._projects.locked_past_registration(tx, before, today())
        for project in past:
            await self._projects.change(tx, project, {"status": after}, CLOCK)
            event = ProjectLapsed(project_id=str(project.id), builder_id=str(project.builder_id))
            tx.publish(event, project.id)
        return len(past)

    async def owner(self, project_id: uuid.UUID) -> Owner:
        """Who is to get an enquiry about a project; raises NotFound."""
        return await self._projects.owner(project_id)

    async def add_tower(
        self, tx: Transaction, caller: Principal, project_id: uuid.UUID, tower: Mapping[str, Any]
    ) -> Tower:
        """Add a tower to the caller's own project; raises AlreadyExists for a name it has."""
        await self._own(tx, caller, project_id)
        return await self._projects.add_tower(tx, project_id, tower)

    async def add_unit_type(
        self,
        tx: Transaction,
        caller: Principal,
        project_id: uuid.UUID,
        unit_type: Mapping[str, Any],
    ) -> UnitType:
        """Add a unit type to the caller's own project."""
        check_areas(
            unit_type["carpet_area"], unit_type["built_up_area"], unit_type["super_built_up_area"]
        )
        await self._own(tx, caller, project_id)
        return await self._projects.add_unit_type(tx, project_id, unit_type)

    async def towers(
        self,
        caller: Principal | None,
        project_id: uuid.UUID,
        *,
        after: uuid.UUID | None,
        limit: int,
    ) -> list[Tower]:
        """A page of the towers of a project that `caller` may see; raises NotFound."""
        builder_id = caller.builder_id if caller else None
        return await self._projects.towers(
            project_id, builder_id=builder_id, after=after, limit=limit
        )

    async def unit_types(
        self,
        caller: Principal | None,
        project_id: uuid.UUID,
        *,
        after: uuid.UUID | None,
        limit: int,
    ) -> list[UnitType]:
        """A page of the unit types of a project that `caller` may see; raises NotFound."""
        builder_id = caller.builder_id if caller else None
        return await self._projects.unit_types(
            project_id, builder_id=builder_id, after=after, limit=limit
        )

    async def _own(self, tx: Transaction, caller: Principal, project_id: uuid.UUID) -> Project:
        project = await self._projects.locked(tx, project_id)
        if not _owns(caller, project):
            raise not_found()
        return project


def builder_of(caller: Principal) -> uuid.UUID:
    """The builder that `caller` acts for."""
    if caller.builder_id is None:
        raise PermissionDenied("Only a builder may do that.")
    return caller.builder_id


def _owns(caller: Principal | None, project: Project) -> bool:
    return caller is not None and caller.builder_id == project.builder_id


def _said_of(project: Project) -> dict[str, str]:
    """What events say of a project that is public, and so has an address."""
    assert project.address is not None
    return {
        "project_id": str(project.id),
        "builder_id": str(project.builder_id),
        "project_name": project.project_name,
        "city": project.address.city,
    }


def _verification(description: Description) -> str:
    state = description.address.state if description.address else None
    return rera.check("project", state, description.rera_project_no)
