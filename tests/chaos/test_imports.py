"""A file of listings arrives and is read though the gateway and agents die: each row once, each event once."""

from collections.abc import AsyncIterator

import httpx
import pytest

from devstack.testing_town import Town
from tests.chaos.conftest import check_events, eventually, kill, process_of

ROWS = 600
HEAD = (
    "external_id,listing_type,property_type,list_price,carpet_area,address.subdivision_name,address.city,address.state,"
    "address.postal_code,standard_status,public_remarks\n"
)
# Enough of them to be three pieces.
REMARKS = "Light from two sides and close to the school. " * 50


async def test_an_import_outlives_the_gateway_and_agents(town: Town) -> None:
    rows = [
        f"{town.locality}-{number},sale,villa,9000000,1200,{town.locality},Pune,Maharashtra,411057,active,{REMARKS}\n"
        for number in range(ROWS)
    ]
    content = (HEAD + "".join(rows)).encode()
    half = len(content) // 2
    arrived = "select count(*) from agents.import_pieces"

    async def cut_off() -> AsyncIterator[bytes]:
        yield content[:half]
        await eventually(lambda: town.value(arrived), "the first piece")
        kill(process_of(town.platform, "gateway"))
        yield content[half:]

    async with town.client() as http:
        headers = {
            "content-type": "text/csv",
            "idempotency-key": town.locality.replace(" ", "-"),
            **town.asha.headers,
        }

        async def back() -> bool:
            try:
                return (await http.get("/readyz")).is_success
            except httpx.TransportError:
                return False

        with pytest.raises(httpx.TransportError):
            await http.post("/v1/listings/import", content=cut_off(), headers=headers)
        await eventually(back, "the gateway")
        sent = await http.post("/v1/listings/import", content=content, headers=headers)
        assert sent.status_code == 202, sent.text
        read = "select rows from agents.imports where id = $1::uuid"
        await eventually(lambda: town.value(read, sent.json()["id"]), "the first rows")
        kill(process_of(town.platform, "agents_service"))
        path = f"/v1/listings/imports/{sent.json()['id']}"

        async def done() -> bool:
            found = await http.get(path, headers=town.asha.headers)
            return found.is_success and found.json()["status"] == "done"

        await eventually(done, "the last row")
        job = (await http.get(path, headers=town.asha.headers)).json()
        assert (job["rows"], job["created"], job["failed"]) == (ROWS, ROWS, 0)
        [stored] = await town.rows(
            """
            select count(*) as listings, count(distinct external_id) as names,
                sum((select count(*) from agents.listing_history where listing_id = listings.id)) as history,
                sum((select count(*) from agents.outbox where aggregate_id = listings.id)) as events
            from agents.listings where external_id like $1
            """,
            f"{town.locality}-%",
        )
        assert tuple(stored) == (ROWS, ROWS, 3 * ROWS, 2 * ROWS)
        await check_events(town)
