"""The projects service: `python -m projects_service`."""

from chassis import process
from chassis.page_tokens import PageTokens
from chassis.service import Service, open_service
from chassis.settings import clear, load
from chassis.timers import sweep
from projects_service.builders.repository import BuilderRepository
from projects_service.builders.service import BuilderService
from projects_service.builders.servicer import BuilderServicer
from projects_service.clients import Leads
from projects_service.projects.repository import ProjectRepository
from projects_service.projects.service import ProjectService
from projects_service.projects.servicer import ProjectServicer
from projects_service.settings import ProjectsSettings
from projects_service.units.consumers import PeopleConsumers
from projects_service.units.domain import HoldLimits
from projects_service.units.repository import UnitRepository
from projects_service.units.service import UnitService
from projects_service.units.servicer import UnitServicer
from propmubi.crm.v1 import leads_pb2
from propmubi.projects.v1.builders_pb2_grpc import add_BuilderServiceServicer_to_server
from propmubi.projects.v1.projects_pb2_grpc import add_ProjectServiceServicer_to_server
from propmubi.projects.v1.units_pb2_grpc import add_UnitServiceServicer_to_server

# Readers see a hold that ran out as free at once; the event that tells the other services waits for this at most.
EXPIRE_SECONDS = 5.0
LAPSE_SECONDS = 60.0


def wire(service: Service) -> list[str]:
    """Put the servicers, consumers and timers on `service`; the gRPC services it then serves."""
    settings = service.settings
    assert isinstance(settings, ProjectsSettings)
    database, server = service.database, service.server.server
    page_tokens = PageTokens(*clear(settings.cursor_key))
    builder_rows = BuilderRepository(database)
    builders = BuilderService(builder_rows)
    projects = ProjectService(ProjectRepository(database), builder_rows)
    limits = HoldLimits(buyer=settings.holds_per_buyer, agent=settings.holds_per_agent)
    units = UnitService(UnitRepository(database), limits)
    leads = Leads(service.channel(settings.crm_target, leads_pb2.DESCRIPTOR))
    add_BuilderServiceServicer_to_server(BuilderServicer(database, builders, page_tokens), server)
    add_ProjectServiceServicer_to_server(ProjectServicer(database, projects, page_tokens), server)
    add_UnitServiceServicer_to_server(UnitServicer(database, units, leads, page_tokens), server)
    service.consume("auth", PeopleConsumers(units, builders).of_auth)
    service.every(EXPIRE_SECONDS, "expire holds", sweep(database, units.expire))
    service.every(LAPSE_SECONDS, "lapse projects", sweep(database, projects.lapse))
    return [
        "propmubi.projects.v1.BuilderService",
        "propmubi.projects.v1.ProjectService",
        "propmubi.projects.v1.UnitService",
    ]


async def main() -> None:
    async with open_service(load(ProjectsSettings), "projects") as service:
        await service.run(wire(service))


if __name__ == "__main__":
    process.run(main)
