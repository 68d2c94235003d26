"""The settings of the agents service."""

from pydantic import Field

from chassis.sms import SmsSettings


class AgentsSettings(SmsSettings):
    """Read from the environment; see .env.example."""

    service_id: str = "agents"
    grpc_port: int = 50052
    metrics_port: int = 9102
    # How many text messages about saved searches a person gets in a day, and how often to look for some to send.
    alerts_per_day: int = Field(default=5, ge=1, le=100)
    notify_every_seconds: float = Field(default=1.0, gt=0)
