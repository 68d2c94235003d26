"""The auth service: `python -m auth_service`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from auth_service.access_tokens import AccessTokens
from auth_service.allowances import Allowance
from auth_service.otp.delivery import Delivery
from auth_service.otp.repository import OtpRepository
from auth_service.otp.service import OtpService
from auth_service.servicer import AuthServicer
from auth_service.sessions.repository import SessionRepository
from auth_service.sessions.service import SessionService
from auth_service.settings import AuthSettings
from auth_service.signing_keys.domain import Cipher
from auth_service.signing_keys.service import SigningKeys
from auth_service.timers import Timers
from auth_service.users.consumers import UserConsumers
from auth_service.users.repository import UserRepository
from auth_service.users.service import UserService
from auth_service.users.servicer import UserServicer
from chassis import process
from chassis.service import Service, open_service
from chassis.settings import load
from chassis.sms import open_sms
from propmubi.auth.v1.auth_pb2_grpc import (
    add_AuthServiceServicer_to_server,
    add_UserServiceServicer_to_server,
)

FORMER_ADMINS_SECONDS = 10.0
SWEEP_SECONDS = 3_600.0


@asynccontextmanager
async def open_auth(settings: AuthSettings) -> AsyncIterator[tuple[Service, list[str]]]:
    """The service with its servicers, consumers and timers, and the gRPC services it then serves."""
    cipher = Cipher(settings.key_encryption_key.get_secret_value())
    async with (
        open_sms(settings) as sms,
        open_service(settings, "auth", lambda database: SigningKeys(database, cipher)) as service,
    ):
        keys = service.keys
        assert isinstance(keys, SigningKeys)
        database, server = service.database, service.server.server
        users = UserService(UserRepository(database), settings.admin_phones)
        kept_sessions, challenges = SessionRepository(), OtpRepository()
        sessions = SessionService(
            kept_sessions, settings.refresh_key.get_secret_value().encode(), settings.refresh_limit
        )
        otp = OtpService(
            challenges,
            users,
            sessions,
            pepper=settings.otp_pepper.get_secret_value().encode(),
            countries=settings.otp_countries,
            sends=Allowance("otp sent", settings.otp_send_limit_per_phone),
            failures=Allowance("otp failed", settings.auth_limit_per_identifier),
        )
        delivery = Delivery(sms)
        tokens = AccessTokens(keys, issuer=settings.token_issuer, audience=settings.token_audience)
        add_AuthServiceServicer_to_server(
            AuthServicer(
                database,
                otp=otp,
                delivery=delivery,
                sessions=sessions,
                keys=keys,
                tokens=tokens,
                service_secrets=settings.service_secrets,
            ),
            server,
        )
        add_UserServiceServicer_to_server(UserServicer(database, users), server)
        service.keys_loaded = keys.loaded
        service.works += [keys.run, delivery.run]
        consumers = UserConsumers(users)
        service.consume("agents", consumers.of_agents)
        service.consume("projects", consumers.of_projects)
        timers = Timers(database, users, challenges, kept_sessions)
        service.every(FORMER_ADMINS_SECONDS, "revoke former admins", timers.revoke_former_admins)
        service.every(SWEEP_SECONDS, "forget what is over", timers.sweep)
        yield service, ["propmubi.auth.v1.AuthService", "propmubi.auth.v1.UserService"]


async def main() -> None:
    async with open_auth(load(AuthSettings)) as (service, services):
        await service.run(services)


if __name__ == "__main__":
    process.run(main)
