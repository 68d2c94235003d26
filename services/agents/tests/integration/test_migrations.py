"""Migrations: they make what the models say, each goes back to what was before it, and forward again."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from alembic.script import ScriptDirectory

from agents_service import __main__ as _every_model  # noqa: F401  Known by being imported.
from agents_service.metadata import metadata
from agents_service.search.domain import folded_name
from chassis import migrate
from devstack.supervisor import ROOT
from devstack.testing_migrations import differences, provisioned

SCRIPTS = ScriptDirectory(str(ROOT / "services/agents/migrations"))
REVISIONS: Sequence[str] = [
    "base",
    *reversed([script.revision for script in SCRIPTS.walk_revisions()]),
]
# All that a revision can make: columns, indexes, constraints, functions and what the service may do with them.
SCHEMA = """
select 'column', table_name || '.' || column_name, concat_ws(' ', data_type, udt_name, is_nullable, column_default,
    generation_expression)
from information_schema.columns where table_schema = 'agents'
union all select 'index', indexname, indexdef from pg_indexes where schemaname = 'agents'
union all select 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
from pg_constraint where connamespace = 'agents'::regnamespace
union all select 'function', oid::regprocedure::text, pg_get_functiondef(oid) || coalesce(proacl::text, '')
from pg_proc where pronamespace = 'agents'::regnamespace
union all select 'rights', oid::regclass::text, relacl::text from pg_class
where relnamespace = 'agents'::regnamespace and relkind in ('r', 'S')
order by 1, 2
"""


@pytest_asyncio.fixture
async def owner(empty_database: str) -> str:
    return await provisioned(empty_database, "agents")


@pytest_asyncio.fixture
async def server(owner: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(owner)
    yield connection
    await connection.close()


async def test_buildings_become_words_without_writing_all_listings_anew(
    owner: str, server: asyncpg.Connection
) -> None:
    await asyncio.to_thread(migrate.upgrade, owner, "agents", "0016")
    await server.execute("""
        insert into agents (id, user_id, member_full_name, member_mobile_phone, rera_agent_no, rera_state, rera_valid_to,
            verification_status, languages, service_areas, status)
        values (gen_random_uuid(), gen_random_uuid(), 'Asha', '', '', '', '2030-01-01', '', '{}', '{}', 'active')
        """)
    add = """
        insert into listings (id, list_agent_id, listing_type, property_type, standard_status, city, building_name)
        select gen_random_uuid(), id, 'sale', 'apartment', 'incomplete', 'Pune', $1 from agents, generate_series(1, $2)
        """
    await server.execute(add, "Blué Ridge", 2_500)
    await server.execute(add, None, 1)
    where = "select pg_relation_filenode('listings')"
    before = await server.fetchval(where)
    await asyncio.to_thread(migrate.upgrade, owner, "agents", "0017")
    assert await server.fetchval(where) == before
    await server.execute(add, "Blue Ridge", 1)
    await server.execute(
        "update listings set building_name = 'Blue Ridge' where building_name is null"
    )
    words = "select btrim(search_text), count(*) from listings group by 1"
    assert [*map(tuple, await server.fetch(words))] == [("blue ridge pune", 2_502)]


async def test_names_with_points_become_words_and_two_that_are_the_same_one_place(
    owner: str, server: asyncpg.Connection
) -> None:
    await asyncio.to_thread(migrate.upgrade, owner, "agents", "0018")
    add = "insert into places (kind, folded, name, city) values ('locality', $1, '', 'Pune')"
    names = ("dr. a. veedhi", "dr a veedhi", r"k.r.[x]-y\_z ", "पुणे.")
    await server.executemany(add, [(name,) for name in names])
    await asyncio.to_thread(migrate.upgrade, owner, "agents", "0019")
    found = await server.fetch("select folded from places order by folded")
    assert (
        {row[0] for row in found}
        == {"dr a veedhi", "k r x y z", "पुणे"}
        == set(map(folded_name, names))
    )
    assert len(found) == 3


@pytest.mark.filterwarnings("ignore:Did not recognize type .point.")
async def test_migrations_make_what_the_models_say_and_each_goes_back_and_forward(
    owner: str, server: asyncpg.Connection
) -> None:
    async def schema() -> list[Any]:
        return [tuple(row) for row in await server.fetch(SCHEMA)]

    made = {}
    for revision in REVISIONS[1:]:
        await asyncio.to_thread(migrate.upgrade, owner, "agents", revision)
        made[revision] = await schema()
    assert await differences(owner, metadata) == []
    for before in reversed(REVISIONS[1:-1]):
        await asyncio.to_thread(migrate.downgrade, owner, "agents", before)
        assert await schema() == made[before], before
    await asyncio.to_thread(migrate.downgrade, owner, "agents", "base")
    assert [name for _, name, _ in await schema() if "alembic_version" not in name] == []
    await asyncio.to_thread(migrate.upgrade, owner, "agents")
    assert await schema() == made[REVISIONS[-1]]
