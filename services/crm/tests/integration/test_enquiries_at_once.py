"""What enquiries cost, alone and many at once: each gets what it would have got alone."""

import asyncio
import uuid
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import select

from chassis import database, tables
from crm_service.leads.models import suspended_agents
from propmubi.agents.v1.events_pb2 import AgentSuspended
from propmubi.crm.v1 import leads_pb2
from propmubi.crm.v1.leads_pb2 import GetLeadRequest
from services.crm.tests.integration.test_enquiries import PHONE, enquiry, eventually


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What enquiries wrote. Timers, the relay and consumers work beside them, and write other tables."""
    executed: list[str] = []
    observed = database._observed

    def noted(statement: str) -> Any:
        written = ("contacts", "leads", "activities", "event_sequence")
        if any(
            f"{verb} {table}" in statement.lower()
            for verb in ("into", "update")
            for table in written
        ):
            executed.append(statement)
        return observed(statement)

    monkeypatch.setattr(database, "_observed", noted)
    return executed


async def test_an_enquiry_takes_one_call_and_two_statements(
    crm: Any, statements: list[str]
) -> None:
    asha = crm.peers.add_agent()
    listing_id = crm.peers.add_listing(asha)
    await crm.leads().CreateEnquiry(enquiry(listing_id=listing_id))
    assert crm.peers.asked == 1
    statements.clear()
    await crm.leads().CreateEnquiry(enquiry(listing_id=listing_id, phone="9876543211"))
    assert crm.peers.asked == 1  # Who owns a listing is remembered for a while.
    assert len(statements) == 2  # The lead with its contact, activity and notice; its two events.


async def test_enquiries_at_once_share_calls_and_statements(
    crm: Any, statements: list[str]
) -> None:
    asha = crm.peers.add_agent()
    numbers = range(10, 42)
    answers = await asyncio.gather(
        *(
            crm.leads(x_correlation_id=f"enquirer-{number}").CreateEnquiry(
                enquiry(listing_id=crm.peers.add_listing(asha), phone=f"98765432{number}")
            )
            for number in numbers
        )
    )
    assert crm.peers.asked < len(numbers) / 2
    assert len(statements) < len(numbers)
    # Each event tells whose enquiry it came of, though they were stored together.
    query = select(tables.outbox.c.aggregate_id, tables.outbox.c.correlation_id)
    told = Counter(map(tuple, await crm.running.database.fetch(query)))
    assert told == {
        (uuid.UUID(answer.id), f"enquirer-{number}"): 2
        for answer, number in zip(answers, numbers, strict=True)
    }


async def test_each_of_those_at_once_gets_what_it_would_have_got_alone(crm: Any) -> None:
    asha, meera = crm.peers.add_agent(), crm.peers.add_agent()
    first, second = crm.peers.add_listing(asha), crm.peers.add_listing(asha)
    await crm.publish("agents", AgentSuspended(agent_id=str(meera.id)), meera.id, 1)
    hers = crm.peers.add_listing(meera)
    known = await crm.leads().CreateEnquiry(enquiry(listing_id=first))

    async def suspended() -> bool:
        return bool(await crm.running.database.fetch(select(suspended_agents)))

    await eventually(suspended)

    async def enquire(listing_id: str, phone: str) -> tuple[str, bool]:
        trailers: dict[str, str] = {}
        request = enquiry(listing_id=listing_id, phone=phone)
        answer = await crm.leads().CreateEnquiry(request, trailers=trailers)
        return answer.id, "propmubi-existing" in trailers

    others = [f"98765432{number}" for number in range(20, 40)]
    asked = [(first, PHONE), (second, PHONE), (second, PHONE), (hers, PHONE)]
    answers = await asyncio.gather(
        *(enquire(*each) for each in [(second, phone) for phone in others] + asked)
    )
    again, new, repeated, unowned = answers[len(others) :]
    assert again == (known.id, True)
    assert new[0] == repeated[0]
    assert {new[1], repeated[1]} == {False, True}
    lead = await crm.leads(crm.tokens.admin()).GetLead(GetLeadRequest(lead_id=unowned[0]))
    assert (lead.stage, lead.owner_agent_id) == (leads_pb2.LEAD_STAGE_NEW, "")
    assert len({lead_id for lead_id, _ in answers}) == len(others) + 3
