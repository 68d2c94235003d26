"""ProjectService on the wire: messages in, use cases, messages out."""

import uuid
from datetime import date
from typing import Any

from chassis.context import principal, principal_or_none
from chassis.database import Database
from chassis.page_tokens import PageTokens
from chassis.protobuf import fill, masked, value, values
from projects_service.projects.domain import Address, Project, ProjectStatus, Tower, UnitType
from projects_service.projects.service import ProjectService
from propmubi.agents.v1 import listings_pb2
from propmubi.projects.v1 import projects_pb2 as pb
from propmubi.projects.v1 import projects_pb2_grpc

_ADDRESS = ("line", "subdivision_name", "city", "state", "postal_code")
_DESCRIPTION = (
    "project_name",
    "rera_project_no",
    "rera_valid_to",
    "address",
    "latitude",
    "longitude",
    "possession_date",
    "amenities",
)
_PROJECT = (
    "id",
    "builder_id",
    *(name for name in _DESCRIPTION if name != "address"),
    "verification_status",
    "status",
    "version",
    "created_at",
    "updated_at",
)
_TOWER = ("id", "project_id", "name", "total_floors", "created_at")
_UNIT_TYPE_INPUT = (
    "name",
    "bhk",
    "carpet_area",
    "built_up_area",
    "super_built_up_area",
    "base_price",
)
_UNIT_TYPE = ("id", "project_id", *_UNIT_TYPE_INPUT, "created_at")


class ProjectServicer(projects_pb2_grpc.ProjectServiceServicer):
    """Serves propmubi.projects.v1.ProjectService."""

    def __init__(
        self, database: Database, service: ProjectService, page_tokens: PageTokens
    ) -> None:
        self._database = database
        self._service = service
        self._page_tokens = page_tokens

    async def CreateProject(self, request: pb.CreateProjectRequest, context: Any) -> pb.Project:
        description = _from_wire(values(request.project, *_DESCRIPTION))
        async with self._database.transaction() as tx:
            return tx.reply(to_proto(await self._service.create(tx, principal(), description)))

    async def GetProject(self, request: pb.GetProjectRequest, context: Any) -> pb.Project:
        project_id = uuid.UUID(request.project_id)
        return to_proto(await self._service.get(principal_or_none(), project_id))

    async def ListProjects(
        self, request: pb.ListProjectsRequest, context: Any
    ) -> pb.ListProjectsResponse:
        page = self._page_tokens.page(request)
        filters = _filters(request)
        if page.last_id is not None:
            filters["before"] = page.last_id
        found = await self._service.list_page(principal_or_none(), filters, page.limit)
        projects, token = page.cut(found, to_proto)
        return pb.ListProjectsResponse(projects=projects, next_page_token=token)

    async def UpdateProject(self, request: pb.UpdateProjectRequest, context: Any) -> pb.Project:
        changes = _from_wire(masked(request.project, request.update_mask))
        expected = value(request, "expected_version")
        async with self._database.transaction() as tx:
            project = await self._service.update(
                tx, principal(), uuid.UUID(request.project_id), changes, expected
            )
            return tx.reply(to_proto(project))

    async def SetProjectStatus(
        self, request: pb.SetProjectStatusRequest, context: Any
    ) -> pb.Project:
        status = ProjectStatus(value(request, "status"))
        async with self._database.transaction() as tx:
            project = await self._service.move(
                tx, principal(), uuid.UUID(request.project_id), status
            )
            return tx.reply(to_proto(project))

    async def CreateTower(self, request: pb.CreateTowerRequest, context: Any) -> pb.Tower:
        tower = values(request.tower, "name", "total_floors")
        project_id = uuid.UUID(request.project_id)
        async with self._database.transaction() as tx:
            added = await self._service.add_tower(tx, principal(), project_id, tower)
            return tx.reply(_tower(added))

    async def ListTowers(
        self, request: pb.ListTowersRequest, context: Any
    ) -> pb.ListTowersResponse:
        page = self._page_tokens.page(request)
        found = await self._service.towers(
            principal_or_none(),
            uuid.UUID(request.project_id),
            after=page.last_id,
            limit=page.limit,
        )
        towers, token = page.cut(found, _tower)
        return pb.ListTowersResponse(towers=towers, next_page_token=token)

    async def CreateUnitType(self, request: pb.CreateUnitTypeRequest, context: Any) -> pb.UnitType:
        unit_type = values(request.unit_type, *_UNIT_TYPE_INPUT)
        project_id = uuid.UUID(request.project_id)
        async with self._database.transaction() as tx:
            added = await self._service.add_unit_type(tx, principal(), project_id, unit_type)
            return tx.reply(_unit_type(added))

    async def ListUnitTypes(
        self, request: pb.ListUnitTypesRequest, context: Any
    ) -> pb.ListUnitTypesResponse:
        page = self._page_tokens.page(request)
        found = await self._service.unit_types(
            principal_or_none(),
            uuid.UUID(request.project_id),
            after=page.last_id,
            limit=page.limit,
        )
        unit_types, token = page.cut(found, _unit_type)
        return pb.ListUnitTypesResponse(unit_types=unit_types, next_page_token=token)

    async def GetProjectOwner(
        self, request: pb.GetProjectOwnerRequest, context: Any
    ) -> pb.ProjectOwner:
        owner = await self._service.owner(uuid.UUID(request.project_id))
        message = pb.ProjectOwner(
            public=owner.status is not ProjectStatus.DRAFT,
            summary=", ".join(filter(None, (owner.project_name, owner.city))),
        )
        fill(message, owner, "builder_id", "user_id", "builder_status")
        return message


def to_proto(project: Project) -> pb.Project:
    message = pb.Project()
    fill(message, project, *_PROJECT)
    if project.address is not None:
        fill(message.address, project.address, *_ADDRESS)
    return message


def _tower(tower: Tower) -> pb.Tower:
    message = pb.Tower()
    fill(message, tower, *_TOWER)
    return message


def _unit_type(unit_type: UnitType) -> pb.UnitType:
    message = pb.UnitType()
    fill(message, unit_type, *_UNIT_TYPE)
    return message


def _from_wire(description: dict[str, Any]) -> dict[str, Any]:
    for name in ("rera_valid_to", "possession_date"):
        if description.get(name) is not None:
            description[name] = date.fromisoformat(description[name])
    address: listings_pb2.Address | None = description.get("address")
    if address is not None:
        description["address"] = Address(**values(address, *_ADDRESS))
    return description


def _filters(request: pb.ListProjectsRequest) -> dict[str, Any]:
    """What `request` asks for, by the names of the repository's filters."""
    asked = values(request, "city", "subdivision_name", "postal_code", "builder_id", "status")
    asked["status"] = list(asked["status"] or (ProjectStatus.SELLING,))
    asked["subdivision_name"] = [name.lower() for name in asked["subdivision_name"]]
    asked["postal_code"] = list(asked["postal_code"])
    if asked["builder_id"] is not None:
        asked["builder_id"] = uuid.UUID(asked["builder_id"])
    return {name: value for name, value in asked.items() if value}
