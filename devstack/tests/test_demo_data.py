"""The demo data: the same under a seed, as many as asked for, and nothing the services would have refused."""

import asyncio
import io
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import phonenumbers
import pytest
import pytest_asyncio
from rich.console import Console

from agents_service.listings.domain import (
    PUBLIC,
    Listing,
    check_consistent,
    check_publishable,
)
from agents_service.listings.messages import to_proto
from chassis import constraints, migrate, rera
from devstack import demo_data
from devstack.demo_people import phone
from devstack.demo_places import CITIES, INDIA, localities
from devstack.postgres import Postgres
from devstack.process import Problem
from devstack.testing import ROLE_PASSWORD, administration
from propmubi.agents.v1.listings_pb2 import CreateListingRequest

COUNT = 2000
# What is loaded, and what others' rows refer to.
DEMO_TABLES = {
    "agents.agents",
    "agents.listings",
    "agents.listing_history",
    "agents.places",
    "projects.builders",
    "projects.history",
    "projects.projects",
    "projects.towers",
    "projects.unit_types",
    "projects.units",
}
# What is over, or was never offered, was judged on another day than today.
JUDGED_TODAY = PUBLIC - {"coming_soon"} | {"hold"}


@pytest_asyncio.fixture(scope="module")
async def migrated(postgres: Postgres) -> AsyncIterator[str]:
    """The name of a database with empty tables, to be cloned."""

    def migrate_both() -> None:
        for service in ("agents", "projects"):
            migrate.provision(postgres.url(name), service, ROLE_PASSWORD, ROLE_PASSWORD)
            migrate.upgrade(
                migrate.role_url(postgres.url(name), f"{service}_owner", ROLE_PASSWORD), service
            )

    async with new_database(postgres, "template1") as name:
        await asyncio.to_thread(migrate_both)
        yield name


@asynccontextmanager
async def new_database(postgres: Postgres, template: str) -> AsyncIterator[str]:
    name = f"demo_{secrets.token_hex(6)}"
    async with administration(postgres) as admin:
        await admin.execute(f"create database {name} template {template} strategy file_copy")
        try:
            yield name
        finally:
            await admin.execute(f"drop database {name} with (force)")


@pytest_asyncio.fixture(scope="module")
async def loaded(postgres: Postgres, migrated: str) -> AsyncIterator[str]:
    """A database with demo data that these tests only read."""
    async with new_database(postgres, migrated) as name:
        await load(postgres.url(name), DEMO_LISTINGS=str(COUNT))
        yield postgres.url(name)


@pytest_asyncio.fixture
async def empty(postgres: Postgres, migrated: str) -> AsyncIterator[str]:
    async with new_database(postgres, migrated) as name:
        yield postgres.url(name)


async def load(database: str, **environment: str) -> None:
    console = Console(file=io.StringIO())
    await asyncio.to_thread(demo_data.load, database, environment, console)


async def rows(database: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(database)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


async def everything(database: str) -> dict[str, list[str]]:
    """Every row of every table, but for the ids that the database draws for places and nobody sees."""
    tables = await rows(
        database,
        "select format('%I.%I', schemaname, tablename) as name from pg_tables"
        " where schemaname in ('agents', 'projects')",
    )
    return {
        name: [
            row[0]
            for row in await rows(database, f"select {row_of(name)} from {name} t order by 1")
        ]
        for (name,) in tables
    }


def row_of(table: str) -> str:
    return "(to_jsonb(t) - 'id')::text" if table == "agents.places" else "t::text"


async def listings(database: str) -> list[Listing]:
    found = await rows(
        database, f"select {', '.join(Listing._fields)} from agents.listings order by id"
    )
    return [Listing(*row) for row in found]


async def test_the_services_would_have_taken_every_listing(loaded: str) -> None:
    now = datetime.now(UTC)
    found = await listings(loaded)
    assert len(found) == COUNT
    for listing in found:
        check_consistent(listing._asdict(), (), now.date())
        if listing.standard_status in JUDGED_TODAY:
            check_publishable(listing, now.date())
        shown = to_proto(listing, now)
        assert constraints.validate(CreateListingRequest(listing=shown)) == []
        assert listing.created_at <= listing.updated_at <= now
        assert "demo" in (listing.public_remarks or "")
    shares = Counter(listing.standard_status for listing in found)
    assert shares["active"] > 0.75 * COUNT
    assert len(shares) > 5


async def test_prices_follow_the_place_and_the_size(loaded: str) -> None:
    flats = [
        flat
        for flat in await listings(loaded)
        if (flat.listing_type, flat.property_type) == ("sale", "apartment")
    ]

    def rate(city: str) -> float:
        rates = sorted(
            (flat.list_price or 0) / (flat.carpet_area or 1) for flat in flats if flat.city == city
        )
        return rates[len(rates) // 2]

    assert 18_000 < rate("Mumbai") < 34_000
    assert 6_000 < rate("Pune") < 13_000

    def carpet(bhk: float) -> float:
        areas = [flat.carpet_area or 0 for flat in flats if flat.bhk == bhk]
        return sum(areas) / len(areas)

    assert carpet(1) < carpet(2) < carpet(3) < carpet(4)
    by_city = Counter(flat.city for flat in flats)
    assert by_city["Mumbai"] > 2 * by_city["Kochi"] > 0


async def test_what_is_on_the_market_has_its_history_and_nobody_is_told(loaded: str) -> None:
    strays = await rows(
        loaded,
        """select l.id from agents.listings l left join lateral (
               select array_agg(to_value order by id) as moves from agents.listing_history
               where listing_id = l.id and field = 'standard_status') h on true
           where coalesce(h.moves[cardinality(h.moves)], 'incomplete') <> l.standard_status
              or (l.on_market_date is not null) <> coalesce('active' = any(h.moves), false)""",
    )
    assert strays == []
    for schema in ("agents", "projects"):
        assert await rows(loaded, f"select from {schema}.outbox") == []


async def test_agents_are_in_good_standing_and_can_never_be_called(loaded: str) -> None:
    agents = await rows(loaded, "select * from agents.agents")
    assert len(agents) == max(COUNT // demo_data.LISTINGS_PER_AGENT, len(CITIES))
    for agent in agents:
        number = phonenumbers.parse(agent["member_mobile_phone"])
        assert not phonenumbers.is_valid_number(number)
        expected = rera.check("agent", agent["rera_state"], agent["rera_agent_no"])
        assert agent["verification_status"] == expected != "malformed"
        assert agent["rera_valid_to"] > datetime.now(UTC).date() + timedelta(days=365)
    assert phone(0) == "+915550000000"


async def test_projects_are_on_sale(loaded: str) -> None:
    found = await rows(
        loaded,
        """select p.status, p.verification_status, count(*) filter (where u.status = 'available') as free
           from projects.projects p join projects.units u on u.project_id = p.id group by p.id""",
    )
    assert len(found) == 5
    assert all(row["status"] == "selling" and row["free"] > 20 for row in found)
    assert all(row["verification_status"] != "malformed" for row in found)


async def test_a_seed_makes_the_same_data_once(empty: str) -> None:
    await load(empty, DEMO_LISTINGS="60", DEMO_SEED="7")
    first = await everything(empty)
    assert {table for table, found in first.items() if found} >= DEMO_TABLES
    await load(empty, DEMO_LISTINGS="60", DEMO_SEED="8")
    assert await everything(empty) == first
    again = await anew(empty, "7")
    assert {table for table in first if again[table] != first[table]} == set()
    other = await anew(empty, "8")
    assert other["agents.agents"] != first["agents.agents"]
    assert other["agents.listings"] != first["agents.listings"]


async def anew(database: str, seed: str) -> dict[str, list[str]]:
    """What a seed makes of a database from which the demo data was taken."""
    await rows(database, f"truncate {', '.join(DEMO_TABLES)} restart identity cascade")
    await rows(database, "alter sequence agents.listings_listing_number_seq restart")
    await load(database, DEMO_LISTINGS="60", DEMO_SEED=seed)
    return await everything(database)


async def test_none_are_loaded_where_none_are_wanted(empty: str) -> None:
    await load(empty, DEMO_LISTINGS="0")
    assert await listings(empty) == []


async def test_a_count_that_is_none_is_a_problem(empty: str) -> None:
    with pytest.raises(Problem, match="DEMO_LISTINGS"):
        await load(empty, DEMO_LISTINGS="many")


def test_localities_are_real_and_in_india() -> None:
    places = localities(random.Random(1))
    south, north, west, east = INDIA
    assert set(places) == set(CITIES)
    for city, found in places.items():
        assert len(found) >= 30, city.name
        assert all(
            south < place.latitude < north and west < place.longitude < east for place in found
        )
    assert "Hadapsar" in {place.name for place in places[CITIES[2]]}
