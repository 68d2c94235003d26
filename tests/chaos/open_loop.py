"""Requests at an even rate, as people come: who asks does not wait until somebody else has an answer.

A test of the suite asks CHAOS_PER_SECOND=50; `make bench-faults` the 200 of which docs/operations.md tells.
"""

import asyncio
import itertools
import json
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from devstack.conversation import new_phone
from devstack.testing_town import REQUEST_SECONDS, Town

PER_SECOND = int(os.environ.get("CHAOS_PER_SECOND", "50"))


@dataclass(frozen=True)
class Failed:
    """A request that was not answered with a success."""

    asked: str
    at: float
    status: int
    headers: Mapping[str, str]
    said: str

    def error(self) -> dict[str, Any]:
        """What the envelope says; a connection that broke has none, and fails the test that asks."""
        found: dict[str, Any] = json.loads(self.said)["error"]
        return found


@dataclass
class OpenLoop:
    """Asks the gateways in rotation, in turns, and keeps what came of each request."""

    town: Town
    rotation: dict[int, aiohttp.ClientSession]
    offered: int = 0
    waiting: int = 0
    waiting_most: int = 0
    # By method and route; each from the moment that it was due, so that what waits behind a pause counts too.
    answered: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    leads: list[str] = field(default_factory=list)
    _began: float = 0.0
    _lasted: float = 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ask for as long as the block lasts, and return when all have an answer."""
        self._began = time.monotonic()
        async with asyncio.TaskGroup() as requests:
            sending = requests.create_task(self._send(requests))
            yield
            sending.cancel()
            self._lasted = time.monotonic() - self._began

    async def _send(self, requests: asyncio.TaskGroup) -> None:
        for number in itertools.count():
            due = self._began + number / PER_SECOND
            await asyncio.sleep(max(0.0, due - time.monotonic()))  # Late, it catches up at once.
            self.offered += 1
            requests.create_task(self._ask(number, due))

    async def _ask(self, number: int, due: float) -> None:
        gateways = list(self.rotation.values())
        http = gateways[number % len(gateways)]
        method, path, request = self._request(number // len(gateways))
        self.waiting += 1
        self.waiting_most = max(self.waiting_most, self.waiting)
        try:
            async with http.request(method, path, **request) as answer:
                said = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            failed = Failed(f"{method} {path}", time.monotonic(), 0, {}, repr(error))
            self.failed.append(failed)
            return
        finally:
            self.waiting -= 1
        self.seconds.append(time.monotonic() - due)
        if not answer.ok:
            failed = Failed(
                f"{method} {path}", time.monotonic(), answer.status, answer.headers, said
            )
            self.failed.append(failed)
            return
        self.answered[f"{method} {path}"] += 1
        if method == "POST" and path == "/v1/enquiries":
            self.leads.append(json.loads(said)["id"])

    def _request(self, number: int) -> tuple[str, str, dict[str, Any]]:
        """Reads and writes of all four services, in a fixed order; half of them are of listings."""
        town = self.town
        asha, meera = {"headers": town.asha.headers}, {"headers": town.meera.headers}
        listing, project = f"/v1/listings/{town.listing_id}", f"/v1/projects/{town.project_id}"
        match number % 20:
            case 0 | 10:
                return "POST", "/v1/enquiries", {"json": town.enquiry()}
            case 1:
                return "POST", "/v1/auth/otp", {"json": {"phone": new_phone()}}
            case 2:
                return "PATCH", listing, asha | {"json": {"public_remarks": f"Bright, {number}."}}
            case 3:
                return "PATCH", project, meera | {"json": {"amenities": [f"pool {number}"]}}
            case 4:
                return "GET", "/v1/auth/sessions", asha
            case 5:
                return "GET", "/v1/users/me", meera
            case 6 | 16:
                return "GET", "/v1/leads", asha
            case 7:
                return "GET", "/v1/projects", {}
            case 8:
                return "GET", f"{project}/units", {}
            case 9 | 19:
                return "GET", "/v1/listings", {"params": {"q": town.locality}}
            case _:
                return "GET", listing, {}

    def tell(self, what: str) -> None:
        """Print a line for docs/operations.md; the suite keeps it to itself."""
        p99 = statistics.quantiles(self.seconds, n=100)[98]
        sys.stdout.write(
            f"{what}: {self.offered} requests in {self._lasted:.0f} s,"
            f" {self.offered / self._lasted:.0f} a second: {self.answered.total()} answered,"
            f" {len(self.failed)} not; median {statistics.median(self.seconds) * 1e3:.0f} ms,"
            f" p99 {p99 * 1e3:.0f} ms, longest {max(self.seconds) * 1e3:.0f} ms from when it was due;"
            f" {self.waiting_most} at once\n"
        )


@asynccontextmanager
async def gateway_at(port: int) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the gateway there that never queues a request of its own."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    address = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession(address, timeout=timeout, connector=connector) as http:
        yield http
