"""How soon an agent answers, as crm's events tell it and her public page shows it."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from sqlalchemy import select, text

from agents_service.agents.domain import ANSWERS_COUNTED, LEAST_ANSWERS
from chassis.ids import new_id
from chassis.protobuf import timestamp
from chassis.redis import stream_of
from chassis.tables import inbox
from devstack.testing_service import Running
from propmubi.agents.v1 import agents_pb2 as pb
from propmubi.agents.v1.agents_pb2_grpc import AgentServiceStub
from propmubi.common.v1.event_pb2 import Event
from propmubi.crm.v1.events_pb2 import LeadResponded
from services.agents.tests.integration.conftest import Lister
from services.agents.tests.integration.test_erasure import erase


async def answer(agents: Running, asha: Lister, seconds: int | None, *, days_ago: int = 0) -> None:
    """She answers one more lead; the event is delivered twice and was applied when this returns."""
    lead_id, at = new_id(), datetime.now(UTC) - timedelta(days=days_ago)
    responded = LeadResponded(
        lead_id=str(lead_id),
        owner_agent_id=str(asha.agent_id),
        responded_at=timestamp(at),
        response_seconds=seconds,
    )
    event = Event(id=str(new_id()), aggregate_id=str(lead_id), sequence=3, payload=AnyMessage())
    event.payload.Pack(responded)
    for _ in range(2):
        await agents.service.redis.xadd(stream_of("crm"), {"event": event.SerializeToString()})
    met = select(inbox.c.sequence).where(inbox.c.aggregate_id == lead_id)
    async with asyncio.timeout(10):
        while not await agents.database.fetch(met):  # noqa: ASYNC110  The inbox alone tells.
            await asyncio.sleep(0.01)


async def shown(agents: Running, asha: Lister) -> int | None:
    """What everybody sees of it, on her page and in the directory."""
    public = AgentServiceStub(agents.caller())
    agent = await public.GetAgent(pb.GetAgentRequest(agent_id=str(asha.agent_id)))
    assert list((await public.ListAgents(pb.ListAgentsRequest())).agents) == [agent]
    known = agent.HasField("median_response_seconds")
    return int(agent.median_response_seconds) if known else None


async def test_her_page_shows_the_median_of_her_answers_of_late_once_enough_tell(
    agents: Running, asha: Lister
) -> None:
    for seconds in (60, 120, 86_400, 180):
        await answer(agents, asha, seconds)
    await answer(agents, asha, None)  # Somebody else of her office did.
    await answer(agents, asha, 5, days_ago=91)
    assert await shown(agents, asha) is None
    await answer(agents, asha, 240)
    assert await shown(agents, asha) == 180
    assert LEAST_ANSWERS == 5


async def test_only_her_last_answers_are_kept(agents: Running, asha: Lister) -> None:
    then = [datetime.now(UTC)] * ANSWERS_COUNTED
    async with agents.database.transaction() as tx:
        known: dict[str, Any] = {"at": then, "seconds": [60] * ANSWERS_COUNTED}
        await tx.connection.exec_driver_sql(
            "update agents set answered_at = $1, answer_seconds = $2", tuple(known.values())
        )
    await answer(agents, asha, 120)
    [row] = await agents.database.fetch(text("select answered_at, answer_seconds from agents"))
    assert row["answer_seconds"] == [60] * (ANSWERS_COUNTED - 1) + [120]
    assert len(row["answered_at"]) == ANSWERS_COUNTED


async def test_nothing_is_left_of_it_when_she_is_erased_and_nothing_comes_after(
    agents: Running, asha: Lister
) -> None:
    mine = AgentServiceStub(agents.caller(asha.token))
    agent = await mine.GetAgent(pb.GetAgentRequest(agent_id=str(asha.agent_id)))
    await answer(agents, asha, 60)
    await erase(agents, agent.user_id, 1)
    await answer(agents, asha, 60)
    kept = text("select answered_at, answer_seconds from agents")
    assert [[*row] for row in await agents.database.fetch(kept)] == [[[], []]]
    told = text("select from_value, to_value from agent_history where field like 'answer%'")
    assert {tuple(row) for row in await agents.database.fetch(told)} == {(None, None)}
