"""An agent who may not sell any more, and lists more than one transaction is to take off the market."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from agents_service import __main__ as agents_main
from agents_service.agents.repository import AgentRepository
from agents_service.agents.service import AgentService
from agents_service.listings.repository import ListingRepository
from agents_service.listings.service import BATCH, ListingService
from chassis.database import Transaction
from chassis.errors import Conflict
from chassis.timers import sweep
from devstack.testing_service import Running, Tokens
from propmubi.agents.v1 import agents_pb2
from propmubi.agents.v1.agents_pb2_grpc import AgentServiceStub
from services.agents.tests.integration.conftest import Lister
from services.agents.tests.integration.test_listings import names

MANY = 3 * BATCH + 10
COPIES = """
insert into listings (id, list_agent_id, list_office_id, listing_type, property_type, standard_status, list_price,
    carpet_area, city, on_market_date)
select gen_random_uuid(), list_agent_id, list_office_id, listing_type, property_type, standard_status, list_price,
    carpet_area, city, on_market_date
from listings, generate_series(2, :count)
"""
LEFT = "select count(*) as n from listings where standard_status = 'active'"
# What was withdrawn not at all or twice, or told of so.
NOT_ONCE = """
select id from listings where standard_status <> 'incomplete' and ((select count(*) from listing_history
    where listing_id = listings.id and to_value = 'withdrawn' and reason = 'agent.suspended') <> 1
or (select count(*) from outbox where aggregate_id = listings.id and name = 'listing.status_changed')
    <> (select count(*) from listing_history where listing_id = listings.id and from_value is not null
        and field = 'standard_status'))
"""


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's own timer comes too late to be seen: the test is the clock."""
    monkeypatch.setattr(agents_main, "WITHDRAW_SECONDS", 600.0)


async def left(agents: Running) -> int:
    [row] = await agents.database.fetch(text(LEFT))
    return int(row["n"])


@pytest.mark.usefixtures("unhurried")
async def test_all_of_it_leaves_in_steps_that_end_once_whoever_dies_in_between(
    agents: Running, tokens: Tokens, asha: Lister
) -> None:
    database = agents.database
    repository = AgentRepository(database)
    service = AgentService(repository, ListingService(ListingRepository(database), repository))
    draft = await asha.draft()
    await asha.publish()
    async with database.transaction() as tx:
        copy = f"{COPIES} where standard_status = 'active'"
        await tx.execute(text(copy), {"count": MANY})
    admin, agent_id = AgentServiceStub(agents.caller(tokens.admin())), str(asha.agent_id)
    await admin.SuspendAgent(agents_pb2.SuspendAgentRequest(agent_id=agent_id, reason="complaint"))
    assert await left(agents) == MANY - BATCH
    await admin.ReinstateAgent(agents_pb2.ReinstateAgentRequest(agent_id=agent_id))
    with pytest.raises(Conflict) as refused:
        await asha.move(draft, "active")
    assert "leaving the market" in refused.value.message

    async def dies(tx: Transaction) -> int:
        await service.withdraw_more(tx)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        await sweep(database, dies)()
    assert await left(agents) == MANY - BATCH
    await asyncio.gather(*(sweep(database, service.withdraw_more)() for _ in range(3)))
    assert await left(agents) == 0
    assert await database.fetch(text(NOT_ONCE)) == []
    told: list[Any] = await names(agents, agent_id)
    assert told == ["agent.suspended", "agent.verified"]
    await asha.move(draft, "active")
