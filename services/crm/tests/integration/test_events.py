"""What other services' events do to leads, and what leads tell."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from chassis import tables
from chassis.context import background_call, enter
from chassis.ids import new_id
from chassis.protobuf import timestamp
from chassis.sms import open_sms
from crm_service.clients import Agents
from crm_service.enquiries.domain import Enquiry, NewLead
from crm_service.enquiries.repository import EnquiryRepository
from crm_service.leads.domain import Owner
from crm_service.leads.repository import LeadRepository
from crm_service.notices.repository import NoticeRepository
from crm_service.notices.service import NoticeService
from crm_service.notices.timers import BATCH, NoticeTimers
from propmubi.agents.v1 import agents_pb2, listings_pb2
from propmubi.agents.v1.events_pb2 import AgentSuspended, AgentVerified
from propmubi.crm.v1 import activities_pb2 as activities
from propmubi.crm.v1 import leads_pb2 as pb
from propmubi.projects.v1.events_pb2 import UnitBooked, UnitHeld, UnitReleased


async def enquire(crm: Any, agent: Any) -> str:
    enquiry = pb.Enquiry(
        listing_id=crm.peers.add_listing(agent), full_name="Rohan Deshmukh", phone="9876543210"
    )
    return str((await crm.leads().CreateEnquiry(pb.CreateEnquiryRequest(enquiry=enquiry))).id)


async def eventually(look: Callable[[], Awaitable[Any]]) -> Any:
    """What `look` finds, once it finds something: consumers tell nobody when they are done."""
    async with asyncio.timeout(10):
        while True:
            if found := await look():
                return found
            await asyncio.sleep(0.02)


async def applied(crm: Any, source: str, sequence: int) -> None:
    """Wait until crm's inbox has met the event."""
    query = select(tables.inbox.c.sequence).where(tables.inbox.c.source == source)

    async def met() -> bool:
        return any(row["sequence"] >= sequence for row in await crm.running.database.fetch(query))

    await eventually(met)


async def timeline(crm: Any, token: str, lead_id: str) -> list[str]:
    request = activities.ListActivitiesRequest(lead_id=lead_id)
    found = (await crm.activities(token).ListActivities(request)).activities
    return [entry.text for entry in reversed(found)]


async def stages(crm: Any, token: str, lead_id: str) -> Any:
    return (await crm.leads(token).GetLead(pb.GetLeadRequest(lead_id=lead_id))).stage


async def test_a_held_released_and_booked_unit_is_on_the_timeline_and_books_the_lead(
    crm: Any,
) -> None:
    asha = crm.peers.add_agent()
    token, lead_id, unit_id = crm.token_of(asha), await enquire(crm, asha), new_id()
    until = timestamp(datetime(2026, 11, 25, 13, tzinfo=UTC))
    held = UnitHeld(unit_id=str(unit_id), claim_id="c-1", lead_id=lead_id, expires_at=until)
    booked = UnitBooked(unit_id=str(unit_id), booking_id="b-1", lead_id=lead_id, price=9_000_000)
    await crm.publish("projects", held, unit_id, 1)
    await crm.publish("projects", held, unit_id, 1)  # Delivered twice.
    released = UnitReleased(unit_id=str(unit_id), claim_id="c-1", lead_id=lead_id)
    await crm.publish("projects", released, unit_id, 2)
    await crm.publish("projects", booked, unit_id, 3)
    await crm.publish("projects", booked, unit_id, 3)
    await applied(crm, "projects", 3)
    assert await timeline(crm, token, lead_id) == [
        "Enquired.",
        "A unit is held for her until 25 Nov 2026, 18:30 IST.",
        "The unit held for her is free again.",
        "A unit was booked.",
    ]
    assert await stages(crm, token, lead_id) == pb.LEAD_STAGE_BOOKED


async def test_units_booked_for_nobody_of_ours_or_for_a_closed_lead_stop_nothing(crm: Any) -> None:
    asha = crm.peers.add_agent()
    token, lead_id, unit_id = crm.token_of(asha), await enquire(crm, asha), new_id()
    junk = pb.SetLeadStageRequest(lead_id=lead_id, stage=pb.LEAD_STAGE_JUNK)
    await crm.leads(token).SetLeadStage(junk)
    for sequence, lead in enumerate((None, str(new_id()), lead_id), start=1):
        await crm.publish("projects", UnitBooked(lead_id=lead), unit_id, sequence)
    await applied(crm, "projects", 3)
    assert (await timeline(crm, token, lead_id))[
        -1
    ] == "A unit was booked, though the lead is junk."
    assert await stages(crm, token, lead_id) == pb.LEAD_STAGE_JUNK


async def test_a_suspended_agent_loses_her_open_leads_and_gets_none_until_reinstated(
    crm: Any,
) -> None:
    asha = crm.peers.add_agent()
    lead_id, admin = await enquire(crm, asha), crm.tokens.admin()
    listing_id = (await crm.leads(admin).GetLead(pb.GetLeadRequest(lead_id=lead_id))).listing_id
    suspended = AgentSuspended(agent_id=str(asha.id))
    # Agents still calls her active: what crm remembers of the listing is as old as that.
    await crm.publish("agents", suspended, asha.id, 1)
    await applied(crm, "agents", 1)
    lead = await crm.leads(admin).GetLead(pb.GetLeadRequest(lead_id=lead_id))
    assert (lead.owner_agent_id, lead.HasField("sla_due_at")) == ("", False)
    enquiry = pb.Enquiry(listing_id=listing_id, full_name="Neha Patil", phone="9876543211")
    another = await crm.leads().CreateEnquiry(pb.CreateEnquiryRequest(enquiry=enquiry))
    lead = await crm.leads(admin).GetLead(pb.GetLeadRequest(lead_id=another.id))
    assert lead.stage == pb.LEAD_STAGE_NEW
    await crm.publish("agents", AgentVerified(agent_id=str(asha.id)), asha.id, 2)
    await applied(crm, "agents", 2)
    again = await crm.leads().CreateEnquiry(pb.CreateEnquiryRequest(enquiry=enquiry))
    assert again.id == another.id
    lead = await crm.leads(admin).GetLead(pb.GetLeadRequest(lead_id=another.id))
    assert lead.owner_agent_id == str(asha.id)


async def test_a_lead_being_given_to_an_agent_while_she_is_suspended_does_not_stay_with_her(
    crm: Any,
) -> None:
    asha, database = crm.peers.add_agent(), crm.running.database
    enquiry = Enquiry(
        target_kind="listing",
        target_id=uuid.UUID(crm.peers.add_listing(asha)),
        full_name="Rohan Deshmukh",
        phone="+919876543210",
        message=None,
        source=None,
        sub_source=None,
        campaign=None,
        external_id=None,
    )

    async def met() -> bool:
        """Whether the consumer waits for us, or does not and is done."""
        async with database.engine.connect() as connection:
            seen = await connection.execute(
                text("select 1 from pg_locks where not granted union all select 1 from inbox")
            )
            return bool(seen.all())

    async with database.transaction() as tx:
        lead = NewLead(new_id(), enquiry, Owner(asha.id, None), datetime.now(UTC))
        assert await EnquiryRepository(database).add(tx, [lead]) == {lead.id}
        await crm.publish("agents", AgentSuspended(agent_id=str(asha.id)), asha.id, 1)
        await eventually(met)
    await applied(crm, "agents", 1)
    request = pb.GetLeadRequest(lead_id=str(lead.id))
    assert (await crm.leads(crm.tokens.admin()).GetLead(request)).owner_agent_id == ""


async def test_the_agent_is_told_of_each_lead_once(crm: Any, sms_file: Path) -> None:
    asha = crm.peers.add_agent()
    for _ in range(2):
        await enquire(crm, asha)

    async def told() -> list[str]:
        lines = await asyncio.to_thread(lambda: sms_file.read_text().splitlines())
        return lines if len(lines) == 2 else []

    messages = [json.loads(line) for line in await eventually(told)]
    assert {message["to"] for message in messages} == {asha.phone}
    assert all("Please answer by" in message["body"] for message in messages)


async def test_all_that_waits_is_claimed_in_one_go(crm: Any, sms_file: Path) -> None:
    asha, service = crm.peers.add_agent(), crm.running.service
    channel = service.channel(
        service.settings.agents_target, agents_pb2.DESCRIPTOR, listings_pb2.DESCRIPTOR
    )
    leads, notices = LeadRepository(service.database), NoticeRepository(service.database)
    async with open_sms(service.settings) as sms:
        telling = NoticeService(leads, Agents(channel, service.own_token), sms, most_an_hour=1000)
        timers = NoticeTimers(service.database, notices, telling)
        lead_id = uuid.UUID(await enquire(crm, asha))
        async with service.database.transaction() as tx:
            for _ in range(5 * BATCH):
                await notices.add(tx, lead_id, asha.id)
        # The service's own timer looks ten times a second, and takes some of them.
        enter(background_call("test"))
        await timers.send_waiting()
    waiting = "select from notices where ended_at is null and claimed_until <= now()"
    assert not await service.database.fetch(text(waiting))
