"""The settings of the crm service."""

from datetime import time

from pydantic import Field

from chassis.sms import SmsSettings


class CrmSettings(SmsSettings):
    """Read from the environment; see .env.example."""

    service_id: str = "crm"
    grpc_port: int = 50053
    metrics_port: int = 9103
    # Working hours in India, in which the first-response clock runs.
    business_opens: time = time(9)
    business_closes: time = time(20)
    first_response_minutes: int = Field(default=30, ge=1, le=600)
    # How often to look for leads that nobody owns, and for text messages to send.
    assign_every_seconds: float = Field(default=5.0, gt=0)
    notify_every_seconds: float = Field(default=1.0, gt=0)
    # How many text messages about leads an agent gets in an hour; one more tells her that there are others.
    notices_per_hour: int = Field(default=20, ge=1, le=1000)
