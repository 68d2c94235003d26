"""A rollout under load: every process is replaced, one replica after the other, at 200 requests a second; none fails."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import psutil

from devstack import secretfile
from devstack.journey import new_phone
from devstack.platform import PROCESSES, SERVICES, Platform
from devstack.process import free_port, spawn, stop
from devstack.testing_platform import RunningPlatform
from devstack.testing_town import REQUEST_SECONDS, Town, founded
from tests.chaos.conftest import check_events, eventually, process_of

PER_SECOND = 200
AT_ONCE = 100


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


@dataclass
class Load:
    """Requests at an even rate to the gateways in rotation, in turns; fewer only while AT_ONCE wait for an answer."""

    town: Town
    rotation: dict[int, aiohttp.ClientSession]
    sent: int = 0
    waiting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    outcomes: Counter[str] = field(default_factory=Counter)
    leads: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as requests:
            sending = requests.create_task(self._send(requests))
            yield
            sending.cancel()

    async def _send(self, requests: asyncio.TaskGroup) -> None:
        next_at = time.monotonic()
        while True:
            next_at = max(next_at + 1 / PER_SECOND, time.monotonic() - 0.1)
            await asyncio.sleep(next_at - time.monotonic())
            await self.waiting.acquire()
            self.sent += 1
            requests.create_task(self._request(self.sent))

    async def _request(self, number: int) -> None:
        gateways = list(self.rotation.values())
        http, own = gateways[number % len(gateways)], self.town.asha.headers
        # Reads and writes of all four services, most of them of listings.
        match number // 2 % 10:
            case 0:
                asked = http.post("/v1/enquiries", json=self.town.enquiry())
            case 1:
                asked = http.post("/v1/auth/otp", json={"phone": new_phone()})
            case 2:
                asked = http.get("/v1/auth/sessions", headers=own)
            case 3:
                asked = http.get("/v1/leads", headers=own)
            case 4:
                asked = http.get("/v1/projects")
            case _:
                asked = http.get(f"/v1/listings/{self.town.listing_id}")
        try:
            async with asked as answer:
                body = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            self.outcomes[f"{number // 2 % 10}: {error!r}"] += 1
            return
        finally:
            self.waiting.release()
        self.outcomes["answered" if answer.ok else f"{answer.url.path}: {body}"] += 1
        if answer.ok and answer.url.path == "/v1/enquiries":
            self.leads.append(json.loads(body)["id"])


async def roll(replicas: Sequence[Replica], others: Sequence[Replica], load: Load) -> None:
    """Replace all of `replicas` at once, and return when whoever calls the `others` calls their successors too."""
    gateway, *services = replicas
    # What Kubernetes does first: no load balancer sends anything new there.
    http = load.rotation.pop(gateway.port)
    await asyncio.gather(*(replica.restart() for replica in replicas))
    await serving(services, http)
    load.rotation[gateway.port] = http

    async def shared() -> bool:
        pairs = [{one.port, other.port} for one, other in zip(replicas, others, strict=True)]
        called = [replica.calls() for replica in (*replicas, *others)]
        return all(len(pair & calls) != 1 for pair in pairs for calls in called)

    await eventually(shared, "a share of the calls for each successor")


async def serving(services: Sequence[Replica], gateway: aiohttp.ClientSession) -> None:
    """Return once all of them serve, and the gateway says that it does."""
    pairs = [f"{service.name}=127.0.0.1:{service.port}" for service in services]
    command = [sys.executable, "-m", "devstack.health", *pairs]
    await asyncio.to_thread(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)

    async def ready() -> bool:
        try:
            async with gateway.get("/readyz") as answer:
                return answer.ok
        except aiohttp.ClientError:
            return False

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
        load = Load(town, gateways)
        async with load.running():
            await roll(second, first, load)
            await roll(first, second, load)
        assert load.outcomes == {"answered": load.sent}
        assert load.sent > PER_SECOND
        stored = "select count(*) from crm.leads where id = any($1::uuid[])"
        assert await town.value(stored, load.leads) == len(load.leads)
        await check_events(town)


def gateway_at(port: int) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    return aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=timeout)
