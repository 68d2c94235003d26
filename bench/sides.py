"""The two sides: the platform, started by devstack on ports and data of its own, and the monolith beside it."""

import asyncio
import json
import os
import re
import secrets
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from urllib.parse import urlsplit

import asyncpg
import httpx
import psutil

from bench.cpu import POSTGRES, Meter
from bench.peers.monolith import security
from bench.peers.monolith.copy import copy_listings
from bench.peers.monolith.settings import Settings
from devstack import secretfile
from devstack.platform import PROCESSES, SERVICES, Platform
from devstack.process import Problem, await_ready, free_port, spawn, stop
from devstack.supervisor import ROOT
from devstack.testing_platform import RunningPlatform, running

MONOLITH_DATABASE = "monolith"
SMS_WITHIN = 10.0
BUYER = "+919999900002"
# As in production, but for what would reach real people or the internet. The monolith sends no SMS, so that here none
# is sent either; the notices of them are written down all the same. Limits are checked, and high enough never to trip.
SETTINGS = {
    "ENVIRONMENT": "staging",
    "LOG_LEVEL": "INFO",
    "TRACE_SAMPLE_RATIO": "0.01",
    "SMS_PROVIDER": "file",
    "NOTIFY_EVERY_SECONDS": "86400",
}


@dataclass(frozen=True)
class Side:
    """Where a side is asked and what its work costs. `token()` is an access token, good for one round,
    of the platform's of any `phone`; `rest()`
    returns when what was asked has nothing left to be done later.
    """

    name: str
    port: int
    meter: Meter
    database_url: str
    token: Callable[..., str]
    rest: Callable[[], None]


@contextmanager
def platform_side(listings: int, **settings: str) -> Iterator[Side]:
    with running(**SETTINGS, DEMO_LISTINGS=str(listings), **settings) as platform:
        described = Platform(os.environ | platform.environment)
        admin_url = described.admin_url(secretfile.read(platform.var / "secrets.env"))
        processes = processes_of(platform)
        yield Side(
            name="platform",
            port=described.gateway_port,
            meter=Meter(processes, processes.pop(POSTGRES), "propmubi"),
            database_url=admin_url,
            token=lambda phone=BUYER: sign_in(platform, phone),
            rest=lambda: asyncio.run(all_published(admin_url)),
        )


@contextmanager
def monolith_side(platform: Side, log: Path) -> Iterator[Side]:
    """One uvicorn worker on the same PostgreSQL, with a database of its own that holds the same listings."""
    url = urlsplit(platform.database_url)._replace(path=f"/{MONOLITH_DATABASE}").geturl()
    asyncio.run(copy_listings(platform.database_url, url))
    settings = Settings(
        port=free_port(),
        database_url=url.replace("postgresql://", "postgresql+asyncpg://"),
        jwt_secret=secrets.token_hex(32),
    )
    told = {name.upper(): str(value) for name, value in settings.model_dump().items()}
    process = spawn(
        [sys.executable, "-m", "bench.peers.monolith"], log=log, env=os.environ | told, cwd=ROOT
    )
    try:
        await_ready(process, lambda: _healthy(settings.port), name="The monolith", log=log)
        yield Side(
            name="monolith",
            port=settings.port,
            meter=Meter({"monolith": process.pid}, platform.meter.postmaster, MONOLITH_DATABASE),
            database_url=url,
            token=lambda: security.issue(settings.jwt_secret, uuid.uuid4(), ["buyer"]),
            rest=lambda: None,
        )
    finally:
        stop(process, SIGTERM)


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2).is_success
    except httpx.HTTPError:
        return False


def processes_of(platform: RunningPlatform) -> dict[str, int]:
    """The supervisor's children by name; the supervisor itself serves nobody."""
    assert platform.supervisor is not None
    modules = {"gateway": "gateway"} | {f"{name}_service": name for name in SERVICES}
    found = {}
    for child in psutil.Process(platform.supervisor.pid).children():
        command = child.cmdline()
        if command[1:2] == ["-m"] and command[2] in modules:
            found[modules[command[2]]] = child.pid
        elif Path(command[0]).name == "postgres":
            found[POSTGRES] = child.pid
        elif Path(command[0]).name.startswith("valkey-server"):
            found["Valkey"] = child.pid
    missing = {*PROCESSES, POSTGRES, "Valkey"} - set(found)
    if missing:
        raise Problem(f"Not running: {', '.join(sorted(missing))}.")
    return found


def sign_in(platform: RunningPlatform, phone: str) -> str:
    """By one-time password, as anybody signs in."""
    seen = len(_messages(platform.outbox))
    with httpx.Client(base_url=platform.url, timeout=10) as client:
        asked = client.post("/v1/auth/otp", json={"phone": phone}).raise_for_status().json()
        deadline = time.monotonic() + SMS_WITHIN
        while len(sent := _messages(platform.outbox)) <= seen:
            if time.monotonic() > deadline:
                raise Problem("No one-time password came.")
            time.sleep(0.02)  # Another process writes it, and tells nobody.
        code = re.search(r"\b\d{6}\b", json.loads(sent[-1])["body"])
        assert code is not None
        proof = {"challenge_id": asked["challenge_id"], "code": code.group()}
        answer = client.post("/v1/auth/otp/verify", json=proof).raise_for_status()
        return str(answer.json()["access_token"])


def _messages(outbox: Path) -> list[str]:
    return outbox.read_text().splitlines() if outbox.exists() else []


async def all_published(database_url: str, within: float = 30.0) -> None:
    waiting = " + ".join(
        f"(select count(*) from {service}.outbox where published_at is null)"
        for service in SERVICES
    )
    connection = await asyncpg.connect(database_url)
    try:
        async with asyncio.timeout(within):
            # Other processes do it: there is nothing here to wait for but the count.
            while await connection.fetchval(f"select {waiting}"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        await connection.close()
