"""Which processes the platform is, where they listen and what each is told: the environment of production, in small."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from devstack.process import Problem

SERVICES = ("auth", "agents", "crm", "projects")
PROCESSES = ("gateway", *SERVICES)  # In the order of their metrics ports.

# What development sets unless the environment already says otherwise.
DEVELOPMENT = {
    "ENVIRONMENT": "development",
    "ADMIN_PHONES": "+919999900001",
    "SMS_PROVIDER": "file",
    "TRACE_SAMPLE_RATIO": "1",
    "GATEWAY_HOST": "127.0.0.1",
    "GRPC_HOST": "127.0.0.1",
    # One person at one address is everybody here.
    "READ_LIMIT": "1000000/1m",
    "WRITE_LIMIT": "1000000/1m",
    "REFRESH_LIMIT": "1000000/15m",
    "REFRESH_LIMIT_PER_ADDRESS": "1000000/15m",
    "AUTH_LIMIT_PER_ADDRESS": "1000000/15m",
    "AUTH_LIMIT_PER_IDENTIFIER": "1000/15m",
    "OTP_SEND_LIMIT_PER_ADDRESS": "1000000/15m",
    "AUTH_FAILURES_PER_IDENTIFIER": "1000/15m",
    "OTP_SEND_LIMIT_PER_PHONE": "1000/15m",
    "OTP_SEND_LIMIT_PER_RANGE": "1000/15m",
    "OTP_SENDS_PER_DAY": "1000000",
}


@dataclass(frozen=True)
class Port:
    """A port somebody listens on, and the setting that moves it."""

    number: int
    owner: str
    moved_by: str


@dataclass(frozen=True)
class Platform:
    """The platform as the environment wants it."""

    environment: Mapping[str, str]

    @property
    def gateway_port(self) -> int:
        return self._number("GATEWAY_PORT", 8000)

    @property
    def postgres_port(self) -> int:
        return self._number("POSTGRES_PORT", 15432)

    @property
    def valkey_port(self) -> int:
        return self._number("VALKEY_PORT", 16379)

    def metrics_port(self, process: str) -> int:
        return self._number("METRICS_PORT", 9100) + PROCESSES.index(process)

    def target(self, service: str) -> str:
        """Where gRPC reaches a service, as its peers are told; it listens on this port."""
        default = f"dns:///localhost:{50051 + SERVICES.index(service)}"
        return self.environment.get(f"{service.upper()}_TARGET") or default

    def grpc_port(self, service: str) -> int:
        port = self.target(service).rsplit(":", 1)[-1]
        if not port.isdigit():
            raise Problem(
                f"{service.upper()}_TARGET must end in a port, as in dns:///localhost:50051."
            )
        return int(port)

    @property
    def own_database(self) -> bool:
        return not self.environment.get("DATABASE_URL")

    @property
    def own_redis(self) -> bool:
        return not self.environment.get("REDIS_URL")

    def admin_url(self, secrets: Mapping[str, str]) -> str:
        """The database as its owner: the one of DATABASE_URL, or ours as superuser."""
        ours = f"postgresql://postgres:{secrets['POSTGRES_PASSWORD']}@127.0.0.1:{self.postgres_port}/propmubi"
        return self.environment.get("DATABASE_URL") or ours

    def ports(self) -> list[Port]:
        found = [Port(self.gateway_port, "the gateway", "GATEWAY_PORT=8080")]
        for service in SERVICES:
            moved_by = f"{service.upper()}_TARGET=dns:///localhost:{self.grpc_port(service) + 1000}"
            found.append(Port(self.grpc_port(service), service, moved_by))
        found += [
            Port(self.metrics_port(name), f"{name}'s metrics", "METRICS_PORT=9200")
            for name in PROCESSES
        ]
        if self.own_database:
            found.append(Port(self.postgres_port, "PostgreSQL", "POSTGRES_PORT=15433"))
        if self.own_redis:
            found.append(Port(self.valkey_port, "Valkey", "VALKEY_PORT=16380"))
        return found

    def process_environment(
        self,
        process: str,
        *,
        secrets: Mapping[str, str],
        database_url: str,
        redis_url: str,
        var: Path,
    ) -> dict[str, str]:
        """What one process is told: its own role, its own secrets, and nobody else's."""
        told = dict(DEVELOPMENT) | dict(self.environment)
        told |= {f"{service.upper()}_TARGET": self.target(service) for service in SERVICES}
        told |= {
            "REDIS_URL": redis_url,
            "METRICS_PORT": str(self.metrics_port(process)),
            "SERVICE_ID": process,
            "SERVICE_SECRET": secrets[f"{process.upper()}_SERVICE_SECRET"],
            "CURSOR_KEY": secrets["CURSOR_KEY"],
            "SMS_OUTBOX_FILE": told.get("SMS_OUTBOX_FILE") or str(var / "sms-outbox.jsonl"),
        }
        if process == "gateway":
            told["GATEWAY_PORT"] = str(self.gateway_port)
            del told["CURSOR_KEY"]
            told.pop("DATABASE_URL", None)
        else:
            told["GRPC_PORT"] = str(self.grpc_port(process))
            told["DATABASE_URL"] = role_url(database_url, f"{process}_app", secrets)
        if process == "auth":
            told |= {
                name: secrets[name] for name in ("OTP_PEPPER", "REFRESH_KEY", "KEY_ENCRYPTION_KEY")
            }
            told["SERVICE_SECRETS"] = ",".join(
                f"{name}={secrets[f'{name.upper()}_SERVICE_SECRET']}"
                for name in PROCESSES
                if name != "auth"
            )
        return told

    def _number(self, name: str, default: int) -> int:
        value = self.environment.get(name) or str(default)
        if not value.isdigit() or not 0 < int(value) < 65_536:
            raise Problem(f"{name} must be a port, not {value!r}.")
        return int(value)


def role_url(database_url: str, role: str, secrets: Mapping[str, str]) -> str:
    """The same database, as another role."""
    parts = urlsplit(database_url)
    address = parts.netloc.rpartition("@")[2]
    password = quote(secrets[f"{role.upper()}_PASSWORD"], safe="")
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@{address}"))
