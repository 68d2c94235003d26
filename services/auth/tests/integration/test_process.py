"""The process itself: `python -m auth_service`, started, killed, cut off from its database, and stopped."""

import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from auth_service.sessions.domain import hashed
from chassis.errors import Unavailable
from devstack.leaks import sent_by
from devstack.postgres import Postgres
from devstack.testing import ServiceDatabase
from devstack.testing_service import SECRET, Caller
from propmubi.auth.v1 import auth_pb2 as pb
from propmubi.auth.v1.auth_pb2_grpc import AuthServiceStub, UserServiceStub
from services.auth.tests.conftest import PHONE

Environment = dict[str, str]

# How long a process that starts, stops or is asked may take where many do; what hangs is ended by it.
PATIENCE_SECONDS = 60


@pytest.fixture
async def environment(
    service_database: ServiceDatabase,
    redis_url: str,
    free_port: Callable[[], int],
    tmp_path: Path,
    secrets_of_the_test: set[str],
) -> AsyncIterator[Environment]:
    outbox = tmp_path / "sms.jsonl"
    yield {
        "PATH": os.environ["PATH"],
        "ENVIRONMENT": "development",
        "DATABASE_URL": await service_database("auth"),
        "REDIS_URL": redis_url,
        "GRPC_HOST": "127.0.0.1",
        "GRPC_PORT": str(free_port()),
        "METRICS_PORT": str(free_port()),
        "SERVICE_SECRET": SECRET,
        "CURSOR_KEY": SECRET,
        "OTP_PEPPER": SECRET,
        "REFRESH_KEY": SECRET,
        "KEY_ENCRYPTION_KEY": SECRET,
        "SERVICE_SECRETS": f"crm={SECRET}",
        "SMS_PROVIDER": "file",
        "SMS_OUTBOX_FILE": str(outbox),
    }
    secrets_of_the_test.update(sent_by(outbox))


async def start(environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "auth_service", env=dict(environment), stderr=asyncio.subprocess.PIPE
    )


@asynccontextmanager
async def serving(
    environment: Mapping[str, str],
) -> AsyncIterator[tuple[asyncio.subprocess.Process, grpc.aio.Channel]]:
    process = await start(environment)
    try:
        target = f"127.0.0.1:{environment['GRPC_PORT']}"
        async with grpc.aio.insecure_channel(target) as channel:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await healthy(channel)
            yield process, channel
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def healthy(channel: grpc.aio.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    while True:
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
        except grpc.aio.AioRpcError:
            answer = None
        if answer is not None and answer.status == health_pb2.HealthCheckResponse.SERVING:
            return
        await asyncio.sleep(0.05)


def last_code(environment: Mapping[str, str]) -> str | None:
    """The code in the last message, if any was sent."""
    outbox = Path(environment["SMS_OUTBOX_FILE"])
    lines = outbox.read_text().splitlines() if outbox.exists() else []
    found = re.search(r"\d{6}", json.loads(lines[-1])["body"]) if lines else None
    return found[0] if found else None


def auth(channel: grpc.aio.Channel) -> Any:
    caller: Any = Caller(channel, None, {})
    return AuthServiceStub(caller)


async def sign_in(channel: grpc.aio.Channel, environment: Mapping[str, str]) -> pb.TokenResponse:
    challenge = await auth(channel).RequestOtp(pb.RequestOtpRequest(phone=PHONE))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            code = last_code(environment)
            if code is not None:
                break
            await asyncio.sleep(0.01)
    request = pb.VerifyOtpRequest(challenge_id=challenge.challenge_id, code=code)
    answer: pb.TokenResponse = await auth(channel).VerifyOtp(request)
    return answer


async def refresh(channel: grpc.aio.Channel, token: str) -> pb.TokenResponse:
    request = pb.RefreshTokenRequest(refresh_token=token)
    answer: pb.TokenResponse = await auth(channel).RefreshToken(request)
    return answer


async def me(channel: grpc.aio.Channel, token: str) -> pb.User:
    caller: Any = Caller(channel, token, {})
    answer: pb.User = await UserServiceStub(caller).GetMe(pb.GetMeRequest())
    return answer


async def test_sessions_and_keys_outlive_a_killed_process(environment: Environment) -> None:
    async with serving(environment) as (process, channel):
        signed_in = await sign_in(channel, environment)
        lost = await refresh(channel, signed_in.refresh_token)
        process.kill()
        await process.wait()
    async with serving(environment) as (process, channel):
        await used_just_now(environment)
        assert (await me(channel, signed_in.access_token)).id == signed_in.user.id
        again = await refresh(channel, signed_in.refresh_token)
        assert again.refresh_token == lost.refresh_token
        process.terminate()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await process.wait() == 0


class Proxy:
    """Stands before Postgres. Once armed, it keeps to itself that a commit took place."""

    def __init__(self, host: str, port: int) -> None:
        self._where = host, port
        self.armed = False
        self.committed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_postgres, to_postgres = await asyncio.open_connection(*self._where)
        await asyncio.gather(
            self._pass(reader, to_postgres, holds=False),
            self._pass(from_postgres, writer, holds=True),
        )

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, holds: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if holds and self.armed and b"COMMIT\0" in data:
                    self.committed.set()
                    continue
                writer.write(data)
                await writer.drain()
        writer.close()


async def test_a_refresh_whose_process_is_killed_before_it_answers_has_the_same_successor(
    environment: Environment,
) -> None:
    url = urlsplit(environment["DATABASE_URL"])
    assert url.hostname is not None
    assert url.port is not None
    proxy = Proxy(url.hostname, url.port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    by_proxy = url.netloc.replace(f":{url.port}", f":{server.sockets[0].getsockname()[1]}")
    proxied = {**environment, "DATABASE_URL": url._replace(netloc=by_proxy).geturl()}
    async with serving(proxied) as (process, channel):
        token = (await sign_in(channel, environment)).refresh_token
        proxy.armed = True
        refreshing = asyncio.ensure_future(refresh(channel, token))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await rotated(environment):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await proxy.committed.wait()
        assert not refreshing.done()
        process.kill()
        with pytest.raises(Unavailable):
            await refreshing
    server.close()
    async with serving(environment) as (_, channel):
        await used_just_now(environment)
        again = await asyncio.gather(*(refresh(channel, token) for _ in range(5)))
        [[kept]] = await rotated(environment)
        assert {hashed(answer.refresh_token) for answer in again} == {kept}
        assert (await refresh(channel, again[0].refresh_token)).access_token


async def ask(environment: Environment, statement: str) -> list[Any]:
    """What Postgres says, asked by the test itself."""
    connection = await asyncpg.connect(environment["DATABASE_URL"])
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


async def used_just_now(environment: Environment) -> None:
    """Have refresh tokens been used now, however long a start took since: a lost answer is given again for seconds."""
    await ask(environment, "update refresh_tokens set used_at = now() where used_at is not null")


async def rotated(environment: Environment) -> list[Any]:
    """What refresh tokens were exchanged for, as Postgres has committed it."""
    return await ask(environment, "select rotated_to from refresh_tokens where used_at is not null")


async def test_a_database_that_ends_its_connections_is_found_again(
    environment: Environment, postgres: Postgres
) -> None:
    async with serving(environment) as (process, channel):
        signed_in = await sign_in(channel, environment)
        admin = await asyncpg.connect(postgres.url())
        for _ in range(3):
            await admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'auth_app'"
                " and datname = $1",
                environment["DATABASE_URL"].rpartition("/")[2],
            )
            await asyncio.sleep(
                0.5
            )  # While its relay, its consumers and its timers all meet the loss.
        await admin.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    assert (await me(channel, signed_in.access_token)).id == signed_in.user.id
                    break
                except Unavailable:
                    await asyncio.sleep(0.1)
        await refresh(channel, signed_in.refresh_token)
        assert process.returncode is None


async def test_a_bad_setting_is_one_line_and_exit_code_2(environment: Environment) -> None:
    process = await start({**environment, "KEY_ENCRYPTION_KEY": "short"})
    async with asyncio.timeout(PATIENCE_SECONDS):
        _, printed = await process.communicate()
    assert process.returncode == 2
    assert len(printed.splitlines()) == 1
    assert printed.decode().startswith("KEY_ENCRYPTION_KEY: ")


async def test_another_encryption_secret_is_said_in_clear_and_ends_the_start(
    environment: Environment, capfd: pytest.CaptureFixture[str]
) -> None:
    async with serving(environment):
        pass
    process = await start({**environment, "KEY_ENCRYPTION_KEY": "x" * 32})
    async with asyncio.timeout(PATIENCE_SECONDS):
        await process.communicate()
    assert "KEY_ENCRYPTION_KEY: does not open what the database holds" in "".join(
        capfd.readouterr()
    )
