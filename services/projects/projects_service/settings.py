"""The settings of the projects service."""

from pydantic import Field

from chassis.settings import ServiceSettings


class ProjectsSettings(ServiceSettings):
    """Read from the environment; see .env.example."""

    service_id: str = "projects"
    grpc_port: int = 50054
    metrics_port: int = 9104
    # How many units of one project somebody may hold at a time.
    holds_per_buyer: int = Field(default=3, ge=1, le=1000)
    holds_per_agent: int = Field(default=20, ge=1, le=1000)
