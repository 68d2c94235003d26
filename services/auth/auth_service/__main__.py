"""The auth service: `python -m auth_service`."""

from collections.abc import Callable

from auth_service import timers
from auth_service.access_tokens import AccessTokens
from auth_service.accounts.proof import Proofs
from auth_service.accounts.service import AccountService
from auth_service.accounts.servicer import AccountServicer
from auth_service.administration.service import AdministrationService
from auth_service.administration.servicer import AdministrationServicer
from auth_service.consents.repository import ConsentRepository
from auth_service.consents.service import ConsentService
from auth_service.consents.servicer import ConsentServicer
from auth_service.guesses import Guesses
from auth_service.otp.delivery import Delivery
from auth_service.otp.repository import OtpRepository
from auth_service.otp.sends import Sends
from auth_service.otp.service import OtpService
from auth_service.passwords.hashing import PasswordHasher
from auth_service.passwords.repository import PasswordRepository
from auth_service.passwords.service import PasswordService
from auth_service.servicer import AuthServicer
from auth_service.sessions.repository import SessionRepository
from auth_service.sessions.service import SessionService
from auth_service.sessions.servicer import SessionServicer
from auth_service.settings import AuthSettings
from auth_service.signing_keys.domain import Cipher
from auth_service.signing_keys.service import SigningKeys
from auth_service.signing_keys.servicer import SigningKeyServicer
from auth_service.users.consumers import UserConsumers
from auth_service.users.repository import UserRepository
from auth_service.users.service import UserService
from auth_service.users.servicer import UserServicer
from chassis import process
from chassis.database import Database
from chassis.page_tokens import PageTokens
from chassis.service import Service, open_service
from chassis.settings import clear, load
from chassis.sms import SmsProvider, open_sms
from propmubi.auth.v1.accounts_pb2_grpc import add_AccountServiceServicer_to_server
from propmubi.auth.v1.administration_pb2_grpc import (
    add_AdministrationServiceServicer_to_server,
)
from propmubi.auth.v1.auth_pb2_grpc import (
    add_AuthServiceServicer_to_server,
    add_UserServiceServicer_to_server,
)
from propmubi.auth.v1.consents_pb2_grpc import add_ConsentServiceServicer_to_server
from propmubi.auth.v1.sessions_pb2_grpc import add_SessionServiceServicer_to_server
from propmubi.auth.v1.signing_keys_pb2_grpc import add_SigningKeyServiceServicer_to_server


def own_keys(settings: AuthSettings) -> Callable[[Database], SigningKeys]:
    """What auth verifies its callers with: the keys that it signs with."""
    cipher = Cipher(*clear(settings.key_encryption_key))
    return lambda database: SigningKeys(database, cipher)


def wire(service: Service, sms: SmsProvider) -> list[str]:
    """Put the servicers, consumers and timers on `service`; the gRPC services it then serves."""
    settings, keys = service.settings, service.keys
    assert isinstance(settings, AuthSettings)
    assert isinstance(keys, SigningKeys)
    database, server = service.database, service.server.server
    user_rows, session_rows = UserRepository(database), SessionRepository(database)
    challenges, password_rows = OtpRepository(), PasswordRepository()
    hasher = PasswordHasher(settings.password_cost, *clear(settings.key_encryption_key))
    service.exits.callback(hasher.close)
    page_tokens = PageTokens(*clear(settings.cursor_key))
    tokens = AccessTokens(keys, issuer=settings.token_issuer, audience=settings.token_audience)

    def guesses(method: str) -> Guesses:
        tries, failures = settings.auth_limit_per_identifier, settings.auth_failures_per_identifier
        return Guesses(method, tries=tries, failures=failures)

    sends = Sends(
        challenges,
        countries=settings.otp_countries,
        per_phone=settings.otp_send_limit_per_phone,
        per_range=settings.otp_send_limit_per_range,
        per_day=settings.otp_sends_per_day,
    )
    delivery = Delivery(sms, database, sends)
    users = UserService(user_rows, settings.admin_phones)
    refresh_keys = clear(settings.refresh_key)
    sessions = SessionService(session_rows, users, refresh_keys, settings.refresh_limit)
    pepper = settings.otp_pepper.get_secret_value().encode()
    otp = OtpService(
        challenges, users, sessions, pepper=pepper, sends=sends, guesses=guesses("otp")
    )
    passwords = PasswordService(password_rows, users, sessions, guesses("password"), hasher)
    consents = ConsentService(ConsentRepository(database), users)
    accounts = AccountService(
        database,
        user_rows,
        users=users,
        otp=otp,
        passwords=password_rows,
        sessions=sessions,
        consents=consents,
    )
    administration = AdministrationService(user_rows, users, sessions)

    add_AuthServiceServicer_to_server(
        AuthServicer(
            database,
            otp=otp,
            delivery=delivery,
            passwords=passwords,
            sessions=sessions,
            keys=keys,
            tokens=tokens,
            service_secrets=settings.service_secrets,
        ),
        server,
    )
    add_UserServiceServicer_to_server(UserServicer(database, users), server)
    add_SessionServiceServicer_to_server(SessionServicer(database, sessions, page_tokens), server)
    add_ConsentServiceServicer_to_server(ConsentServicer(database, consents, page_tokens), server)
    add_AccountServiceServicer_to_server(
        AccountServicer(
            database,
            service=accounts,
            users=users,
            otp=otp,
            delivery=delivery,
            passwords=passwords,
            proofs=Proofs(database, otp, passwords),
        ),
        server,
    )
    add_AdministrationServiceServicer_to_server(
        AdministrationServicer(database, administration, users, accounts, page_tokens), server
    )
    add_SigningKeyServiceServicer_to_server(SigningKeyServicer(database, keys), server)

    service.keys_loaded = keys.loaded
    service.works += [keys.run, delivery.run]
    consumers = UserConsumers(users)
    service.consume("agents", consumers.of_agents)
    service.consume("projects", consumers.of_projects)
    clock = timers.Timers(
        database, users, challenges, session_rows, passwords=password_rows, hasher=hasher
    )
    service.every(timers.ADMINS_SECONDS, "revoke former admins", clock.revoke_former_admins)
    service.every(timers.SWEEP_SECONDS, "forget what is over", clock.sweep)
    if len(settings.key_encryption_key) > 1:
        service.every(timers.RENEW_SECONDS, "renew passwords", clock.renew_passwords)
    return [
        "propmubi.auth.v1.AuthService",
        "propmubi.auth.v1.SessionService",
        "propmubi.auth.v1.SigningKeyService",
        "propmubi.auth.v1.UserService",
        "propmubi.auth.v1.AccountService",
        "propmubi.auth.v1.AdministrationService",
        "propmubi.auth.v1.ConsentService",
    ]


async def main() -> None:
    settings = load(AuthSettings)
    async with (
        open_sms(settings) as sms,
        open_service(settings, "auth", own_keys(settings)) as service,
    ):
        await service.run(wire(service, sms))


if __name__ == "__main__":
    process.run(main)
