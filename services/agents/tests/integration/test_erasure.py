"""An agent who is to be forgotten."""

import asyncio
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import insert, select, text

from agents_service.offices.models import invitations, offices
from chassis.errors import Conflict
from chassis.ids import new_id
from chassis.redis import stream_of
from chassis.tables import idempotency_key, inbox, outbox
from devstack.testing_service import Running, Tokens
from propmubi.agents.v1 import agents_pb2 as pb
from propmubi.agents.v1 import saved_searches_pb2
from propmubi.agents.v1.agents_pb2_grpc import AgentServiceStub
from propmubi.agents.v1.saved_searches_pb2_grpc import SavedSearchServiceStub
from propmubi.auth.v1.events_pb2 import UserErased
from propmubi.common.v1.event_pb2 import Event
from services.agents.tests.integration.test_saved_searches import eventually, save
from services.agents.tests.integration.test_units import status_of

PHONE = "+919876543210"


async def erase(agents: Running, user_id: str, sequence: int) -> None:
    await tell(agents, UserErased(user_id=user_id, phone=PHONE), sequence)


async def tell(agents: Running, payload: UserErased, sequence: int) -> None:
    """Tell of a person, twice as a relay may, and wait until that was applied."""
    event = Event(
        id=str(new_id()), aggregate_id=payload.user_id, sequence=sequence, payload=AnyMessage()
    )
    event.payload.Pack(payload)
    for _ in range(2):
        await agents.service.redis.xadd(stream_of("auth"), {"event": event.SerializeToString()})
    async with asyncio.timeout(10):
        while True:
            met = await agents.database.fetch(select(inbox.c.sequence))
            if any(row["sequence"] == sequence for row in met):
                return
            await asyncio.sleep(0.02)


async def test_an_erased_agent_is_masked_in_her_history_too_and_sells_nothing_any_more(
    agents: Running, asha: Any, tokens: Tokens
) -> None:
    listing = await asha.publish()
    stub = AgentServiceStub(agents.caller(asha.token))
    mine = pb.GetAgentRequest(agent_id=str(asha.agent_id))
    user_id = (await stub.GetAgent(mine)).user_id
    once = AgentServiceStub(agents.caller(asha.token, idempotency_key="once"))
    await once.UpdateAgent(
        pb.UpdateAgentRequest(
            agent_id=str(asha.agent_id),
            agent=pb.Agent(member_full_name="Asha Deshpande"),
            update_mask=FieldMask(paths=["member_full_name"]),
        )
    )
    async with agents.database.transaction() as tx:
        office = {"id": new_id(), "admin_agent_id": asha.agent_id}
        told = {"office_name": "O", "city": "Pune", "verification_status": "none"}
        await tx.execute(insert(offices).values(**office, **told, office_status="active"))
        invited = {"member_mobile_phone": PHONE, "status": "open", "invited_by": "x"}
        await tx.execute(insert(invitations).values(id=new_id(), office_id=office["id"], **invited))
    kept = select(idempotency_key.c.key).filter_by(key="once")
    assert await agents.database.fetch(kept) != []
    for sequence in (1, 2):
        await erase(agents, user_id, sequence)
    assert await agents.database.fetch(kept) == []
    left = await stub.GetAgent(mine)
    assert (left.member_full_name, left.member_mobile_phone) == ("Erased", "")
    assert (left.rera_agent_no, left.status) == ("", pb.AGENT_STATUS_SUSPENDED)
    assert await status_of(asha, listing) == "withdrawn"
    said = "select string_agg(h::text, ' ') as said from agent_history h"
    [history] = await agents.database.fetch(text(said))
    assert "member_full_name" in history["said"]
    assert "Asha" not in history["said"]
    assert PHONE not in history["said"]
    assert await agents.database.fetch(select(invitations.c.id)) == []
    names = [row["name"] for row in await agents.database.fetch(select(outbox.c.name))]
    assert names.count("agent.suspended") == 1
    with pytest.raises(Conflict, match="erased"):
        await AgentServiceStub(agents.caller(tokens.admin())).ReinstateAgent(
            pb.ReinstateAgentRequest(agent_id=str(asha.agent_id))
        )


async def test_who_is_erased_has_no_searches_matches_or_alerts_left(
    agents: Running, tokens: Tokens, asha: Any
) -> None:
    user_id = new_id()
    meera = SavedSearchServiceStub(agents.caller(tokens.person(user_id=user_id)))
    ravi = SavedSearchServiceStub(agents.caller(tokens.person()))
    for stub in (meera, ravi):
        await save(stub, city="Pune")
    await asha.publish()
    await eventually(agents, 2)
    left = text("""
        select (select count(*) from saved_searches) as searches,
            (select count(*) from saved_search_matches) as matches,
            (select count(*) from alerts) as alerts
        """)
    assert [dict(row) for row in await agents.database.fetch(left)] == [
        {"searches": 2, "matches": 2, "alerts": 2}
    ]
    await erase(agents, str(user_id), 1)
    assert [dict(row) for row in await agents.database.fetch(left)] == [
        {"searches": 1, "matches": 1, "alerts": 1}
    ]
    assert (
        await ravi.ListSavedSearches(saved_searches_pb2.ListSavedSearchesRequest())
    ).saved_searches


async def test_whoever_is_no_agent_is_erased_without_a_trace(agents: Running, asha: Any) -> None:
    listing = await asha.publish()
    await erase(agents, str(new_id()), 1)
    assert await status_of(asha, listing) == "active"


async def test_a_history_is_masked_by_its_function_and_by_nothing_else(agents: Running) -> None:
    rights = (
        "select has_table_privilege('agent_history', 'update') as changes,"
        " has_table_privilege('agent_history', 'delete') as deletes"
    )
    [row] = await agents.database.fetch(text(rights))
    assert dict(row) == {"changes": False, "deletes": False}
