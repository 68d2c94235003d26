"""Migrations: they make what the models say, and go back to nothing."""

import asyncio

from chassis import migrate
from devstack.testing_migrations import differences, provisioned, tables_left
from projects_service.builders import models as _builders  # noqa: F401  Known by being imported.
from projects_service.metadata import metadata
from projects_service.projects import models as _projects  # noqa: F401
from projects_service.units import models as _units  # noqa: F401


async def test_migrations_make_what_the_models_say_and_go_back(empty_database: str) -> None:
    owner = await provisioned(empty_database, "projects")
    await asyncio.to_thread(migrate.upgrade, owner, "projects")
    assert await differences(owner, metadata) == []
    await asyncio.to_thread(migrate.downgrade, owner, "projects", "base")
    assert await tables_left(owner, "projects") == ["alembic_version"]
