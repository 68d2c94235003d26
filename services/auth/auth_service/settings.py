"""The settings of the auth service."""

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from chassis import phones
from chassis.errors import InvalidArgument
from chassis.quota import Quota, QuotaSetting, QuotasSetting
from chassis.settings import Secret, Secrets
from chassis.sms import SmsSettings

LEAST_PASSWORD_COST = 12


def parse_phones(text: object) -> frozenset[str]:
    """Comma-separated phones, each in E.164 form."""
    if isinstance(text, frozenset):
        return text
    try:
        return frozenset(phones.normalise(phone) for phone in str(text).split(",") if phone.strip())
    except InvalidArgument as error:
        raise ValueError("must be phones separated by commas, such as +919876543210") from error


def parse_countries(text: object) -> frozenset[str]:
    """Comma-separated countries, two letters each."""
    if isinstance(text, frozenset):
        return text
    countries = frozenset(country.strip().upper() for country in str(text).split(","))
    if any(len(country) != 2 or not country.isalpha() for country in countries):
        raise ValueError("must be countries of two letters separated by commas, such as IN,AE")
    return countries


def parse_service_secrets(value: object) -> object:
    """`agents=…,crm=…`: each service's secrets by its name, which may be there again with one that it replaced."""
    if isinstance(value, dict):
        return value
    pairs = [pair.partition("=") for pair in str(value).split(",") if pair.strip()]
    if not all(name.strip() and separator for name, separator, _ in pairs):
        raise ValueError("must be pairs separated by commas, such as agents=…,crm=…")
    secrets: dict[str, list[str]] = {}
    for name, _, secret in pairs:
        secrets.setdefault(name.strip(), []).append(secret.strip())
    return secrets


Phones = Annotated[frozenset[str], NoDecode, BeforeValidator(parse_phones)]
Countries = Annotated[frozenset[str], NoDecode, BeforeValidator(parse_countries)]
ServiceSecrets = Annotated[dict[str, Secrets], NoDecode, BeforeValidator(parse_service_secrets)]


class AuthSettings(SmsSettings):
    """Read from the environment; see .env.example."""

    service_id: str = "auth"
    grpc_port: int = 50051
    metrics_port: int = 9101
    # What one-time passwords and refresh tokens are hashed with, and what signing keys are encrypted with at rest.
    otp_pepper: Secret
    refresh_key: Secrets
    key_encryption_key: Secrets
    service_secrets: ServiceSecrets
    # Whoever signs in with one of these phones is an administrator.
    admin_phones: Phones = frozenset()
    # The countries that one-time passwords are sent to.
    otp_countries: Countries = frozenset({"IN"})
    otp_send_limit_per_phone: QuotasSetting = (Quota(1, 30), Quota(3, 600), Quota(10, 86_400))
    # Per ten thousand neighbouring numbers.
    otp_send_limit_per_range: QuotasSetting = (Quota(30, 3600),)
    # What all codes of a day may cost, in messages.
    otp_sends_per_day: int = Field(default=10_000, ge=1)
    # Tries to sign in, and failures among them, per phone and method.
    auth_limit_per_identifier: QuotasSetting = (Quota(10, 900),)
    auth_failures_per_identifier: QuotasSetting = (Quota(10, 3600),)
    # Of bcrypt: one more is twice the time. Less than 12 is for tests.
    password_cost: int = Field(default=12, ge=4, le=16)
    # Refreshes, per session.
    refresh_limit: QuotaSetting = Quota(60, 900)

    @model_validator(mode="after")
    def _costly_enough(self) -> Self:
        if self.password_cost < LEAST_PASSWORD_COST and self.environment != "development":
            raise ValueError(f"PASSWORD_COST must be at least {LEAST_PASSWORD_COST}")
        return self
