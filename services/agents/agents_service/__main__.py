"""The agents service: `python -m agents_service`."""

from agents_service.agents.repository import AgentRepository
from agents_service.agents.service import AgentService
from agents_service.agents.servicer import AgentServicer
from agents_service.settings import AgentsSettings
from chassis import process
from chassis.page_tokens import PageTokens
from chassis.service import Service, open_service
from chassis.settings import load
from propmubi.agents.v1.agents_pb2_grpc import add_AgentServiceServicer_to_server


def wire(service: Service) -> list[str]:
    """Put the servicers, consumers and timers on `service`; the gRPC services it then serves."""
    page_tokens = PageTokens(service.settings.cursor_key.get_secret_value())
    agents = AgentService(AgentRepository(service.database))
    add_AgentServiceServicer_to_server(
        AgentServicer(service.database, agents, page_tokens), service.server.server
    )
    return ["propmubi.agents.v1.AgentService"]


async def main() -> None:
    async with open_service(load(AgentsSettings), "agents") as service:
        await service.run(wire(service))


if __name__ == "__main__":
    process.run(main)
