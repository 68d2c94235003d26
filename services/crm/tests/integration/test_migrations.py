"""Migrations: they make what the models say, and go back to nothing."""

import asyncio

from chassis import migrate
from crm_service.activities import models as _activities  # noqa: F401  Known by being imported.
from crm_service.leads import models as _leads  # noqa: F401
from crm_service.metadata import metadata
from crm_service.notices import models as _notices  # noqa: F401
from devstack.testing_migrations import differences, provisioned, tables_left


async def test_migrations_make_what_the_models_say_and_go_back(empty_database: str) -> None:
    owner = await provisioned(empty_database, "crm")
    await asyncio.to_thread(migrate.upgrade, owner, "crm")
    assert await differences(owner, metadata) == []
    await asyncio.to_thread(migrate.downgrade, owner, "crm", "base")
    assert await tables_left(owner, "crm") == ["alembic_version"]
