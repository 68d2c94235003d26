"""What leaves the market is gone from every gateway two seconds later, whatever becomes of Valkey, and who may still
see it shows it to nobody else.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx

from devstack.process import free_port
from devstack.testing_town import REQUEST_SECONDS, Town
from tests.chaos.conftest import all_ready, away, eventually
from tests.chaos.test_rolling import Replica

# How long after its status changed an answer that shows a listing may still be given.
KEPT_SECONDS = 2.0


@dataclass
class Onlookers:
    """People who are not signed in and ask every gateway again and again for what shows a listing."""

    gateways: Sequence[httpx.AsyncClient]
    listing_id: str
    # When they were told that it has left the market.
    gone_at: float | None = None
    saw: set[tuple[int, str]] = field(default_factory=set)

    @property
    def paths(self) -> list[str]:
        one = f"/v1/listings/{self.listing_id}"
        return [one, f"{one}/history", "/v1/listings?city=Pune&page_size=5"]

    async def look(self, gateway: int, path: str) -> None:
        """Ask until it is too late for an answer that was kept, which then must not be shown."""
        while True:
            asked_at = time.monotonic()
            answer = await self.gateways[gateway].get(path)
            shown = answer.is_success and (self.listing_id in answer.text or "history" in path)
            if shown:
                self.saw.add((gateway, path))
            if self.gone_at is not None and asked_at > self.gone_at + KEPT_SECONDS:
                assert not shown, f"gateway {gateway} shows {path}"
                return
            await asyncio.sleep(0.02)  # They type, too.

    async def look_all(self, town: Town) -> None:
        """Have it leave the market once all have seen it everywhere, and look on."""
        status = f"/v1/listings/{self.listing_id}/status"
        everywhere = {(at, path) for at in range(len(self.gateways)) for path in self.paths}

        async def seen() -> bool:
            return self.saw == everywhere

        async with asyncio.TaskGroup() as tasks:
            for at, path in everywhere:
                tasks.create_task(self.look(at, path))
            await eventually(seen, "the new listing on every gateway")
            withdrawn = await self.gateways[0].post(
                status, json={"standard_status": "withdrawn"}, headers=town.asha.headers
            )
            self.gone_at = time.monotonic()
            assert withdrawn.status_code == 200, withdrawn.text
            for gateway in self.gateways:
                hers = await gateway.get(self.paths[0], headers=town.asha.headers)
                assert hers.json()["standard_status"] == "withdrawn"


async def test_what_is_withdrawn_is_gone_from_every_gateway_with_valkey_and_without(
    town: Town,
) -> None:
    second = Replica(town.platform, "gateway", free_port(), ours=True)
    async with AsyncExitStack() as stack:
        stack.callback(second.stop)
        second.start()
        gateways = [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=url, timeout=REQUEST_SECONDS)
            )
            for url in (town.platform.url, f"http://127.0.0.1:{second.port}")
        ]

        async def serves() -> bool:
            try:
                return (await gateways[1].get("/readyz")).is_success
            except httpx.TransportError:
                return False

        await eventually(serves, "the second gateway")
        await Onlookers(gateways, town.new_listing()).look_all(town)
        with away(town.platform, "valkey-server"):
            await Onlookers(gateways, town.new_listing()).look_all(town)
        await all_ready(gateways[0])
