"""Valkey is emptied, or dies, while enquiries, holds and bookings go on: none is lost, none counts twice."""

import asyncio
import shutil

import httpx

from devstack.testing_town import Town
from devstack.valkey import ask
from tests.chaos.conftest import (
    Client,
    all_ready,
    away,
    check_envelope,
    check_events,
    check_sold,
    eventually,
    process_of,
)

SALES = 6


async def test_wiping_valkey_loses_and_repeats_nothing(town: Town) -> None:
    port = int(town.platform.environment["VALKEY_PORT"])

    async def wipe(_: httpx.Response) -> None:
        answer = await asyncio.to_thread(ask, "127.0.0.1", port, "FLUSHALL SYNC")
        assert answer == "+OK\r\n"

    async with town.client() as http:
        client = Client(http, town)
        http.event_hooks["response"] = [wipe]  # In the midst of the sales: after every answer.
        leads = await asyncio.gather(*(client.sell(unit) for unit in town.free_units(SALES)))
        http.event_hooks["response"] = []
        assert client.refusals == []
        await check_events(town)
        await check_sold(http, town, leads)


async def test_while_valkey_is_away_all_but_signing_in_goes_on(town: Town) -> None:
    challenge = "01935b0e-7f1c-7b1e-9a51-0c2f6f3a9c11"
    guarded = {
        "/v1/auth/otp": {"phone": town.rohan.phone},
        "/v1/auth/otp/verify": {"challenge_id": challenge, "code": "123456"},
        "/v1/auth/refresh": {"refresh_token": "x" * 43},
    }
    async with town.client() as http:
        client = Client(http, town)
        with away(town.platform, "valkey-server"):
            leads = await asyncio.gather(*(client.sell(unit) for unit in town.free_units(SALES)))
            assert client.refusals == []
            for path, body in guarded.items():
                refused = await http.post(path, json=body)
                assert refused.status_code == 503, refused.text
                assert int(refused.headers["retry-after"]) >= 1
                check_envelope(refused)
            for path in (f"/v1/listings/{town.listing_id}", "/v1/listings", "/v1/leads"):
                read = await http.get(path, headers=town.asha.headers)
                assert read.status_code == 200, read.text
        await check_events(town)
        await check_sold(http, town, leads)
        await all_ready(http)
        sent = await http.post("/v1/auth/otp", json=guarded["/v1/auth/otp"])
        assert sent.status_code == 202, sent.text


async def test_it_goes_on_where_it_was(town: Town) -> None:
    """Killed with events in it and started again on its own log, the stream brings none twice."""
    async with town.client() as http:
        client = Client(http, town)
        leads = [await client.sell(*town.free_units(1))]
        with away(town.platform, "valkey-server"):
            pass
        leads.append(await client.sell(*town.free_units(1)))
        assert client.refusals == []
        await check_events(town)
        await check_sold(http, town, leads)


async def test_come_back_from_an_older_copy_it_gets_what_it_lost(town: Town) -> None:
    """As after a failover to a replica that lagged behind, or a power cut between two syncs of its log."""
    data = town.platform.var / "valkey"
    copy = data.with_name("valkey-copy")
    consumers = [process_of(town.platform, name) for name in ("crm_service", "agents_service")]

    async def published() -> bool:
        waiting = "select count(*) from projects.outbox where published_at is null"
        return not await town.value(waiting)

    async with town.client() as http:
        client = Client(http, town)
        await check_events(town)
        shutil.copytree(data, copy)
        for consumer in consumers:
            consumer.suspend()  # What is published now, nobody has met yet.
        try:
            (unit,) = town.free_units(1)
            await client.post(f"/v1/units/{unit}/hold", {}, town.asha)
            await eventually(published, "the relay's mark")
            with away(town.platform, "valkey-server"):
                shutil.rmtree(data)
                copy.rename(data)
        finally:
            for consumer in consumers:
                consumer.resume()
        await check_events(town)
