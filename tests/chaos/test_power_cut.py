"""Everything dies at once, Postgres, Valkey and the supervisor too, amid work; `make up` goes on from there."""

import asyncio
import signal

import httpx

from devstack.testing_platform import RunningPlatform
from devstack.testing_town import Town, founded
from tests.chaos.conftest import Client, after_answers, check_events, kill, processes_of

SALES = 8
AT_ONCE = 4
# How many requests are answered before the end.
ANSWERED = 12


def cut_power(platform: RunningPlatform) -> None:
    """kill -9 of all; the supervisor is stopped first, so that it starts none of them again."""
    assert platform.supervisor is not None
    platform.supervisor.send_signal(signal.SIGSTOP)
    processes = processes_of(platform)
    names = {process.name() for process in processes}
    assert {"postgres", "valkey-server"} <= names
    for process in processes:
        kill(process)
    platform.supervisor.kill()
    platform.supervisor.wait()


async def test_what_was_acknowledged_is_there_after_a_power_cut(town: Town) -> None:
    tokens = {person.name: dict(person.headers) for person in (town.asha, town.meera)}
    made: dict[str, str] = {}

    async def sell(client: Client, unit: str) -> None:
        """As far as it gets, each acknowledged part written down."""
        try:
            lead = await client.enquire()
            made[f"/v1/leads/{lead}"] = town.asha.name
            claim = await client.hold(unit, lead)
            held[unit] = claim
            made[f"/v1/bookings/{await client.book(unit)}"] = town.meera.name
        except httpx.TransportError:
            return  # The gateway is dead.

    held: dict[str, str] = {}
    async with town.client(AT_ONCE) as http:
        client = Client(http, town)
        after_answers(http, ANSWERED, lambda: cut_power(town.platform))
        await asyncio.gather(*(sell(client, unit) for unit in town.free_units(SALES)))
    assert 0 < len(made) < 2 * SALES, "the power was not cut in the midst of it"

    town.platform.start()
    async with town.client() as http:
        for path, name in made.items():
            read = await http.get(path, headers=tokens[name])
            assert read.status_code == 200, read.text
        for unit, claim in held.items():
            assert (await http.get(f"/v1/units/{unit}")).json()["status"] in {"held", "booked"}
            claims = await town.rows(
                "select id::text from projects.claims where unit_id = $1", unit
            )
            assert claim in [row["id"] for row in claims]
        listing = await http.get(f"/v1/listings/{town.listing_id}")
        assert listing.json()["standard_status"] == "active"
    await check_events(town)
    with founded(town.platform):  # Another journey, from sign-in to a booked flat.
        await check_events(town)
