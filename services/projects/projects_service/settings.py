"""The settings of the projects service."""

from chassis.settings import ServiceSettings


class ProjectsSettings(ServiceSettings):
    """Read from the environment; see .env.example."""

    service_id: str = "projects"
    grpc_port: int = 50054
    metrics_port: int = 9104
