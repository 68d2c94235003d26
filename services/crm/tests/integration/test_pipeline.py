"""The pipeline: who sees which lead, what she may do with it, and what its timeline tells."""

import uuid
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import select, text

from chassis import tables
from chassis.errors import (
    Conflict,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    StaleVersion,
    Unauthenticated,
    Unavailable,
)
from chassis.ids import new_id
from propmubi.crm.v1 import activities_pb2 as activities
from propmubi.crm.v1 import leads_pb2 as pb
from propmubi.crm.v1.events_pb2 import LeadResponded

CALL = activities.Activity(kind=activities.ACTIVITY_KIND_CALL, text="She comes on Saturday.")
HOUR = 3_600
NOTE = activities.Activity(kind=activities.ACTIVITY_KIND_NOTE, text="Speaks Marathi.")


async def enquire(crm: Any, agent: Any, phone: str = "9876543210") -> str:
    enquiry = pb.Enquiry(
        listing_id=crm.peers.add_listing(agent), full_name="Rohan Deshmukh", phone=phone
    )
    return str((await crm.leads().CreateEnquiry(pb.CreateEnquiryRequest(enquiry=enquiry))).id)


async def write(crm: Any, token: str, lead_id: str, activity: activities.Activity) -> Any:
    request = activities.CreateActivityRequest(lead_id=lead_id, activity=activity)
    return await crm.activities(token).CreateActivity(request)


async def move(crm: Any, token: str, lead_id: str, stage: Any, reason: str | None = None) -> Any:
    request = pb.SetLeadStageRequest(lead_id=lead_id, stage=stage, lost_reason=reason)
    return await crm.leads(token).SetLeadStage(request)


async def timeline(crm: Any, token: str, lead_id: str) -> list[Any]:
    request = activities.ListActivitiesRequest(lead_id=lead_id, page_size=100)
    return list((await crm.activities(token).ListActivities(request)).activities)


async def events(crm: Any) -> list[str]:
    query = select(tables.outbox.c.name).order_by(tables.outbox.c.position)
    return [row["name"] for row in await crm.running.database.fetch(query)]


async def test_a_lead_is_seen_by_its_agent_her_office_and_administrators(crm: Any) -> None:
    office_id, other_office = new_id(), new_id()
    asha = crm.peers.add_agent(office_id=office_id)
    colleague = crm.peers.add_agent(office_id=office_id)
    lead_id = await enquire(crm, asha)
    hers, broker = crm.token_of(asha), crm.tokens.person("office_admin", office_id=office_id)
    for token in (hers, broker, crm.tokens.admin()):
        assert (await crm.leads(token).GetLead(pb.GetLeadRequest(lead_id=lead_id))).id == lead_id
        page = await crm.leads(token).ListLeads(pb.ListLeadsRequest())
        assert [lead.id for lead in page.leads] == [lead_id]
        assert len(await timeline(crm, token, lead_id)) == 1
    for token in (
        crm.token_of(colleague),
        crm.tokens.person("office_admin", office_id=other_office),
        crm.tokens.agent(),
    ):
        with pytest.raises(NotFound):
            await crm.leads(token).GetLead(pb.GetLeadRequest(lead_id=lead_id))
        with pytest.raises(NotFound):
            await move(crm, token, lead_id, pb.LEAD_STAGE_CONTACTED)
        with pytest.raises(NotFound):
            await write(crm, token, lead_id, NOTE)
        with pytest.raises(NotFound):
            await timeline(crm, token, lead_id)
        assert not (await crm.leads(token).ListLeads(pb.ListLeadsRequest())).leads
    with pytest.raises(PermissionDenied):
        await crm.leads(crm.tokens.person()).GetLead(pb.GetLeadRequest(lead_id=lead_id))
    with pytest.raises(Unauthenticated):
        await crm.leads().GetLead(pb.GetLeadRequest(lead_id=lead_id))


async def test_the_pipeline_pages_newest_first_by_stage_in_one_statement(crm: Any) -> None:
    asha = crm.peers.add_agent()
    token = crm.token_of(asha)
    ids = [await enquire(crm, asha, f"98765432{n:02}") for n in range(5)]
    await move(crm, token, ids[0], pb.LEAD_STAGE_CONTACTED)
    request = pb.ListLeadsRequest(page_size=3, stage=[pb.LEAD_STAGE_ASSIGNED])
    first = await crm.leads(token).ListLeads(request)
    request.page_token = first.next_page_token
    second = await crm.leads(token).ListLeads(request)
    assert [lead.id for lead in (*first.leads, *second.leads)] == ids[:0:-1]
    assert second.next_page_token == ""
    request.stage.append(pb.LEAD_STAGE_LOST)
    with pytest.raises(InvalidArgument):
        await crm.leads(token).ListLeads(request)
    other = pb.ListLeadsRequest(owner_agent_id=str(new_id()))
    assert not (await crm.leads(token).ListLeads(other)).leads


async def test_the_board_counts_each_stage_and_shows_its_newest(crm: Any) -> None:
    asha = crm.peers.add_agent()
    token = crm.token_of(asha)
    ids = [await enquire(crm, asha, f"98765432{n:02}") for n in range(12)]
    await move(crm, token, ids[0], pb.LEAD_STAGE_CONTACTED)
    await enquire(crm, crm.peers.add_agent())
    board = await crm.leads(token).GetLeadBoard(pb.GetLeadBoardRequest())
    assert [(column.stage, column.count) for column in board.columns] == [
        (pb.LEAD_STAGE_ASSIGNED, 11),
        (pb.LEAD_STAGE_CONTACTED, 1),
    ]
    assert [lead.id for lead in board.columns[0].leads] == ids[:1:-1]
    assert not (await crm.leads(crm.tokens.agent()).GetLeadBoard(pb.GetLeadBoardRequest())).columns


async def test_a_lead_goes_its_way_and_the_timeline_tells_it(crm: Any) -> None:
    asha = crm.peers.add_agent()
    token, lead_id = crm.token_of(asha), await enquire(crm, asha)
    for stage in (
        pb.LEAD_STAGE_CONTACTED,
        pb.LEAD_STAGE_QUALIFIED,
        pb.LEAD_STAGE_SITE_VISIT_SCHEDULED,
        pb.LEAD_STAGE_SITE_VISITED,
        pb.LEAD_STAGE_NEGOTIATION,
    ):
        assert (await move(crm, token, lead_id, stage)).stage == stage
    for stage in (pb.LEAD_STAGE_BOOKED, pb.LEAD_STAGE_ASSIGNED, pb.LEAD_STAGE_CONTACTED):
        with pytest.raises(Conflict) as refused:
            await move(crm, token, lead_id, stage)
        assert refused.value.reason == "ILLEGAL_TRANSITION"
    with pytest.raises(InvalidArgument):
        await move(crm, token, lead_id, pb.LEAD_STAGE_LOST)
    lost = await move(crm, token, lead_id, pb.LEAD_STAGE_LOST, "bought elsewhere")
    assert (lost.lost_reason, lost.version) == ("bought elsewhere", 7)
    entries = await timeline(crm, token, lead_id)
    assert [entry.to_stage for entry in entries[:2]] == [
        pb.LEAD_STAGE_LOST,
        pb.LEAD_STAGE_NEGOTIATION,
    ]
    assert entries[0].text == "Moved from negotiation to lost: bought elsewhere"
    assert entries[0].user_id
    assert not entries[-1].user_id
    assert (await events(crm)).count("lead.stage_changed") == 6


async def test_the_first_call_message_or_meeting_stops_the_clock_once(crm: Any) -> None:
    asha = crm.peers.add_agent()
    token, lead_id = crm.token_of(asha), await enquire(crm, asha)
    await write(crm, token, lead_id, NOTE)
    lead = await crm.leads(token).GetLead(pb.GetLeadRequest(lead_id=lead_id))
    assert not lead.HasField("first_responded_at")
    called = await write(crm, token, lead_id, CALL)
    await write(crm, token, lead_id, CALL)
    lead = await crm.leads(token).GetLead(pb.GetLeadRequest(lead_id=lead_id))
    assert lead.first_responded_at == called.created_at
    assert (await events(crm)).count("lead.responded") == 1
    entries = await timeline(crm, token, lead_id)
    assert [entry.text for entry in entries] == [CALL.text, CALL.text, NOTE.text, "Enquired."]
    for kind in (activities.ACTIVITY_KIND_SYSTEM, activities.ACTIVITY_KIND_UNSPECIFIED):
        with pytest.raises(InvalidArgument):
            await write(crm, token, lead_id, activities.Activity(kind=kind, text="x"))


async def test_a_response_tells_how_long_it_took_whoever_was_given_the_lead(crm: Any) -> None:
    office_id, admin = new_id(), crm.tokens.admin()
    asha, ravi = (crm.peers.add_agent(office_id=office_id) for _ in range(2))
    tokens = {agent.id: crm.token_of(agent) for agent in (asha, ravi)}
    broker = crm.tokens.person("office_admin", office_id=office_id)

    async def a_day_passes() -> None:
        async with crm.running.database.transaction() as tx:
            await tx.execute(text("update leads set assigned_at = assigned_at - interval '1 day'"))

    async def give(lead_id: str, agent: Any) -> None:
        request = pb.AssignLeadRequest(lead_id=lead_id, owner_agent_id=str(agent.id))
        await crm.leads(admin).AssignLead(request)

    async def told(lead_id: str) -> LeadResponded:
        query = select(tables.outbox.c.payload).where(
            tables.outbox.c.aggregate_id == uuid.UUID(lead_id),
            tables.outbox.c.name == "lead.responded",
        )
        [row] = await crm.running.database.fetch(query)
        responded = LeadResponded()
        AnyMessage.FromString(row["payload"]).Unpack(responded)
        return responded

    late, soon, others = [await enquire(crm, asha, f"987654321{n}") for n in range(3)]
    await a_day_passes()
    await give(soon, ravi)
    for lead_id, token in ((late, tokens[asha.id]), (soon, tokens[ravi.id]), (others, broker)):
        await write(crm, token, lead_id, CALL)
    # A day has eleven business hours, whenever it begins.
    assert 11 * HOUR <= (await told(late)).response_seconds < 12 * HOUR
    assert (await told(soon)).owner_agent_id == str(ravi.id)
    assert (await told(soon)).response_seconds < HOUR
    assert not (await told(others)).HasField("response_seconds")


async def test_the_timeline_pages_and_takes_nothing_back(crm: Any) -> None:
    asha = crm.peers.add_agent()
    token, lead_id = crm.token_of(asha), await enquire(crm, asha)
    ids = [(await write(crm, token, lead_id, NOTE)).id for _ in range(4)]
    request = activities.ListActivitiesRequest(lead_id=lead_id, page_size=3)
    first = await crm.activities(token).ListActivities(request)
    request.page_token = first.next_page_token
    second = await crm.activities(token).ListActivities(request)
    assert [entry.id for entry in (*first.activities, *second.activities)][:4] == ids[::-1]
    assert len(second.activities) == 2
    async with crm.running.database.engine.connect() as connection:
        with pytest.raises(Exception, match="permission denied"):
            await connection.exec_driver_sql("delete from activities")


async def test_requirement_and_score_change_under_the_optimistic_lock(crm: Any) -> None:
    asha = crm.peers.add_agent()
    token, lead_id = crm.token_of(asha), await enquire(crm, asha)
    requirement = pb.Requirement(bhk=[2, 2.5], budget_max=9_500_000, localities=["Wakad"])
    change = pb.UpdateLeadRequest(
        lead_id=lead_id,
        lead=pb.Lead(requirement=requirement, score=70),
        update_mask=FieldMask(paths=["requirement", "score"]),
        expected_version=1,
    )
    changed = await crm.leads(token).UpdateLead(change)
    assert (changed.requirement, changed.score, changed.version) == (requirement, 70, 2)
    with pytest.raises(StaleVersion):
        await crm.leads(token).UpdateLead(change)
    clear = pb.UpdateLeadRequest(
        lead_id=lead_id, lead=pb.Lead(), update_mask=FieldMask(paths=["requirement"])
    )
    cleared = await crm.leads(token).UpdateLead(clear)
    assert (cleared.HasField("requirement"), cleared.score) == (False, 70)
    change.ClearField("expected_version")
    change.lead.requirement.budget_min = 10_000_000
    with pytest.raises(InvalidArgument):
        await crm.leads(token).UpdateLead(change)
    change.update_mask.paths.append("stage")
    with pytest.raises(InvalidArgument):
        await crm.leads(token).UpdateLead(change)


async def test_the_broker_assigns_within_her_office_and_an_administrator_anywhere(crm: Any) -> None:
    office_id = new_id()
    asha, meera = (crm.peers.add_agent(office_id=office_id) for _ in range(2))
    stranger, retired = crm.peers.add_agent(), crm.peers.add_agent(active=False)
    broker, lead_id = crm.tokens.person("office_admin", office_id=office_id), await enquire(
        crm, asha
    )

    async def assign(token: str, agent_id: uuid.UUID) -> Any:
        request = pb.AssignLeadRequest(lead_id=lead_id, owner_agent_id=str(agent_id))
        return await crm.leads(token).AssignLead(request)

    assert (await assign(broker, meera.id)).owner_agent_id == str(meera.id)
    with pytest.raises(Conflict):
        await assign(broker, meera.id)
    for agent_id in (stranger.id, retired.id, new_id()):
        with pytest.raises(InvalidArgument):
            await assign(broker, agent_id)
    with pytest.raises(NotFound):
        await crm.leads(crm.token_of(asha)).GetLead(pb.GetLeadRequest(lead_id=lead_id))
    with pytest.raises(PermissionDenied):
        await assign(crm.token_of(meera), asha.id)
    # In another account she is another contact.
    before = await crm.leads(broker).GetLead(pb.GetLeadRequest(lead_id=lead_id))
    after = await assign(crm.tokens.admin(), stranger.id)
    assert (after.contact.phone, after.contact.id == before.contact.id) == ("+919876543210", False)
    with pytest.raises(NotFound):
        await crm.leads(broker).GetLead(pb.GetLeadRequest(lead_id=lead_id))
    crm.peers.away = True
    with pytest.raises(Unavailable):
        await assign(crm.tokens.admin(), asha.id)
    crm.peers.away = False
    await move(crm, crm.token_of(stranger), lead_id, pb.LEAD_STAGE_JUNK)
    with pytest.raises(Conflict) as refused:
        await assign(crm.tokens.admin(), asha.id)
    assert refused.value.reason == "LEAD_CLOSED"
    assert (await events(crm)).count("lead.assigned") == 3


async def test_listing_leads_takes_one_statement(crm: Any) -> None:
    asha = crm.peers.add_agent()
    for n in range(3):
        await enquire(crm, asha, f"98765432{n:02}")
    statements: list[str] = []
    reads = crm.running.database._reads
    fetch = reads.fetch

    async def counted(sql: str, values: Any, **how: Any) -> Any:
        if "ORDER BY leads.id" in sql:
            statements.append(sql)
        return await fetch(sql, values, **how)

    reads.fetch = counted
    await crm.leads(crm.token_of(asha)).ListLeads(pb.ListLeadsRequest())
    assert len(statements) == 1


async def test_an_assignment_is_answered_again_though_the_agent_is_suspended_or_unknown(
    crm: Any,
) -> None:
    office_id = new_id()
    asha, meera = (crm.peers.add_agent(office_id=office_id) for _ in range(2))
    request = pb.AssignLeadRequest(lead_id=await enquire(crm, asha), owner_agent_id=str(meera.id))
    stub = crm.leads(crm.token_of(asha, "office_admin"), idempotency_key="k1")
    first = await stub.AssignLead(request)
    meera.active = False
    assert await stub.AssignLead(request) == first
    crm.peers.away = True
    assert await stub.AssignLead(request) == first


async def test_a_page_of_a_timeline_and_the_board_show_what_one_reply_holds(crm: Any) -> None:
    asha = crm.peers.add_agent()
    hers, lead_id = crm.token_of(asha), await enquire(crm, asha)
    note = activities.Activity(kind=activities.ACTIVITY_KIND_NOTE, text="अ" * 4_000)
    notes = [(await write(crm, hers, lead_id, note)).id for _ in range(100)]
    request = activities.ListActivitiesRequest(lead_id=lead_id, page_size=100)
    first = await crm.activities(hers).ListActivities(request)
    request.page_token = first.next_page_token
    second = await crm.activities(hers).ListActivities(request)
    assert [each.id for page in (first, second) for each in page.activities][:100] == notes[::-1]

    wanted = pb.Requirement(localities=[f"{number:02}{'𑀓' * 78}" for number in range(20)])
    for number in range(20):
        lead_id = await enquire(crm, asha, phone=f"98765433{number:02}")
        await crm.leads(hers).UpdateLead(
            pb.UpdateLeadRequest(
                lead_id=lead_id,
                lead=pb.Lead(requirement=wanted),
                update_mask=FieldMask(paths=["requirement"]),
            )
        )
        if number < 10:
            await move(crm, hers, lead_id, pb.LEAD_STAGE_CONTACTED)
    board = await crm.leads(hers).GetLeadBoard(pb.GetLeadBoardRequest())
    assert [column.count for column in board.columns] == [11, 10]
    for column in board.columns:
        assert 80_000 > sum(lead.ByteSize() for lead in column.leads) > 60_000
