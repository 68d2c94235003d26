"""Settings of the gateway, from the environment."""

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from chassis.quota import Quota, QuotaSetting
from chassis.settings import Settings
from gateway.rate_limit import GUARDED, Allowance
from propmubi.options.v1.options_pb2 import RateLimit


def parse_origins(text: object) -> tuple[str, ...]:
    """Comma-separated origins, each exactly as a browser sends it."""
    given = text if isinstance(text, tuple) else str(text).split(",")
    origins = tuple(origin.strip() for origin in given if origin.strip())
    for origin in origins:
        url = urlsplit(origin)
        if url.scheme not in ("http", "https") or f"{url.scheme}://{url.netloc.lower()}" != origin:
            raise ValueError(
                f"{origin} is no origin: write scheme, host and port, such as https://app.example.in"
            )
    return origins


Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_origins)]


class GatewaySettings(Settings):
    """What the gateway is told besides."""

    metrics_port: int = Field(default=9100, ge=0, le=65535)
    gateway_host: str = ""
    gateway_port: int = Field(default=8000, ge=0, le=65535)
    # How much the gateway keeps of what it answered those who are not signed in; 0 for nothing.
    cache_bytes: int = Field(default=32 << 20, ge=0)
    cors_origins: Origins = ("http://localhost:3005", "http://localhost:3006")
    trusted_proxies: int = Field(default=0, ge=0, le=10)
    read_limit: QuotaSetting = Quota(600, 60)
    write_limit: QuotaSetting = Quota(120, 60)
    auth_limit_per_address: QuotaSetting = Quota(10, 900)
    otp_send_limit_per_address: QuotaSetting = Quota(10, 900)
    # Thousands of people behind one address renew their tokens every ten minutes; each session has a limit in auth.
    refresh_limit_per_address: QuotaSetting = Quota(3000, 900)
    # How long /readyz says no before connections are refused, so that load balancers have looked elsewhere.
    drain_seconds: float = Field(default=2.0, ge=0, le=5)

    @property
    def host(self) -> str:
        """Where to listen: as set, else everywhere in a pod and only locally in development."""
        return self.gateway_host or (
            "127.0.0.1" if self.environment == "development" else "0.0.0.0"  # noqa: S104
        )

    def allowances(self) -> Mapping[RateLimit.ValueType, Allowance]:
        """The allowance that each class of the contract draws on."""
        quotas = {
            RateLimit.RATE_LIMIT_READ: ("read", self.read_limit),
            RateLimit.RATE_LIMIT_WRITE: ("write", self.write_limit),
            RateLimit.RATE_LIMIT_AUTH_ATTEMPT: ("auth", self.auth_limit_per_address),
            RateLimit.RATE_LIMIT_OTP_SEND: ("otp", self.otp_send_limit_per_address),
            RateLimit.RATE_LIMIT_AUTH_REFRESH: ("refresh", self.refresh_limit_per_address),
        }
        return {
            kind: Allowance(name, quota, guarded=kind in GUARDED)
            for kind, (name, quota) in quotas.items()
        }

    def target(self, service: str) -> str:
        """Where a service is reached."""
        targets = {
            "auth": self.auth_target,
            "agents": self.agents_target,
            "crm": self.crm_target,
            "projects": self.projects_target,
        }
        return targets[service]
