"""Postgres restarts under load: errors for less than half a minute, nothing acknowledged is lost, no process is restarted."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import httpx
import psutil
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from chassis.grpc_server import ALIVE
from devstack.platform import SERVICES, Platform
from devstack.testing_town import Town
from tests.chaos.conftest import (
    AWAY,
    all_ready,
    check_envelope,
    check_events,
    eventually,
    process_of,
)

POSTGRES = "bin/postgres"
AT_ONCE = 12
# How many are answered before it restarts, and after it is back.
ANSWERED = 60
ERRORS_SECONDS = 30.0
# What a kubelet gives a probe.
PROBE_SECONDS = 5.0


@dataclass
class Load:
    """Clients who each ask again as soon as they have an answer, and one who asks for health like a kubelet."""

    town: Town
    http: httpx.AsyncClient
    answered: int = 0
    leads: list[str] = field(default_factory=list)
    refused_at: list[float] = field(default_factory=list)
    probes: int = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as clients:
            tasks = [clients.create_task(self._ask(number)) for number in range(AT_ONCE)]
            tasks.append(clients.create_task(self._probe()))
            yield
            for task in tasks:
                task.cancel()

    async def _ask(self, number: int) -> None:
        own = self.town.asha.headers
        reads = (
            f"/v1/listings/{self.town.listing_id}",
            "/v1/leads",
            "/v1/auth/sessions",
            "/v1/projects",
        )
        while True:
            if number % 2:
                answer = await self.http.get(reads[number // 2 % len(reads)], headers=own)
            else:
                answer = await self.http.post("/v1/enquiries", json=self.town.enquiry())
            if answer.is_success:
                self.answered += 1
                if answer.request.method == "POST":
                    self.leads.append(answer.json()["id"])
                continue
            assert answer.status_code in AWAY, answer.text
            check_envelope(answer)
            self.refused_at.append(time.monotonic())
            await asyncio.sleep(0.1)  # A client's pause before it asks again.

    async def _probe(self) -> None:
        """Liveness must not fail: a restart of the process would mend nothing and cost a start."""
        ports = Platform(self.town.platform.environment)
        channels = [grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc_port(n)}") for n in SERVICES]
        try:
            while True:
                for channel in channels:
                    alive = HealthStub(channel).Check(
                        HealthCheckRequest(service=ALIVE), timeout=PROBE_SECONDS
                    )
                    assert (await alive).status == HealthCheckResponse.SERVING
                healthy = await self.http.get("/healthz", timeout=PROBE_SECONDS)
                assert healthy.is_success
                self.probes += 1
                await asyncio.sleep(0.1)  # Between two rounds of a kubelet's questions.
        finally:
            for channel in channels:
                await channel.close()

    async def more(self) -> None:
        """Return after so many more answers."""
        wanted = self.answered + ANSWERED

        async def have() -> bool:
            return self.answered >= wanted

        await eventually(have, "the answers")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["restart", "crash"])
async def test_a_restart_of_postgres_is_a_short_refusal(town: Town, how: signal.Signals) -> None:
    names = ["gateway", *(f"{service}_service" for service in SERVICES)]
    before = {name: process_of(town.platform, name) for name in names}
    postgres = process_of(town.platform, POSTGRES)

    async def back() -> bool:
        try:
            return process_of(town.platform, POSTGRES) != postgres
        except (ValueError, psutil.NoSuchProcess):  # In between there is none, or its corpse.
            return False

    async with town.client() as http:
        load = Load(town, http)
        async with load.running():
            await load.more()
            probes = load.probes
            postgres.send_signal(how)
            await eventually(back, "PostgreSQL")
            await load.more()
        assert load.refused_at, "it did not restart in the midst of it"
        assert load.refused_at[-1] - load.refused_at[0] <= ERRORS_SECONDS
        assert load.probes > probes
        assert {name: process_of(town.platform, name) for name in names} == before
        stored = "select count(*) from crm.leads where id = any($1::uuid[])"
        assert await town.value(stored, load.leads) == len(load.leads)
        await all_ready(http)
        await check_events(town)
