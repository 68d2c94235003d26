"""Demo data, loaded once into a platform that has no agents yet: agents, listings with their history, projects.

DEMO_LISTINGS says how many listings (2000; 0 for none), DEMO_SEED which ones: the same seed makes the same data on the
same day. Nothing is told by events, for nobody needs to act on it.
"""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import asyncpg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from devstack.demo_homes import HISTORY_COLUMNS, LISTING_COLUMNS, Home, homes
from devstack.demo_people import AGENT_COLUMNS, agents, midnight
from devstack.demo_places import localities
from devstack.demo_projects import PLACE_COLUMNS, named, sites
from devstack.process import Problem

LISTINGS, SEED = 2000, 1
LISTINGS_PER_AGENT = 40
BATCH = 5000
KNOWN = "select exists (select from agents.agents) or exists (select from projects.builders)"
GROWN = "agents.agents, agents.listings, agents.listing_history, projects.units"


def load(admin_url: str, environment: Mapping[str, str], console: Console) -> None:
    """Load what the environment asks for, all or nothing, unless there are agents or builders already."""
    count = _number(environment, "DEMO_LISTINGS", LISTINGS)
    if count:
        asyncio.run(
            _load(
                admin_url,
                count,
                _number(environment, "DEMO_SEED", SEED),
                midnight(datetime.now(UTC)),
                console,
            )
        )


async def _load(admin_url: str, count: int, seed: int, now: datetime, console: Console) -> None:
    connection = await asyncpg.connect(admin_url)
    try:
        async with connection.transaction():
            if await connection.fetchval(KNOWN):
                return
            await _fill(connection, count, random.Random(seed), now, console)  # noqa: S311
        # What the planner knows of tables that were empty a moment ago is wrong until autovacuum comes by.
        await connection.execute(f"vacuum (analyze) {GROWN}")
    finally:
        await connection.close()


async def _fill(
    connection: asyncpg.Connection,
    count: int,
    chance: random.Random,
    now: datetime,
    console: Console,
) -> None:
    places = localities(chance)
    staff = agents(chance, -(-count // LISTINGS_PER_AGENT), places, now)
    everybody = [agent.row for team in staff.values() for agent in team]
    await _copy(connection, "agents", "agents", AGENT_COLUMNS, everybody)
    for site in sites(chance, places, now):
        for table in fields(site):
            rows: list[dict[str, Any]] = getattr(site, table.name)
            columns = tuple(rows[0])
            values = [tuple(row[column] for column in columns) for row in rows]
            await _copy(connection, "projects", table.name, columns, values)
        # What agents would have been told by an event.
        await _copy(connection, "agents", "places", PLACE_COLUMNS, named(site))
    made = homes(chance, count, places, staff, now)
    with _progress(console) as progress:
        task = progress.add_task("Loading demo listings", total=count)
        batch = list(islice(made, BATCH))
        while batch:
            # Postgres digests one batch while we make the next.
            copying = asyncio.create_task(_copy_homes(connection, batch))
            fresh = await asyncio.to_thread(lambda: list(islice(made, BATCH)))
            await copying
            progress.advance(task, len(batch))
            batch = fresh


async def _copy_homes(connection: asyncpg.Connection, batch: list[Home]) -> None:
    listings = [home.listing for home in batch]
    history = [change for home in batch for change in home.history]
    await _copy(connection, "agents", "listings", LISTING_COLUMNS, listings)
    await _copy(connection, "agents", "listing_history", HISTORY_COLUMNS, history)


async def _copy(
    connection: asyncpg.Connection,
    schema: str,
    table: str,
    columns: tuple[str, ...],
    rows: list[tuple[Any, ...]],
) -> None:
    await connection.copy_records_to_table(
        table, schema_name=schema, columns=list(columns), records=rows
    )


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    value = environment.get(name) or str(default)
    if not value.isdigit():
        raise Problem(f"{name} must be a number, not {value!r}.")
    return int(value)
