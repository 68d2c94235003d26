"""Agents over a real socket: applying, verifying, the directory, and who may see and change what."""

import asyncio
import uuid

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import select, text

from chassis import tables
from chassis.errors import (
    AlreadyExists,
    Conflict,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    StaleVersion,
    Unauthenticated,
    Unavailable,
)
from devstack.testing_service import Running, Tokens
from propmubi.agents.v1 import agents_pb2 as pb
from propmubi.agents.v1.agents_pb2_grpc import AgentServiceStub
from services.agents.tests.integration.conftest import People


def profile(**changes: object) -> pb.Agent:
    fields: dict[str, object] = {
        "member_full_name": "Asha Kulkarni",
        "member_mobile_phone": "9876543210",
        "rera_agent_no": "A52100012345",
        "rera_state": "Maharashtra",
        "rera_valid_to": "2029-03-31",
        "languages": ["Marathi", "Hindi"],
        "service_areas": ["Wakad"],
    }
    return pb.Agent(**{**fields, **changes})  # type: ignore[arg-type]  # A test's own fields.


async def apply(agents: Running, token: str, **changes: object) -> pb.Agent:
    stub = AgentServiceStub(agents.caller(token))
    agent: pb.Agent = await stub.CreateAgent(pb.CreateAgentRequest(agent=profile(**changes)))
    return agent


async def events(agents: Running) -> list[str]:
    query = select(tables.outbox.c.name).order_by(tables.outbox.c.position)
    return [row["name"] for row in await agents.database.fetch(query)]


async def test_an_applicant_is_pending_until_an_administrator_verifies_her(
    agents: Running, tokens: Tokens
) -> None:
    asha = tokens.person()
    agent = await apply(agents, asha)
    assert agent.status == pb.AGENT_STATUS_PENDING_VERIFICATION
    assert agent.member_mobile_phone == "+919876543210"
    assert agent.verification_status == pb.VERIFICATION_STATUS_WELL_FORMED
    public = AgentServiceStub(agents.caller())
    with pytest.raises(NotFound):
        await public.GetAgent(pb.GetAgentRequest(agent_id=agent.id))
    admin = AgentServiceStub(agents.caller(tokens.admin()))
    verified = await admin.VerifyAgent(pb.VerifyAgentRequest(agent_id=agent.id))
    assert (verified.status, verified.version) == (pb.AGENT_STATUS_ACTIVE, 2)
    seen = await public.GetAgent(pb.GetAgentRequest(agent_id=agent.id))
    assert not seen.HasField("member_mobile_phone")
    assert await events(agents) == ["agent.verified"]
    with pytest.raises(Conflict):
        await admin.VerifyAgent(pb.VerifyAgentRequest(agent_id=agent.id))


async def test_suspending_and_reinstating_leave_a_history(agents: Running, tokens: Tokens) -> None:
    agent = await apply(agents, tokens.person())
    admin = AgentServiceStub(agents.caller(tokens.admin()))
    await admin.VerifyAgent(pb.VerifyAgentRequest(agent_id=agent.id))
    await admin.SuspendAgent(pb.SuspendAgentRequest(agent_id=agent.id, reason="complaint"))
    await admin.ReinstateAgent(pb.ReinstateAgentRequest(agent_id=agent.id))
    assert await events(agents) == ["agent.verified", "agent.suspended", "agent.verified"]
    async with agents.database.engine.connect() as connection:
        history = await connection.execute(
            text("select to_value, reason from agent_history order by id")
        )
    assert [tuple(row) for row in history] == [
        ("active", None),
        ("suspended", "complaint"),
        ("active", None),
    ]


async def test_one_person_has_one_application_however_often_she_applies_at_once(
    agents: Running, tokens: Tokens
) -> None:
    asha = tokens.person()
    answers = await asyncio.gather(
        *(apply(agents, asha) for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(answer, AlreadyExists) for answer in answers) == 9


async def test_the_same_idempotency_key_gives_the_same_answer_and_another_body_is_refused(
    agents: Running, tokens: Tokens
) -> None:
    stub = AgentServiceStub(agents.caller(tokens.person(), idempotency_key="k1"))
    trailers: dict[str, str] = {}
    first = await stub.CreateAgent(pb.CreateAgentRequest(agent=profile()))
    again = await stub.CreateAgent(pb.CreateAgentRequest(agent=profile()), trailers=trailers)
    assert again == first
    assert trailers["idempotency-replayed"] == "true"
    with pytest.raises(InvalidArgument) as refused:
        await stub.CreateAgent(pb.CreateAgentRequest(agent=profile(bio="other")))
    assert refused.value.reason == "IDEMPOTENCY_KEY_REUSED"


async def test_only_she_and_administrators_change_a_profile(
    agents: Running, tokens: Tokens
) -> None:
    asha = tokens.person()
    agent = await apply(agents, asha)
    change = pb.UpdateAgentRequest(
        agent_id=agent.id,
        agent=pb.Agent(bio="Twenty years in Wakad."),
        update_mask=FieldMask(paths=["bio"]),
        expected_version=1,
    )
    with pytest.raises(NotFound):
        await AgentServiceStub(agents.caller(tokens.person())).UpdateAgent(change)
    changed = await AgentServiceStub(agents.caller(asha)).UpdateAgent(change)
    assert (changed.bio, changed.version) == ("Twenty years in Wakad.", 2)
    with pytest.raises(StaleVersion):
        await AgentServiceStub(agents.caller(asha)).UpdateAgent(change)


async def test_leads_go_to_no_phone_that_she_did_not_prove_to_hold(
    agents: Running, tokens: Tokens, people: People
) -> None:
    asha, other = tokens.person(), "+919876500001"

    async def change(token: str, phone: str) -> str:
        request = pb.UpdateAgentRequest(
            agent_id=agent.id,
            agent=pb.Agent(member_mobile_phone=phone, bio=phone),
            update_mask=FieldMask(paths=["member_mobile_phone", "bio"]),
        )
        changed = await AgentServiceStub(agents.caller(token)).UpdateAgent(request)
        return str(changed.member_mobile_phone)

    with pytest.raises(InvalidArgument) as refused:
        await apply(agents, asha, member_mobile_phone=other)
    assert [each.field for each in refused.value.violations] == ["member_mobile_phone"]
    agent = await apply(agents, asha)
    # An administrator can't either, least of all her own.
    people.phones[admin := tokens.admin()] = other
    for token in (asha, admin):
        with pytest.raises(InvalidArgument) as refused:
            await change(token, other)
        assert [each.field for each in refused.value.violations] == ["member_mobile_phone"]
        assert await change(token, "9876543210") == "+919876543210"
    people.phones[asha] = other
    assert await change(asha, "9876500001") == other
    people.away = True
    with pytest.raises(Unavailable):
        await change(asha, "9876543210")


async def test_a_service_is_told_her_phone(agents: Running, tokens: Tokens) -> None:
    agent = await apply(agents, tokens.person())
    crm = AgentServiceStub(agents.caller(tokens.service("crm")))
    seen = await crm.GetAgent(pb.GetAgentRequest(agent_id=agent.id))
    assert seen.member_mobile_phone == "+919876543210"


async def test_the_directory_pages_newest_first_and_shows_active_agents_only(
    agents: Running, tokens: Tokens
) -> None:
    admin = AgentServiceStub(agents.caller(tokens.admin()))
    ids = [(await apply(agents, tokens.person())).id for _ in range(5)]
    for agent_id in ids[:-1]:
        await admin.VerifyAgent(pb.VerifyAgentRequest(agent_id=agent_id))
    public = AgentServiceStub(agents.caller())
    request = pb.ListAgentsRequest(service_area="Wakad", page_size=3)
    first = await public.ListAgents(request)
    request.page_token = first.next_page_token
    second = await public.ListAgents(request)
    assert [agent.id for agent in (*first.agents, *second.agents)] == ids[-2::-1]
    assert second.next_page_token == ""
    request.service_area = "Baner"
    with pytest.raises(InvalidArgument) as refused:
        await public.ListAgents(request)
    assert refused.value.reason == "PAGE_TOKEN_INVALID"
    pending = pb.ListAgentsRequest(status=pb.AGENT_STATUS_PENDING_VERIFICATION)
    with pytest.raises(PermissionDenied):
        await public.ListAgents(pending)
    assert [agent.id for agent in (await admin.ListAgents(pending)).agents] == [ids[-1]]


async def test_who_is_refused_what(agents: Running, tokens: Tokens) -> None:
    request = pb.VerifyAgentRequest(agent_id=str(uuid.uuid4()))
    with pytest.raises(Unauthenticated):
        await AgentServiceStub(agents.caller()).VerifyAgent(request)
    with pytest.raises(Unauthenticated):
        await AgentServiceStub(agents.caller("not.a.token")).VerifyAgent(request)
    with pytest.raises(PermissionDenied):
        await AgentServiceStub(agents.caller(tokens.agent())).VerifyAgent(request)
    with pytest.raises(NotFound):
        await AgentServiceStub(agents.caller(tokens.admin())).VerifyAgent(request)
    with pytest.raises(InvalidArgument) as refused:
        await apply(agents, tokens.person(), rera_valid_to="tomorrow", member_mobile_phone="12")
    assert {violation.field for violation in refused.value.violations} == {
        "agent.rera_valid_to",
        "agent.member_mobile_phone",
    }
