"""Public reads are lean: one statement each, and none that must look at a whole table."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import text

from chassis.context import current_call_or_none
from chassis.reads import Reads
from propmubi.projects.v1 import builders_pb2, projects_pb2, units_pb2

ANY_ID = "01a20486-0be6-7740-a107-c07a250c455a"
PROJECT_FILTERS: Sequence[dict[str, Any]] = (
    {},
    {"city": "Pune"},
    {"subdivision_name": ["Wakad", "Baner"]},
    {"postal_code": ["411057"]},
    {"builder_id": ANY_ID},
)
UNIT_FILTERS: Sequence[dict[str, Any]] = (
    {},
    {"tower_id": ANY_ID},
    {"unit_type_id": ANY_ID},
    {"status": [units_pb2.UNIT_STATUS_AVAILABLE]},
    {"bhk": [2, 3]},
    {"price_min": 1, "price_max": 2},
)


Statement = tuple[str, Sequence[Any]]


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
    """The SQL of every read for a caller from now on, and what it was given."""
    seen: list[Statement] = []
    fetch = Reads.fetch

    async def noted(self: Reads, sql: str, values: Sequence[Any], **how: Any) -> Any:
        call = current_call_or_none()
        # The relay, consumers and timers look by themselves.
        if call is not None and "/" in call.rpc:
            seen.append((sql, values))
        return await fetch(self, sql, values, **how)

    monkeypatch.setattr(Reads, "fetch", noted)
    return seen


async def plan(sales: Any, statement: Statement) -> str:
    """How Postgres would run a statement if it avoided reading whole tables wherever an index allows."""
    sql, values = statement
    async with sales.running.database.transaction() as tx:
        await tx.execute(text("set local enable_seqscan = off"))
        pooled = await tx.connection.get_raw_connection()
        rows = await pooled.driver_connection.fetch(f"explain {sql}", *values)
        return "\n".join(row[0] for row in rows)


async def test_every_read_is_one_statement_that_has_its_index(
    sales: Any, statements: list[Statement]
) -> None:
    unit = await sales.unit()
    builders, projects, units = sales.builders(), sales.projects(), sales.units()
    builder_id, project_id = str(sales.builder_id), sales.project_id
    for read, request in (
        (builders.GetBuilder, builders_pb2.GetBuilderRequest(builder_id=builder_id)),
        (projects.GetProject, projects_pb2.GetProjectRequest(project_id=project_id)),
        (projects.ListTowers, projects_pb2.ListTowersRequest(project_id=project_id)),
        (projects.ListUnitTypes, projects_pb2.ListUnitTypesRequest(project_id=project_id)),
        (units.GetUnit, units_pb2.GetUnitRequest(unit_id=unit.id)),
        (units.GetCostSheet, units_pb2.GetCostSheetRequest(unit_id=unit.id)),
        (builders.ListBuilders, builders_pb2.ListBuildersRequest()),
        *(
            (projects.ListProjects, projects_pb2.ListProjectsRequest(**filters))
            for filters in PROJECT_FILTERS
        ),
        *(
            (units.ListUnits, units_pb2.ListUnitsRequest(project_id=project_id, **filters))
            for filters in UNIT_FILTERS
        ),
    ):
        statements.clear()
        await read(request)
        assert len(statements) == 1
        how = await plan(sales, statements[0])
        assert "Seq Scan" not in how, how
