"""The projects service on a real socket, and a shorthand for what its tests set up: a builder, a project, its units."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest_asyncio
from sqlalchemy import select, text

from chassis import tables
from devstack.testing_service import Running, RunService, Tokens
from projects_service.__main__ import wire
from projects_service.builders.repository import BuilderRepository
from projects_service.projects.repository import ProjectRepository
from projects_service.projects.service import ProjectService
from projects_service.settings import ProjectsSettings
from projects_service.units.domain import HoldLimits
from projects_service.units.repository import UnitRepository
from projects_service.units.service import UnitService
from propmubi.crm.v1 import leads_pb2
from propmubi.projects.v1 import (
    builders_pb2,
    builders_pb2_grpc,
    projects_pb2,
    projects_pb2_grpc,
    units_pb2,
    units_pb2_grpc,
)

ADDRESS = {
    "subdivision_name": "Wakad",
    "city": "Pune",
    "state": "Maharashtra",
    "postal_code": "411057",
}


@dataclass
class Crm:
    """Stands in for crm, on a real socket: a lead is seen by those whose token is listed with it."""

    leads: dict[str, str] = field(default_factory=dict)
    server: grpc.aio.Server = field(default_factory=grpc.aio.server)
    target: str = ""

    async def start(self) -> None:
        get_lead = grpc.unary_unary_rpc_method_handler(
            self._get_lead,
            request_deserializer=leads_pb2.GetLeadRequest.FromString,
            response_serializer=leads_pb2.Lead.SerializeToString,
        )
        leads = grpc.method_handlers_generic_handler(
            "propmubi.crm.v1.LeadService", {"GetLead": get_lead}
        )
        self.server.add_generic_rpc_handlers((leads,))
        self.target = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        await self.server.start()

    async def stop(self) -> None:
        await self.server.stop(None)

    async def _get_lead(self, request: leads_pb2.GetLeadRequest, context: Any) -> leads_pb2.Lead:
        token = dict(context.invocation_metadata())["authorization"].removeprefix("Bearer ")
        if self.leads.get(request.lead_id) != token:
            await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such lead.")
        return leads_pb2.Lead(id=request.lead_id)


@dataclass
class Sales:
    """A running projects service, with a builder who is active and a project of hers on sale."""

    running: Running
    tokens: Tokens
    crm: Crm
    builder_id: uuid.UUID = field(default_factory=uuid.uuid4)
    token: str = ""
    project_id: str = ""
    tower_id: str = ""
    unit_type_id: str = ""

    def builders(self, token: str | None = None, **metadata: str) -> Any:
        return builders_pb2_grpc.BuilderServiceStub(self.running.caller(token, **metadata))

    def projects(self, token: str | None = None, **metadata: str) -> Any:
        return projects_pb2_grpc.ProjectServiceStub(self.running.caller(token, **metadata))

    def units(self, token: str | None = None, **metadata: str) -> Any:
        return units_pb2_grpc.UnitServiceStub(self.running.caller(token, **metadata))

    async def active_builder(self) -> tuple[uuid.UUID, str]:
        """A builder who is verified, and its token."""
        user_id = uuid.uuid4()
        company = builders_pb2.Builder(
            builder_name="Sahyadri Homes LLP",
            rera_promoter_no="P52100012345",
            rera_state="Maharashtra",
            gstin="27AAPFU0939F1ZV",
        )
        builder = await self.builders(self.tokens.person(user_id=user_id)).CreateBuilder(
            builders_pb2.CreateBuilderRequest(builder=company)
        )
        await self.builders(self.tokens.admin()).VerifyBuilder(
            builders_pb2.VerifyBuilderRequest(builder_id=builder.id)
        )
        builder_id = uuid.UUID(builder.id)
        return builder_id, self.tokens.builder(builder_id, user_id=user_id)

    async def draft(self, token: str, **changes: Any) -> projects_pb2.Project:
        fields: dict[str, Any] = {
            "project_name": "Sahyadri Greens",
            "rera_project_no": "P52100012345",
            "rera_valid_to": "2099-12-31",
            "address": ADDRESS,
            "latitude": 18.5986,
            "longitude": 73.7668,
            "amenities": ["gym", "clubhouse"],
            **changes,
        }
        project: projects_pb2.Project = await self.projects(token).CreateProject(
            projects_pb2.CreateProjectRequest(project=projects_pb2.Project(**fields))
        )
        return project

    async def set_status(self, token: str, project_id: str, *statuses: str) -> projects_pb2.Project:
        project = projects_pb2.Project()
        for status in statuses:
            number = projects_pb2.ProjectStatus.Value(f"PROJECT_STATUS_{status.upper()}")
            project = await self.projects(token).SetProjectStatus(
                projects_pb2.SetProjectStatusRequest(project_id=project_id, status=number)
            )
        return project

    async def unit(self, unit_no: str = "A-101", **fields: Any) -> units_pb2.Unit:
        unit = units_pb2.Unit(
            tower_id=self.tower_id, unit_type_id=self.unit_type_id, unit_no=unit_no, **fields
        )
        added: units_pb2.Unit = await self.units(self.token).CreateUnit(
            units_pb2.CreateUnitRequest(project_id=self.project_id, unit=unit)
        )
        return added

    async def open(self) -> None:
        """Make the builder, and put a project with a tower and a unit type on sale."""
        self.builder_id, self.token = await self.active_builder()
        self.project_id = (await self.draft(self.token)).id
        mine = self.projects(self.token)
        tower = await mine.CreateTower(
            projects_pb2.CreateTowerRequest(
                project_id=self.project_id,
                tower=projects_pb2.Tower(name="Tower A", total_floors=22),
            )
        )
        unit_type = await mine.CreateUnitType(
            projects_pb2.CreateUnitTypeRequest(
                project_id=self.project_id,
                unit_type=projects_pb2.UnitType(bhk=2, carpet_area=780, base_price=8_500_000),
            )
        )
        self.tower_id, self.unit_type_id = tower.id, unit_type.id
        await self.set_status(self.token, self.project_id, "registered", "selling")

    def service_of_projects(self) -> ProjectService:
        """What the timer lapses with."""
        database = self.running.database
        return ProjectService(ProjectRepository(database), BuilderRepository(database))

    def service_of_units(self) -> UnitService:
        """What the timer sweeps with."""
        return UnitService(UnitRepository(self.running.database), HoldLimits(buyer=1, agent=1))

    async def events(self, aggregate_id: str | None = None) -> list[str]:
        """The names of the events so far, of one aggregate or of all."""
        query = select(tables.outbox.c.name).order_by(tables.outbox.c.position)
        if aggregate_id is not None:
            query = query.where(tables.outbox.c.aggregate_id == uuid.UUID(aggregate_id))
        async with self.running.database.engine.connect() as connection:
            return list((await connection.execute(query)).scalars())

    async def sql(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Run a statement, such as one that lets time pass; its rows, if it has any."""
        async with self.running.database.engine.begin() as connection:
            result = await connection.execute(text(statement), parameters)
            return [tuple(row) for row in result] if result.returns_rows else []

    async def let_expire(self, unit_id: str) -> None:
        """Let the claim on a unit run out, unseen by the sweep."""
        for table, column in (("units", "id"), ("claims", "unit_id")):
            ended = "" if table == "units" else " and ended_at is null"
            name = "claim_expires_at" if table == "units" else "expires_at"
            await self.sql(
                f"update {table} set {name} = now() - interval '1 second' where {column} = :id{ended}",
                id=uuid.UUID(unit_id),
            )


@pytest_asyncio.fixture
async def crm() -> AsyncIterator[Crm]:
    crm = Crm()
    await crm.start()
    yield crm
    await crm.stop()


@pytest_asyncio.fixture
async def service(run_service: RunService, tokens: Tokens, crm: Crm) -> AsyncIterator[Sales]:
    """The service without data."""
    async with run_service("projects", wire, ProjectsSettings, crm_target=crm.target) as running:
        yield Sales(running, tokens, crm)


@pytest_asyncio.fixture
async def sales(service: Sales) -> Sales:
    """The service with a project on sale."""
    await service.open()
    return service
