"""The auth service under test: the real one in this process, over a real socket, with its text messages in a file.

After every test its log, at DEBUG, is searched for what must never be in one.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from pydantic import SecretStr

from auth_service.__main__ import own_keys, wire
from auth_service.settings import AuthSettings
from chassis import logs, phones
from chassis.service import open_service
from chassis.settings import Settings
from chassis.sms import open_sms
from devstack.leaks import leaks, sensitive_values
from devstack.testing import ServiceDatabase
from devstack.testing_service import SECRET, Running
from propmubi.auth.v1 import accounts_pb2
from propmubi.auth.v1 import auth_pb2 as pb
from propmubi.auth.v1.accounts_pb2_grpc import AccountServiceStub
from propmubi.auth.v1.administration_pb2_grpc import AdministrationServiceStub
from propmubi.auth.v1.auth_pb2_grpc import AuthServiceStub, UserServiceStub
from propmubi.auth.v1.consents_pb2_grpc import ConsentServiceStub
from propmubi.auth.v1.sessions_pb2_grpc import SessionServiceStub
from propmubi.auth.v1.signing_keys_pb2_grpc import SigningKeyServiceStub

PHONE = "+919876543210"
# Whoever holds it is an administrator, unless a test says otherwise.
ADMIN_PHONE = "+919999900001"
AGENT = "test-browser/1.0"


def other_than(code: str, step: int = 1) -> str:
    """A wrong code, another for each `step`."""
    return f"{(int(code) + step) % 1_000_000:06d}"


class Auth:
    """A running auth service, and a person's way through it."""

    def __init__(self, running: Running, outbox: Path, secrets: set[str]) -> None:
        self.running = running
        self.database = running.database
        self._outbox = outbox
        self._secrets = secrets

    def stub(self, token: str | None = None, *, agent: str = AGENT, **metadata: str) -> Any:
        return AuthServiceStub(self.running.caller(token, x_client_user_agent=agent, **metadata))

    def administration(self, token: str) -> Any:
        return AdministrationServiceStub(self.running.caller(token))

    def consents(self, token: str) -> Any:
        return ConsentServiceStub(self.running.caller(token))

    def accounts(self, token: str, **metadata: str) -> Any:
        return AccountServiceStub(self.running.caller(token, **metadata))

    def users(self, token: str, **metadata: str) -> Any:
        return UserServiceStub(self.running.caller(token, **metadata))

    def sessions(self, token: str | None, **metadata: str) -> Any:
        return SessionServiceStub(self.running.caller(token, **metadata))

    def signing_keys(self, token: str | None, **metadata: str) -> Any:
        return SigningKeyServiceStub(self.running.caller(token, **metadata))

    async def request_otp(self, phone: str = PHONE) -> tuple[str, str]:
        """A challenge and the code that was sent for it."""
        before = len(self.messages(phone))
        answer = await self.stub().RequestOtp(pb.RequestOtpRequest(phone=phone))
        return answer.challenge_id, await self.code_after(before, phone)

    async def confirmation(self, token: str, phone: str = PHONE) -> accounts_pb2.Confirmation:
        """The proof that whoever holds `token` also holds `phone`."""
        before = len(self.messages(phone))
        answer = await self.accounts(token).RequestConfirmation(
            accounts_pb2.RequestConfirmationRequest()
        )
        code = await self.code_after(before, phone)
        return accounts_pb2.Confirmation(challenge_id=answer.challenge_id, code=code)

    async def code_after(self, before: int, phone: str) -> str:
        """The code in the first message with one to `phone` after the `before` first ones."""
        found = re.search(r"\b\d{6}\b", await self.message_after(before, phone, r"\b\d{6}\b"))
        assert found is not None
        self._secrets.add(found[0])
        return found[0]

    async def message_after(self, before: int, phone: str, pattern: str = "") -> str:
        """The first message to `phone`, of those with `pattern`, after the `before` first ones."""
        async with asyncio.timeout(5):
            while True:
                bodies = [message["body"] for message in self.messages(phone)[before:]]
                if found := next((body for body in bodies if re.search(pattern, body)), None):
                    return found
                await asyncio.sleep(0.005)

    async def verify(self, challenge_id: str, code: str, **metadata: str) -> pb.TokenResponse:
        request = pb.VerifyOtpRequest(challenge_id=challenge_id, code=code)
        answer: pb.TokenResponse = await self.stub(**metadata).VerifyOtp(request)
        return answer

    async def sign_in(self, phone: str = PHONE, **metadata: str) -> pb.TokenResponse:
        return await self.verify(*await self.request_otp(phone), **metadata)

    async def set_password(self, token: str, password: str, **proof: Any) -> None:
        request = accounts_pb2.SetPasswordRequest(password=password, **proof)
        await self.accounts(token).SetPassword(request)

    async def log_in(self, password: str, phone: str = PHONE, **metadata: str) -> pb.TokenResponse:
        request = pb.LogInRequest(phone=phone, password=password)
        answer: pb.TokenResponse = await self.stub(**metadata).LogIn(request)
        return answer

    async def refresh(self, refresh_token: str, **metadata: str) -> pb.TokenResponse:
        request = pb.RefreshTokenRequest(refresh_token=refresh_token)
        answer: pb.TokenResponse = await self.stub(**metadata).RefreshToken(request)
        return answer

    async def me(self, access_token: str) -> pb.User:
        user: pb.User = await self.users(access_token).GetMe(pb.GetMeRequest())
        return user

    def messages(self, phone: str) -> list[dict[str, str]]:
        number = phones.normalise(phone)
        lines = self._outbox.read_text().splitlines() if self._outbox.exists() else []
        return [message for line in lines if (message := json.loads(line))["to"] == number]

    async def rows(self, query: str, *parameters: Any) -> list[Any]:
        """What `query` finds, by asyncpg's own means."""
        pooled = await self.database.engine.raw_connection()
        try:
            driver: Any = pooled.driver_connection
            return list(await driver.fetch(query, *parameters))
        finally:
            pooled.close()

    async def events(self) -> list[str]:
        """What was told of people, in order."""
        told = [row["name"] for row in await self.rows("select name from outbox order by position")]
        return [name for name in told if name != "signing_keys.changed"]


RunAuth = Callable[..., AbstractAsyncContextManager[Auth]]


@pytest.fixture(autouse=True)
def secrets_of_the_test(capfd: pytest.CaptureFixture[str]) -> Iterator[set[str]]:
    """The secrets a test met; none of them, no token and no phone may be in its log."""
    # A test that runs no process logs as one does, and not as structlog does until it is told.
    logs.configure(
        Settings(environment="development", redis_url=SecretStr("redis://"), metrics_port=0), "auth"
    )
    secrets: set[str] = set()
    yield secrets
    logs._output.flush()
    assert leaks("".join(capfd.readouterr()), secrets) == []


@pytest.fixture
def run_auth(
    service_database: ServiceDatabase,
    redis_url: str,
    tmp_path: Path,
    secrets_of_the_test: set[str],
) -> RunAuth:
    """Runs a replica of auth; those of one test share their database and Valkey."""

    def remember(message: Message) -> None:
        secrets_of_the_test.update(sensitive_values(message))

    @asynccontextmanager
    async def run(**settings: Any) -> AsyncIterator[Auth]:
        outbox = tmp_path / "sms.jsonl"
        given: dict[str, Any] = {
            "environment": "development",
            "database_url": await service_database("auth"),
            "redis_url": redis_url,
            "grpc_host": "127.0.0.1",
            "grpc_port": 0,
            "metrics_port": 0,
            "service_secret": SECRET,
            "cursor_key": SECRET,
            "otp_pepper": "pepper-" + SECRET,
            "refresh_key": "refresh-" + SECRET,
            "key_encryption_key": "keys-" + SECRET,
            "service_secrets": f"crm={SECRET},agents={SECRET}-2",
            "password_cost": 4,
            "admin_phones": ADMIN_PHONE,
            "sms_provider": "file",
            "sms_outbox_file": outbox,
            # Most tests ask for codes faster than anybody may.
            "otp_send_limit_per_phone": "1000/1m",
            **settings,
        }
        # None stands for a setting's own default.
        settled = AuthSettings(**{name: it for name, it in given.items() if it is not None})
        async with (
            open_sms(settled) as sms,
            open_service(settled, "auth", own_keys(settled)) as service,
            service.serving(wire(service, sms)),
        ):
            assert service.keys_loaded is not None
            await service.keys_loaded.wait()
            where = f"127.0.0.1:{service.server.port}"
            async with grpc.aio.insecure_channel(where) as channel:
                yield Auth(Running(service, channel, remember), outbox, secrets_of_the_test)

    return run


@pytest.fixture
async def auth(run_auth: RunAuth) -> AsyncIterator[Auth]:
    async with run_auth() as running:
        yield running
