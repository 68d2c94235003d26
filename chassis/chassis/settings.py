"""Settings of every process, read from the environment once, at start-up, and never again."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

# What .env.example shows in place of a secret; nobody may run on it outside development.
PLACEHOLDER = "change-me"
SHORTEST_SECRET = 32

Environment = Literal["development", "staging", "production"]


def _secret(value: SecretStr) -> SecretStr:
    clear = value.get_secret_value()
    if len(clear) < SHORTEST_SECRET:
        raise ValueError(f"must have at least {SHORTEST_SECRET} characters")
    if PLACEHOLDER in clear:
        raise ValueError("is the placeholder of .env.example: make one with `openssl rand -hex 32`")
    return value


# A secret of ours: long, not the placeholder, and never shown by repr().
Secret = Annotated[SecretStr, AfterValidator(_secret)]
# The one in use and, after commas, those that it replaced and that are believed a while longer.
Secrets = Annotated[
    tuple[SecretStr, ...],
    NoDecode,
    BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value),
    AfterValidator(lambda values: tuple(_secret(value) for value in values)),
]


def clear(secrets: Iterable[SecretStr]) -> list[str]:
    """What the secrets are."""
    return [secret.get_secret_value() for secret in secrets]


class Settings(BaseSettings):
    """What every process is told. Variables have the field's name in upper case."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    environment: Environment = "production"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", ""] = ""
    redis_url: SecretStr
    metrics_port: int = Field(ge=0, le=65535)
    token_issuer: str = "propmubi-auth"  # noqa: S105  A name.
    token_audience: str = "propmubi"  # noqa: S105  A name.
    trace_sample_ratio: float = Field(default=0.01, ge=0, le=1)
    otel_exporter_otlp_endpoint: str = ""
    auth_target: str = "dns:///localhost:50051"
    agents_target: str = "dns:///localhost:50052"
    crm_target: str = "dns:///localhost:50053"
    projects_target: str = "dns:///localhost:50054"
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    tls_ca_file: Path | None = None

    @model_validator(mode="after")
    def _check_certificates(self) -> Self:
        files = (self.tls_cert_file, self.tls_key_file, self.tls_ca_file)
        if any(files) and not all(files):
            raise ValueError(
                "TLS_CERT_FILE, TLS_KEY_FILE and TLS_CA_FILE belong together: set all three or none"
            )
        return self

    @property
    def level(self) -> str:
        """The log level: as set, else DEBUG in development and INFO elsewhere."""
        return self.log_level or ("DEBUG" if self.environment == "development" else "INFO")


class ServiceSettings(Settings):
    """What every gRPC service is told besides."""

    grpc_host: str = "0.0.0.0"  # noqa: S104  A pod serves its peers; `make up` says 127.0.0.1.
    grpc_port: int = Field(ge=0, le=65535)
    # Where health alone is served in clear, for a kubelet, whose gRPC probe speaks no TLS; 0 for nowhere.
    health_port: int = Field(default=0, ge=0, le=65535)
    database_url: SecretStr
    database_pool_size: int = Field(default=10, ge=1, le=20)
    # PgBouncer in transaction mode can't keep prepared statements of a client: 0 turns them off.
    database_statement_cache_size: int = Field(default=256, ge=0)
    service_id: str
    service_secret: Secret
    cursor_key: Secrets


SettingsT = TypeVar("SettingsT", bound=Settings)


def load(settings_class: type[SettingsT]) -> SettingsT:
    """The settings from the environment, and from the files in SECRETS_DIR that have their names; or the end of the
    process with one line for each that is missing or wrong.
    """
    try:
        return settings_class(_secrets_dir=os.environ.get("SECRETS_DIR"))
    except ValidationError as error:
        for fault in error.errors():
            name = ".".join(str(part) for part in fault["loc"]).upper()
            message = (
                "is not set"
                if fault["type"] == "missing"
                else fault["msg"].removeprefix("Value error, ")
            )
            sys.stderr.write(f"{name}: {message}\n" if name else f"{message}\n")
    except SettingsError as error:
        # A list or a table that can't be read; the error behind it would show the value.
        sys.stderr.write(f"{str(error).splitlines()[0]}\n")
    raise SystemExit(2)
