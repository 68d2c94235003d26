"""Postgres restarts under load: errors for less than half a minute, nothing acknowledged is lost, no process ends."""

import asyncio
import signal
from dataclasses import dataclass

import aiohttp
import grpc
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
    check_events,
    eventually,
    process_of,
)
from tests.chaos.open_loop import OpenLoop, gateway_at

POSTGRES = "bin/postgres"
# How many are answered before it restarts, and after it is back.
ANSWERED = 60
ERRORS_SECONDS = 30.0
# What a kubelet gives a probe.
PROBE_SECONDS = 5.0


@dataclass
class Kubelet:
    """Asks each process whether it lives: a restart of it would mend nothing and cost a start."""

    town: Town
    gateway: aiohttp.ClientSession
    rounds: int = 0

    async def ask(self) -> None:
        ports = Platform(self.town.platform.environment)
        channels = [grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc_port(n)}") for n in SERVICES]
        try:
            while True:
                for channel in channels:
                    alive = HealthStub(channel).Check(
                        HealthCheckRequest(service=ALIVE), timeout=PROBE_SECONDS
                    )
                    assert (await alive).status == HealthCheckResponse.SERVING
                timeout = aiohttp.ClientTimeout(PROBE_SECONDS)
                async with self.gateway.get("/healthz", timeout=timeout) as healthy:
                    assert healthy.ok
                self.rounds += 1
                await asyncio.sleep(0.1)  # Between two rounds of a kubelet's questions.
        finally:
            for channel in channels:
                await channel.close()


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

    port = Platform(town.platform.environment).gateway_port
    async with gateway_at(port) as http:
        load, kubelet = OpenLoop(town, {port: http}), Kubelet(town, http)

        async def answer() -> None:
            """Return after so many more answers."""
            wanted = load.answered.total() + ANSWERED

            async def have() -> bool:
                return load.answered.total() >= wanted

            await eventually(have, "the answers")

        async with load.running(), asyncio.TaskGroup() as background:
            asking = background.create_task(kubelet.ask())
            await answer()
            rounds = kubelet.rounds
            postgres.send_signal(how)
            await eventually(back, "PostgreSQL")
            await answer()
            asking.cancel()
    assert load.failed, "it did not restart in the midst of it"
    refused_for = load.failed[-1].at - load.failed[0].at
    load.tell(f"{how.name} to Postgres: refused for {refused_for:.1f} s")
    assert refused_for <= ERRORS_SECONDS
    for refusal in load.failed:
        assert refusal.status in AWAY, refusal
        assert refusal.error()["correlation_id"] == refusal.headers["x-correlation-id"]
    assert kubelet.rounds > rounds
    assert {name: process_of(town.platform, name) for name in names} == before
    stored = "select count(*) from crm.leads where id = any($1::uuid[])"
    assert await town.value(stored, load.leads) == len(load.leads)
    async with town.client() as http_again:
        await all_ready(http_again)
    await check_events(town)
