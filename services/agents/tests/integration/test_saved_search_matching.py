"""Which homes a saved search wants: those that a search for the same would find, looked up by its anchors."""

import random
import uuid
from typing import Any

import orjson
import pytest
from sqlalchemy import insert, text

from agents_service.saved_searches.domain import CHECKS, Home
from agents_service.saved_searches.models import saved_searches
from agents_service.saved_searches.repository import _CANDIDATES, _NOTE
from agents_service.search.models import places
from chassis.ids import new_id
from devstack.testing_service import Running
from propmubi.agents.v1 import listings_pb2
from propmubi.agents.v1.listings_pb2 import ListingFilters
from services.agents.tests.integration.conftest import WAKAD
from services.agents.tests.integration.test_saved_searches import (
    ask,
    eventually,
    matched,
    meera,
    save,
)

__all__ = ["meera"]  # The fixture.


async def test_words_match_what_a_search_for_them_finds(
    agents: Running, meera: Any, asha: Any, public: Any
) -> None:
    home = await asha.publish(address=WAKAD)
    asked = {
        q: await save(meera, q=q) for q in ("blue ridge", "blue riidge", "ridge", "blue lagoon")
    }
    await ask(asha, home, 8_000_000)
    await eventually(agents, 3)
    for q, search in asked.items():
        page = await public.ListListings(
            listings_pb2.ListListingsRequest(filters=ListingFilters(q=q))
        )
        assert await matched(meera, search) == [each.id for each in page.listings], q
    assert await matched(meera, asked["blue riidge"]) == [home.id]
    assert await matched(meera, asked["blue lagoon"]) == []


async def test_no_home_that_postgres_finds_a_word_in_is_passed_over(agents: Running) -> None:
    chance = random.Random(1)
    address = "a-1203, blue ridge hinjewadi phase-2 t.nagar o'brien pune flat"
    words = set()
    for _ in range(2_000):
        letters = [*chance.choice(address.split())]
        for _ in range(chance.randint(1, 4)):
            letters.insert(chance.randint(0, len(letters)), chance.choice("aeinr-_. '2"))
            del letters[chance.randint(0, len(letters) - 1)]
        words.add("".join(letters))
    likely = text(
        "select word from unnest(cast(:words as text[])) word where :text %> word"
    ).bindparams(words=[*words], text=address)
    async with agents.database.transaction() as tx:
        likely_words = set((await tx.execute(likely)).scalars())
    assert 100 < len(likely_words) < len(words)
    home = Home._make(address if name == "search_text" else None for name in Home._fields)
    assert [each for each in likely_words if not CHECKS["words"](home, [each])] == []


async def test_a_builders_name_means_what_it_builds_later_too(
    agents: Running, meera: Any, asha: Any
) -> None:
    builder_id, first, second = new_id(), new_id(), new_id()

    async def name(kind: str, called: str, id_: uuid.UUID) -> None:
        row = {"kind": kind, "folded": called.lower(), "name": called, "reference_id": id_}
        whose = builder_id if kind == "project" else None
        async with agents.database.transaction() as tx:
            await tx.execute(insert(places), {**row, "city": "", "builder_id": whose})

    await name("builder", "Paranjape", builder_id)
    await name("project", "Gloria", first)
    search = await save(meera, q="paranjape")
    await name("project", "Athena", second)
    homes = [
        await asha.publish(project_id=str(each), rera_project_no="P52100012345")
        for each in (first, second, new_id())
    ]
    await eventually(agents, 2)
    assert {*await matched(meera, search)} == {homes[0].id, homes[1].id}


@pytest.mark.parametrize(
    ("statement", "index"),
    [(_CANDIDATES, "saved_searches_inexact_anchors"), (_NOTE, "saved_searches_anchors")],
)
async def test_searches_are_found_by_the_index_of_their_anchors(
    agents: Running, statement: Any, index: str
) -> None:
    rows = [
        {
            "id": new_id(),
            "user_id": new_id(),
            "name": "A flat",
            "filters": b"",
            "wanted": {},
            "anchors": [f"sale/2/subdivision_name:{number}"],
            "exact": number % 2,
            "alert": "instant",
        }
        for number in range(200)
    ]
    async with agents.database.transaction() as tx:
        await tx.execute(insert(saved_searches), rows)
        await tx.execute(text("set local enable_seqscan = off"))
        sql, values = agents.database.prepared(
            statement,
            {
                "listing_ids": [new_id()],
                "list_prices": [1],
                "reasons": ["new"],
                "anchors": ["sale/2/subdivision_name:7"],
                "ids": [],
                "found": [],
            },
        )
        connection: Any = (await tx.connection.get_raw_connection()).driver_connection
        [answer] = await connection.fetch(f"explain (format json) {sql}", *values)
    plan = answer[0] if isinstance(answer[0], str) else orjson.dumps(answer[0]).decode()
    assert f'"{index}"' in plan
    assert "Seq Scan" not in plan
