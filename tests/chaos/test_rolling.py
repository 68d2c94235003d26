"""A rollout under load: one replica of every process is replaced while the other serves; no request fails.

In the suite once, of all processes at the same time; `make bench-faults` replaces both of each, twice, one process
after the other, at 200 requests a second.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
import psutil

from devstack import secretfile
from devstack.platform import PROCESSES, SERVICES, Platform
from devstack.process import free_port, spawn, stop
from devstack.testing_platform import RunningPlatform
from devstack.testing_town import founded
from tests.chaos.conftest import check_events, eventually, process_of
from tests.chaos.open_loop import PER_SECOND, OpenLoop, gateway_at

# How often one replica of each process gives way to another.
ROLLS = int(os.environ.get("CHAOS_ROLLS", "1"))
# How many processes' at once.
AT_ONCE = int(os.environ.get("CHAOS_AT_ONCE", str(len(PROCESSES))))


def module_of(name: str) -> str:
    return "gateway" if name == "gateway" else f"{name}_service"


@dataclass
class Replica:
    """One of the two of each process: the platform's own, which its supervisor starts again, or ours beside it."""

    platform: RunningPlatform
    name: str
    port: int
    ours: bool
    child: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> psutil.Process:
        if self.child is not None:
            return psutil.Process(self.child.pid)
        return process_of(self.platform, module_of(self.name))

    def calls(self) -> set[int]:
        """The ports of whom it is connected to."""
        return {
            connection.raddr.port
            for connection in self.process.net_connections("tcp")
            if connection.status == psutil.CONN_ESTABLISHED
        }

    def start(self) -> None:
        """Start ours."""
        platform = Platform(os.environ | self.platform.environment)
        secrets = secretfile.read(self.platform.var / "secrets.env")
        told = platform.process_environment(
            self.name,
            secrets=secrets,
            database_url=platform.admin_url(secrets),
            redis_url=f"redis://127.0.0.1:{platform.valkey_port}/0",
            var=self.platform.var,
        )
        told |= {"METRICS_PORT": "0", "GATEWAY_PORT": str(self.port), "GRPC_PORT": str(self.port)}
        self.child = spawn(
            [sys.executable, "-m", module_of(self.name)],
            log=self.platform.log(f"{self.name}-2"),
            env=told,
        )

    def stop(self) -> None:
        """Stop ours."""
        if self.child is not None:
            stop(self.child, signal.SIGTERM)

    async def restart(self) -> None:
        """What a rollout does to a replica: SIGTERM, and another one in its place."""
        if self.ours:
            await asyncio.to_thread(self.stop)
            self.start()
            return
        before = self.process
        before.terminate()

        async def started_again() -> bool:
            try:
                return self.process != before
            except (ValueError, psutil.NoSuchProcess):  # In between there is none, or its corpse.
                return False

        await eventually(started_again, f"{self.name}'s successor")


async def roll(leaving: Sequence[Replica], everybody: Sequence[Replica], load: OpenLoop) -> None:
    """Replace `leaving` at once, and return when whoever calls their twins calls their successors too."""
    services = [replica for replica in leaving if replica.name != "gateway"]
    # What Kubernetes does first: no load balancer sends anything new there.
    out = {r.port: load.rotation.pop(r.port) for r in leaving if r.name == "gateway"}
    await asyncio.gather(*(replica.restart() for replica in leaving))
    await serving(services, *(out or load.rotation).values())
    load.rotation |= out

    async def shared() -> bool:
        twins = [{r.port for r in everybody if r.name == left.name} for left in leaving]
        called = [replica.calls() for replica in everybody]
        return all(len(pair & calls) != 1 for pair in twins for calls in called)

    await eventually(shared, "a share of the calls for each successor")


async def serving(services: Sequence[Replica], *gateways: aiohttp.ClientSession) -> None:
    """Return once all of them serve, and the gateways say that they do."""
    if services:
        pairs = [f"{service.name}=127.0.0.1:{service.port}" for service in services]
        command = [sys.executable, "-m", "devstack.health", *pairs]
        await asyncio.to_thread(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)

    async def ready() -> bool:
        try:
            for gateway in gateways:
                async with gateway.get("/readyz") as answer:
                    if not answer.ok:
                        return False
        except aiohttp.ClientError:
            return False
        return True

    await eventually(ready, "the gateway")


async def test_no_request_fails_while_every_process_is_replaced(
    start_platform: Callable[..., RunningPlatform],
) -> None:
    supervised, beside = ({name: free_port() for name in PROCESSES} for _ in range(2))
    targets = {
        f"{name.upper()}_TARGET": f"ipv4:127.0.0.1:{beside[name]},127.0.0.1:{supervised[name]}"
        for name in SERVICES
    }
    platform = start_platform(**targets)
    supervised["gateway"] = int(platform.environment["GATEWAY_PORT"])
    first = [Replica(platform, name, supervised[name], ours=False) for name in PROCESSES]
    second = [Replica(platform, name, beside[name], ours=True) for name in PROCESSES]
    async with AsyncExitStack() as stack:
        gateways = {
            ports["gateway"]: await stack.enter_async_context(gateway_at(ports["gateway"]))
            for ports in (supervised, beside)
        }
        # Before there are two of each: the journey reads the logs of the platform's own.
        town = stack.enter_context(founded(platform))
        for replica in second:
            stack.callback(replica.stop)
            replica.start()
        await serving(second[1:], gateways[beside["gateway"]])
        load = OpenLoop(town, gateways)
        async with load.running():
            for turn in range(ROLLS):
                replicas = second if turn % 2 else first
                for begin in range(0, len(replicas), AT_ONCE):
                    leaving = replicas[begin : begin + AT_ONCE]
                    await roll(leaving, [*first, *second], load)
        load.tell("rolling restart")
        assert load.failed == []
        assert load.answered.total() == load.offered > PER_SECOND
        stored = "select count(*) from crm.leads where id = any($1::uuid[])"
        assert await town.value(stored, load.leads) == len(load.leads)
        await check_events(town)
