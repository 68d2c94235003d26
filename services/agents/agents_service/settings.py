"""The settings of the agents service."""

from chassis.settings import ServiceSettings


class AgentsSettings(ServiceSettings):
    """Read from the environment; see .env.example."""

    service_id: str = "agents"
    grpc_port: int = 50052
    metrics_port: int = 9102
