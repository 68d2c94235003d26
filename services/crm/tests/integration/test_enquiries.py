"""Enquiring: one lead for a person and a target, whatever happens, and whose it is."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from chassis import tables
from chassis.errors import InvalidArgument, NotFound
from chassis.ids import new_id
from propmubi.crm.v1 import activities_pb2, leads_pb2
from propmubi.crm.v1.leads_pb2 import CreateEnquiryRequest, Enquiry, GetLeadRequest, Lead
from services.crm.tests.integration.conftest import Builder

PHONE = "9876543210"
NOWHERE = "01934f2e-0000-7000-8000-000000000000"


def enquiry(**fields: Any) -> CreateEnquiryRequest:
    given = {"full_name": "Rohan Deshmukh", "phone": PHONE, "message": "Is it free?", **fields}
    return CreateEnquiryRequest(enquiry=Enquiry(**given))


async def events(crm: Any) -> list[str]:
    query = select(tables.outbox.c.name).order_by(tables.outbox.c.position)
    return [row["name"] for row in await crm.running.database.fetch(query)]


async def eventually(look: Callable[[], Awaitable[Any]]) -> Any:
    """What `look` finds, once it finds something: timers and consumers tell nobody when they are done."""
    async with asyncio.timeout(10):
        while True:
            if found := await look():
                return found
            await asyncio.sleep(0.02)


async def timeline(crm: Any, token: str, lead_id: str) -> list[activities_pb2.Activity]:
    request = activities_pb2.ListActivitiesRequest(lead_id=lead_id, page_size=100)
    return list((await crm.activities(token).ListActivities(request)).activities)


async def test_an_enquiry_becomes_the_lead_of_the_listings_agent(crm: Any) -> None:
    asha = crm.peers.add_agent()
    listing_id = crm.peers.add_listing(asha)
    trailers: dict[str, str] = {}
    answer = await crm.leads().CreateEnquiry(
        enquiry(listing_id=listing_id, source="website"), trailers=trailers
    )
    assert "propmubi-existing" not in trailers
    sent = enquiry(listing_id=listing_id, source="website").enquiry
    sent.id = answer.id
    assert answer == sent  # The id and what was sent, nothing else.
    lead = await crm.leads(crm.token_of(asha)).GetLead(GetLeadRequest(lead_id=answer.id))
    assert lead.owner_agent_id == str(asha.id)
    assert lead.stage == leads_pb2.LEAD_STAGE_ASSIGNED
    assert lead.contact.phone == "+919876543210"
    assert lead.HasField("sla_due_at")
    assert not lead.HasField("first_responded_at")
    [first] = await timeline(crm, crm.token_of(asha), lead.id)
    assert (first.kind, first.text) == (activities_pb2.ACTIVITY_KIND_MESSAGE, "Is it free?")
    assert await events(crm) == ["lead.created", "lead.assigned"]


async def test_fifty_at_once_make_one_lead_with_fifty_activities(crm: Any) -> None:
    asha = crm.peers.add_agent()
    listing_id = crm.peers.add_listing(asha)
    answers = await asyncio.gather(
        *(crm.leads().CreateEnquiry(enquiry(listing_id=listing_id)) for _ in range(50))
    )
    assert len({answer.id for answer in answers}) == 1
    assert len(await timeline(crm, crm.token_of(asha), answers[0].id)) == 50
    assert Counter(await events(crm)) == {"lead.created": 1, "lead.assigned": 1}


async def test_a_repeat_says_that_the_lead_was_there_and_an_external_id_changes_nothing(
    crm: Any,
) -> None:
    asha = crm.peers.add_agent()
    listing_id = crm.peers.add_listing(asha)
    request = enquiry(listing_id=listing_id, external_id="P-1")
    first = await crm.leads().CreateEnquiry(request)
    trailers: dict[str, str] = {}
    request.enquiry.message = "Delivered again by the portal."
    again = await crm.leads().CreateEnquiry(request, trailers=trailers)
    assert (again.id, trailers["propmubi-existing"]) == (first.id, "true")
    assert len(await timeline(crm, crm.token_of(asha), first.id)) == 1
    another = await crm.leads().CreateEnquiry(enquiry(listing_id=listing_id, phone="+919876543210"))
    assert another.id == first.id
    assert len(await timeline(crm, crm.token_of(asha), first.id)) == 2


async def test_who_else_enquires_and_about_what_else_makes_another_lead(crm: Any) -> None:
    asha = crm.peers.add_agent()
    first, second = crm.peers.add_listing(asha), crm.peers.add_listing(asha)
    answers = [
        await crm.leads().CreateEnquiry(enquiry(listing_id=first)),
        await crm.leads().CreateEnquiry(enquiry(listing_id=first, phone="9876543211")),
        await crm.leads().CreateEnquiry(enquiry(listing_id=second)),
        await crm.leads().CreateEnquiry(
            enquiry(project_id=crm.peers.add_project(Builder(active=False)))
        ),
    ]
    assert len({answer.id for answer in answers}) == 4
    leads = [
        await crm.leads(crm.tokens.admin()).GetLead(GetLeadRequest(lead_id=answer.id))
        for answer in answers
    ]
    assert leads[0].contact == leads[2].contact  # One person, one contact of the agent's.
    assert leads[3].stage == leads_pb2.LEAD_STAGE_NEW


async def test_an_enquiry_about_a_project_is_its_builders(crm: Any) -> None:
    sahyadri, rival = Builder(), Builder()
    project_id = crm.peers.add_project(sahyadri)
    answer = await crm.leads().CreateEnquiry(enquiry(project_id=project_id))
    hers, theirs = (crm.leads(crm.tokens.builder(builder.id)) for builder in (sahyadri, rival))
    lead = await hers.GetLead(GetLeadRequest(lead_id=answer.id))
    assert (lead.owner_builder_id, lead.owner_agent_id) == (str(sahyadri.id), "")
    assert lead.stage == leads_pb2.LEAD_STAGE_ASSIGNED
    assert lead.HasField("sla_due_at")
    assert list((await hers.ListLeads(leads_pb2.ListLeadsRequest())).leads) == [lead]
    assert not (await theirs.ListLeads(leads_pb2.ListLeadsRequest())).leads
    with pytest.raises(NotFound):
        await theirs.GetLead(GetLeadRequest(lead_id=answer.id))
    again = await hers.CreateEnquiry(enquiry(project_id=project_id))
    assert again.lead.id == answer.id
    call = activities_pb2.CreateActivityRequest(
        lead_id=lead.id,
        activity=activities_pb2.Activity(kind=activities_pb2.ACTIVITY_KIND_CALL, text="Called."),
    )
    await crm.activities(crm.tokens.builder(sahyadri.id)).CreateActivity(call)
    lost = leads_pb2.SetLeadStageRequest(
        lead_id=lead.id, stage=leads_pb2.LEAD_STAGE_LOST, lost_reason="Bought elsewhere."
    )
    assert (await hers.SetLeadStage(lost)).HasField("first_responded_at")
    await crm.leads().CreateEnquiry(enquiry(project_id=project_id))
    lead = await hers.GetLead(GetLeadRequest(lead_id=answer.id))
    assert (lead.stage, lead.owner_builder_id) == (leads_pb2.LEAD_STAGE_REENGAGED, str(sahyadri.id))
    assert await events(crm) == [
        *("lead.created", "lead.assigned", "lead.responded", "lead.stage_changed"),
        *("lead.stage_changed", "lead.assigned"),
    ]
    for nowhere in (NOWHERE, crm.peers.add_project(sahyadri, public=False)):
        with pytest.raises(InvalidArgument) as refused:
            await crm.leads().CreateEnquiry(enquiry(project_id=nowhere))
        assert [violation.field for violation in refused.value.violations] == ["project_id"]


async def test_a_projects_lead_waits_for_projects_and_for_its_builder_but_not_for_agents(
    crm: Any,
) -> None:
    sahyadri = Builder(active=False)
    project_id = crm.peers.add_project(sahyadri)
    crm.peers.away = crm.peers.projects_away = True
    waiting = await crm.leads().CreateEnquiry(enquiry(listing_id=str(new_id())))
    answer = await crm.leads().CreateEnquiry(enquiry(project_id=project_id))
    stub = crm.leads(crm.tokens.admin())

    async def stage(lead_id: str) -> int:
        return int((await stub.GetLead(GetLeadRequest(lead_id=lead_id))).stage)

    assert await stage(answer.id) == leads_pb2.LEAD_STAGE_NEW
    asked = crm.peers.asked
    crm.peers.projects_away = False

    async def asked_for() -> bool:
        return bool(crm.peers.asked > asked + 3)

    await eventually(asked_for)
    assert await stage(answer.id) == leads_pb2.LEAD_STAGE_NEW
    sahyadri.active = True
    async with crm.running.database.transaction() as tx:
        await tx.connection.exec_driver_sql("update leads set assign_after = now()")

    async def assigned() -> bool:
        return await stage(answer.id) == leads_pb2.LEAD_STAGE_ASSIGNED

    await eventually(assigned)
    assert await stage(waiting.id) == leads_pb2.LEAD_STAGE_NEW


async def test_the_owner_sees_the_lead_in_the_answer_and_others_do_not(crm: Any) -> None:
    asha, meera = crm.peers.add_agent(), crm.peers.add_agent()
    request = enquiry(listing_id=crm.peers.add_listing(asha))
    seen = await crm.leads(crm.token_of(asha)).CreateEnquiry(request)
    assert seen.lead.owner_agent_id == str(asha.id)
    assert not (await crm.leads(crm.token_of(meera)).CreateEnquiry(request)).HasField("lead")
    assert not (await crm.leads(crm.tokens.person()).CreateEnquiry(request)).HasField("lead")


async def test_the_same_idempotency_key_is_one_enquiry(crm: Any) -> None:
    asha = crm.peers.add_agent()
    request = enquiry(listing_id=crm.peers.add_listing(asha))
    stub = crm.leads(idempotency_key="k1", x_client_address="192.0.2.1")
    trailers: dict[str, str] = {}
    first = await stub.CreateEnquiry(request)
    assert await stub.CreateEnquiry(request, trailers=trailers) == first
    assert trailers["idempotency-replayed"] == "true"
    assert "propmubi-existing" not in trailers
    assert len(await timeline(crm, crm.token_of(asha), first.id)) == 1


async def test_an_enquiry_is_answered_again_though_nobody_may_enquire_any_more(crm: Any) -> None:
    listing_id = crm.peers.add_listing(crm.peers.add_agent(active=False))
    request = enquiry(listing_id=listing_id)
    stub = crm.leads(idempotency_key="k1", x_client_address="192.0.2.1")
    first = await stub.CreateEnquiry(request)
    crm.peers.drafts.add(listing_id)
    asked, trailers = crm.peers.asked, dict[str, str]()
    assert await stub.CreateEnquiry(request, trailers=trailers) == first
    assert trailers["idempotency-replayed"] == "true"
    assert crm.peers.asked == asked
    request.enquiry.message = "Another."
    with pytest.raises(InvalidArgument) as refused:
        await stub.CreateEnquiry(request)
    assert refused.value.reason == "IDEMPOTENCY_KEY_REUSED"
    with pytest.raises(InvalidArgument) as refused:
        await crm.leads().CreateEnquiry(request)
    assert [violation.field for violation in refused.value.violations] == ["listing_id"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "listing_id"),
        ({"listing_id": "none"}, "enquiry.listing_id"),
        ({"listing_id": NOWHERE}, "listing_id"),
        ({"project_id": NOWHERE, "phone": "+910000000000"}, "phone"),
        ({"project_id": NOWHERE, "phone": "12"}, "enquiry.phone"),
        ({"project_id": NOWHERE, "full_name": "   "}, "full_name"),
        ({"project_id": NOWHERE, "full_name": "\u200b\u200b"}, "full_name"),
    ],
)
async def test_bad_input_names_its_field_and_stores_nothing(
    crm: Any, fields: dict[str, str], field: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await crm.leads().CreateEnquiry(enquiry(**fields))
    assert [violation.field for violation in refused.value.violations] == [field]
    assert await events(crm) == []


async def test_a_draft_is_not_to_be_enquired_about(crm: Any) -> None:
    listing_id = crm.peers.add_listing(crm.peers.add_agent(), public=False)
    with pytest.raises(InvalidArgument) as refused:
        await crm.leads().CreateEnquiry(enquiry(listing_id=listing_id))
    assert refused.value.violations[0].field == "listing_id"


async def test_while_agents_is_away_no_lead_is_lost_and_it_is_assigned_later(
    crm: Any, sms_file: Path
) -> None:
    asha = crm.peers.add_agent()
    listing_id = crm.peers.add_listing(asha)
    crm.peers.away = True
    stored = await crm.leads().CreateEnquiry(enquiry(listing_id=listing_id))
    admin = crm.leads(crm.tokens.admin())
    lead = await admin.GetLead(GetLeadRequest(lead_id=stored.id))
    assert (lead.stage, lead.owner_agent_id) == (leads_pb2.LEAD_STAGE_NEW, "")
    assert (await crm.leads().CreateEnquiry(enquiry(listing_id=listing_id))).id == stored.id
    with pytest.raises(NotFound):
        await crm.leads(crm.token_of(asha)).GetLead(GetLeadRequest(lead_id=stored.id))
    crm.peers.away = False

    async def assigned() -> Lead | None:
        lead = await admin.GetLead(GetLeadRequest(lead_id=stored.id))
        return lead if lead.owner_agent_id == str(asha.id) else None

    lead = await eventually(assigned)
    assert lead.stage == leads_pb2.LEAD_STAGE_ASSIGNED
    assert (await crm.leads().CreateEnquiry(enquiry(listing_id=listing_id))).id == stored.id
    assert await events(crm) == ["lead.created", "lead.stage_changed", "lead.assigned"]

    async def told() -> list[str]:
        return await asyncio.to_thread(lambda: sms_file.read_text().splitlines())

    [message] = await eventually(told)
    assert json.loads(message)["to"] == asha.phone
    assert "Rohan Deshmukh, +919876543210, about 2 BHK in Wakad" in json.loads(message)["body"]


async def test_an_enquiry_adopts_the_lead_that_nobody_owned_yet(crm: Any) -> None:
    asha = crm.peers.add_agent(active=False)
    listing_id = crm.peers.add_listing(asha)
    stored = await crm.leads().CreateEnquiry(enquiry(listing_id=listing_id))
    asha.active = True
    assert (await crm.leads().CreateEnquiry(enquiry(listing_id=listing_id))).id == stored.id
    lead = await crm.leads(crm.token_of(asha)).GetLead(GetLeadRequest(lead_id=stored.id))
    assert lead.stage == leads_pb2.LEAD_STAGE_ASSIGNED


async def test_a_lead_of_a_listing_that_never_was_ends_as_junk(crm: Any) -> None:
    crm.peers.away = True
    stored = await crm.leads().CreateEnquiry(enquiry(listing_id=str(new_id())))
    crm.peers.away = False

    async def junk() -> bool:
        lead = await crm.leads(crm.tokens.admin()).GetLead(GetLeadRequest(lead_id=stored.id))
        return bool(lead.stage == leads_pb2.LEAD_STAGE_JUNK)

    await eventually(junk)


async def test_a_lost_lead_is_reengaged_with_a_new_clock(crm: Any) -> None:
    asha = crm.peers.add_agent()
    hers = crm.leads(crm.token_of(asha))
    request = enquiry(listing_id=crm.peers.add_listing(asha))
    lead_id = (await crm.leads().CreateEnquiry(request)).id
    await crm.activities(crm.token_of(asha)).CreateActivity(
        activities_pb2.CreateActivityRequest(
            lead_id=lead_id,
            activity=activities_pb2.Activity(kind=activities_pb2.ACTIVITY_KIND_CALL, text="Hello?"),
        )
    )
    lost = leads_pb2.LEAD_STAGE_LOST
    await hers.SetLeadStage(
        leads_pb2.SetLeadStageRequest(lead_id=lead_id, stage=lost, lost_reason="no answer")
    )
    assert (await crm.leads().CreateEnquiry(request)).id == lead_id
    lead = await hers.GetLead(GetLeadRequest(lead_id=lead_id))
    assert lead.stage == leads_pb2.LEAD_STAGE_REENGAGED
    assert not lead.HasField("lost_reason")
    assert not lead.HasField("first_responded_at")
    assert (await events(crm))[-2:] == ["lead.stage_changed", "lead.assigned"]


async def test_no_phone_is_ever_logged(crm: Any, capfd: pytest.CaptureFixture[str]) -> None:
    asha = crm.peers.add_agent()
    await crm.leads().CreateEnquiry(enquiry(listing_id=crm.peers.add_listing(asha)))
    crm.peers.away = True
    await crm.leads().CreateEnquiry(enquiry(listing_id=str(new_id())))

    async def logged() -> str:
        return capfd.readouterr().out

    lines = await eventually(logged)
    assert "CreateEnquiry" in lines
    assert "lead stays unassigned" in lines
    assert PHONE not in lines
