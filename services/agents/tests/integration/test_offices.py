"""Offices over a real socket: founding and verifying one, the directory, and how agents come and go."""

import asyncio
import uuid
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from chassis.errors import (
    AlreadyExists,
    Conflict,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    StaleVersion,
)
from devstack.testing_service import Running, Tokens
from propmubi.agents.v1 import agents_pb2, listings_pb2
from propmubi.agents.v1 import offices_pb2 as pb
from propmubi.agents.v1.agents_pb2_grpc import AgentServiceStub
from propmubi.agents.v1.listings_pb2_grpc import ListingServiceStub
from services.agents.tests.integration.conftest import MakeLister, People, office
from services.agents.tests.integration.test_agents import apply, events


async def office_of(agents: Running, agent_id: uuid.UUID | str) -> uuid.UUID | None:
    async with agents.database.engine.connect() as connection:
        found = await connection.exec_driver_sql(
            "select office_id from agents where id = $1", (uuid.UUID(str(agent_id)),)
        )
    office_id: uuid.UUID | None = found.scalar()
    return office_id


async def test_an_office_is_public_once_verified_and_its_founder_belongs_to_it(
    agents: Running, make_lister: MakeLister, offices: Any, admin: Any
) -> None:
    asha = await make_lister()
    mine, public = offices(asha.token), offices(None)
    founded = await mine.CreateOffice(
        office(rera_office_no="A52100012345", rera_state="Maharashtra")
    )
    assert (founded.office_name, founded.admin_agent_id) == ("Kulkarni Homes", str(asha.agent_id))
    assert founded.office_status == pb.OFFICE_STATUS_PENDING_VERIFICATION
    assert founded.verification_status == agents_pb2.VERIFICATION_STATUS_WELL_FORMED
    request = pb.GetOfficeRequest(office_id=founded.id)
    with pytest.raises(NotFound):
        await public.GetOffice(request)
    assert await mine.GetOffice(request) == founded
    with pytest.raises(AlreadyExists):
        await mine.CreateOffice(office())
    with pytest.raises(PermissionDenied):
        await mine.VerifyOffice(pb.VerifyOfficeRequest(office_id=founded.id))
    assert await office_of(agents, asha.agent_id) is None

    verified = await admin.VerifyOffice(pb.VerifyOfficeRequest(office_id=founded.id))
    assert await public.GetOffice(request) == verified
    assert await office_of(agents, asha.agent_id) == uuid.UUID(founded.id)
    assert await events(agents) == ["agent.office_changed", "office.verified"]
    with pytest.raises(Conflict):
        await admin.VerifyOffice(pb.VerifyOfficeRequest(office_id=founded.id))


async def test_the_directory_pages_newest_first_by_city(
    make_brokerage: Any, make_lister: MakeLister, offices: Any, admin: Any
) -> None:
    ids = [(await make_brokerage()).office.id for _ in range(3)]
    waiting = await offices((await make_lister()).token).CreateOffice(office())
    request = pb.ListOfficesRequest(city="pune", page_size=2)
    first = await offices(None).ListOffices(request)
    request.page_token = first.next_page_token
    second = await offices(None).ListOffices(request)
    assert [each.id for each in (*first.offices, *second.offices)] == ids[::-1]
    assert not (await offices(None).ListOffices(pb.ListOfficesRequest(city="Mumbai"))).offices
    pending = pb.ListOfficesRequest(office_status=pb.OFFICE_STATUS_PENDING_VERIFICATION)
    with pytest.raises(PermissionDenied):
        await offices(None).ListOffices(pending)
    assert [each.id for each in (await admin.ListOffices(pending)).offices] == [waiting.id]


async def test_only_its_founder_and_administrators_change_an_office(
    make_brokerage: Any, offices: Any, admin: Any
) -> None:
    one, other = await make_brokerage(), await make_brokerage()
    change = pb.UpdateOfficeRequest(
        office_id=one.office.id,
        office=pb.Office(office_name="Asha Homes"),
        update_mask=FieldMask(paths=["office_name"]),
        expected_version=one.office.version,
    )
    with pytest.raises(NotFound):
        await other.offices.UpdateOffice(change)
    changed = await one.offices.UpdateOffice(change)
    assert (changed.office_name, changed.version) == ("Asha Homes", one.office.version + 1)
    with pytest.raises(StaleVersion):
        await admin.UpdateOffice(change)
    change.office.office_name, change.expected_version = "  ", changed.version
    with pytest.raises(InvalidArgument):
        await one.offices.UpdateOffice(change)


async def test_an_invited_agent_comes_with_her_listings_and_leaves_with_them(
    agents: Running, make_brokerage: Any, make_lister: MakeLister, offices: Any, people: People
) -> None:
    brokerage, ravi = await make_brokerage(), await make_lister()
    published, draft = await ravi.publish(), await ravi.draft()
    invitation = await brokerage.offices.CreateInvitation(
        pb.CreateInvitationRequest(office_id=brokerage.office.id, agent_id=str(ravi.agent_id))
    )
    mine = offices(ravi.token)
    assert list((await mine.ListMyInvitations(pb.ListMyInvitationsRequest())).invitations) == [
        invitation
    ]
    accept = pb.AcceptInvitationRequest(invitation_id=invitation.id)
    with pytest.raises(NotFound):
        await brokerage.offices.AcceptInvitation(accept)
    once = offices(ravi.token, idempotency_key="accept-1")
    accepted = await once.AcceptInvitation(accept)
    assert accepted.status == pb.INVITATION_STATUS_ACCEPTED
    with pytest.raises(Conflict):
        await mine.AcceptInvitation(accept)
    people.away = True
    assert await once.AcceptInvitation(accept) == accepted
    people.away = False
    broker = ListingServiceStub(agents.caller(brokerage.token))
    for listing in (published, draft):
        seen = await broker.GetListing(listings_pb2.GetListingRequest(listing_id=listing.id))
        assert seen.list_office_id == brokerage.office.id
    members = agents_pb2.ListAgentsRequest(office_id=brokerage.office.id)
    assert {each.id for each in (await brokerage.agents.ListAgents(members)).agents} == {
        str(ravi.agent_id),
        str(brokerage.founder.agent_id),
    }

    leave = pb.RemoveMemberRequest(office_id=brokerage.office.id, agent_id=str(ravi.agent_id))
    with pytest.raises(NotFound):
        await (await make_brokerage()).offices.RemoveMember(leave)
    await mine.RemoveMember(leave)
    assert await office_of(agents, ravi.agent_id) is None
    with pytest.raises(NotFound):
        await broker.GetListing(listings_pb2.GetListingRequest(listing_id=draft.id))
    told = await events(agents)
    moved = ["listing.updated", "listing.updated", "agent.office_changed"]
    assert told[-3:] == moved
    assert told[-8:-5] == moved
    with pytest.raises(Conflict):
        await brokerage.offices.RemoveMember(
            pb.RemoveMemberRequest(
                office_id=brokerage.office.id, agent_id=str(brokerage.founder.agent_id)
            )
        )


async def test_an_office_invites_by_phone_and_its_admin_verifies_the_applicant(
    agents: Running, tokens: Tokens, make_brokerage: Any, offices: Any, people: People
) -> None:
    brokerage, meera, stranger = await make_brokerage(), tokens.person(), tokens.person()
    people.phones = {meera: "+919876500001", stranger: "+919876500002"}
    invite = pb.CreateInvitationRequest(
        office_id=brokerage.office.id, member_mobile_phone="9876500001"
    )
    invitation = await brokerage.offices.CreateInvitation(invite)
    assert invitation.member_mobile_phone == "+919876500001"
    with pytest.raises(AlreadyExists):
        await brokerage.offices.CreateInvitation(invite)
    accept = pb.AcceptInvitationRequest(invitation_id=invitation.id)
    with pytest.raises(NotFound):
        await offices(meera).AcceptInvitation(accept)
    # She does not hold that phone.
    with pytest.raises(InvalidArgument):
        await apply(agents, stranger, member_mobile_phone="9876500001")
    with pytest.raises(NotFound):
        await offices(stranger).AcceptInvitation(accept)
    hers = await offices(stranger).ListMyInvitations(pb.ListMyInvitationsRequest())
    assert not hers.invitations
    applicant = await apply(agents, meera, member_mobile_phone="9876500001")
    verify = agents_pb2.VerifyAgentRequest(agent_id=applicant.id)
    with pytest.raises(NotFound):
        await brokerage.agents.VerifyAgent(verify)

    await offices(meera).AcceptInvitation(accept)
    pending = agents_pb2.ListAgentsRequest(
        office_id=brokerage.office.id, status=agents_pb2.AGENT_STATUS_PENDING_VERIFICATION
    )
    [seen] = (await brokerage.agents.ListAgents(pending)).agents
    assert (seen.id, seen.member_mobile_phone) == (applicant.id, "+919876500001")
    verified = await brokerage.agents.VerifyAgent(verify)
    assert verified.status == agents_pb2.AGENT_STATUS_ACTIVE
    assert not (
        await brokerage.offices.ListInvitations(
            pb.ListInvitationsRequest(office_id=brokerage.office.id)
        )
    ).invitations


async def test_what_an_administrator_suspended_no_office_reinstates(
    agents: Running, tokens: Tokens, make_brokerage: Any, make_lister: MakeLister
) -> None:
    brokerage = await make_brokerage()
    ravi = await make_lister(office_id=uuid.UUID(brokerage.office.id))
    suspend = agents_pb2.SuspendAgentRequest(agent_id=str(ravi.agent_id), reason="complaint")
    reinstate = agents_pb2.ReinstateAgentRequest(agent_id=str(ravi.agent_id))
    with pytest.raises(NotFound):
        await (await make_brokerage()).agents.SuspendAgent(suspend)
    await brokerage.agents.SuspendAgent(suspend)
    await brokerage.agents.ReinstateAgent(reinstate)
    await AgentServiceStub(agents.caller(tokens.admin())).SuspendAgent(suspend)
    with pytest.raises(PermissionDenied):
        await brokerage.agents.ReinstateAgent(reinstate)
    await AgentServiceStub(agents.caller(tokens.admin())).ReinstateAgent(reinstate)


async def test_invitations_are_declined_and_taken_back(
    make_brokerage: Any, make_lister: MakeLister, offices: Any
) -> None:
    brokerage, other, ravi = await make_brokerage(), await make_brokerage(), await make_lister()
    office_id = brokerage.office.id
    invite = pb.CreateInvitationRequest(office_id=office_id, agent_id=str(ravi.agent_id))
    with pytest.raises(NotFound):
        await other.offices.CreateInvitation(invite)
    first = await brokerage.offices.CreateInvitation(invite)
    declined = await offices(ravi.token).DeclineInvitation(
        pb.DeclineInvitationRequest(invitation_id=first.id)
    )
    assert declined.status == pb.INVITATION_STATUS_DECLINED
    second = await brokerage.offices.CreateInvitation(invite)
    take_back = pb.DeleteInvitationRequest(office_id=office_id, invitation_id=second.id)
    with pytest.raises(NotFound):
        await other.offices.DeleteInvitation(take_back)
    await brokerage.offices.DeleteInvitation(take_back)
    with pytest.raises(NotFound):
        await offices(ravi.token).AcceptInvitation(
            pb.AcceptInvitationRequest(invitation_id=second.id)
        )
    both = {"agent_id": str(ravi.agent_id), "member_mobile_phone": "9876500001"}
    for whom in ({}, both):
        with pytest.raises(InvalidArgument):
            await brokerage.offices.CreateInvitation(
                pb.CreateInvitationRequest(office_id=office_id, **whom)
            )


async def test_of_two_offices_that_she_accepts_at_once_she_belongs_to_one(
    agents: Running, make_brokerage: Any, make_lister: MakeLister, offices: Any
) -> None:
    ravi = await make_lister()
    invitations = []
    for _ in range(4):
        brokerage = await make_brokerage()
        invitations.append(
            await brokerage.offices.CreateInvitation(
                pb.CreateInvitationRequest(
                    office_id=brokerage.office.id,
                    agent_id=str(ravi.agent_id),
                )
            )
        )
    answers = await asyncio.gather(
        *(
            offices(ravi.token).AcceptInvitation(pb.AcceptInvitationRequest(invitation_id=each.id))
            for each in invitations * 5
        ),
        return_exceptions=True,
    )
    [accepted] = [each for each in answers if isinstance(each, pb.Invitation)]
    assert sum(isinstance(each, Conflict) for each in answers) == 19
    assert await office_of(agents, ravi.agent_id) == uuid.UUID(accepted.office_id)
