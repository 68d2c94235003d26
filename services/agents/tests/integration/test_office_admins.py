"""Who runs an office: who may do what with it, suspending, reinstating, handing it over, never without an admin."""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import text

from chassis.errors import (
    Conflict,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from devstack.testing_service import Running, Tokens
from propmubi.agents.v1 import agents_pb2
from propmubi.agents.v1 import offices_pb2 as pb
from propmubi.agents.v1.agents_pb2_grpc import AgentServiceStub
from propmubi.agents.v1.offices_pb2_grpc import OfficeServiceStub
from services.agents.tests.integration.conftest import Lister, MakeBrokerage, MakeLister
from services.agents.tests.integration.test_agents import apply
from services.agents.tests.integration.test_erasure import erase
from services.agents.tests.integration.test_listing_life import put
from services.agents.tests.integration.test_listings import names
from services.agents.tests.integration.test_units import status_of

FAR, MISSING, NOBODY = NotFound, PermissionDenied, Unauthenticated
CALLERS = ("anonymous", "buyer", "builder", "stranger", "other_admin", "member", "founder", "admin")
# What becomes of each caller's attempt, in the order of CALLERS; None: it is done.
WHO_MAY: Mapping[str, tuple[type[Exception] | None, ...]] = {
    "VerifyOffice": (NOBODY, *[MISSING] * 6, None),
    "SuspendOffice": (NOBODY, *[MISSING] * 6, None),
    "ReinstateOffice": (NOBODY, *[MISSING] * 6, None),
    "HandOverOffice": (NOBODY, MISSING, MISSING, MISSING, FAR, MISSING, None, None),
    "UpdateOffice": (NOBODY, FAR, FAR, FAR, FAR, FAR, None, None),
    "CreateInvitation": (NOBODY, MISSING, MISSING, MISSING, FAR, MISSING, None, MISSING),
    "ListInvitations": (NOBODY, MISSING, MISSING, MISSING, FAR, MISSING, None, MISSING),
    "DeleteInvitation": (NOBODY, MISSING, MISSING, MISSING, FAR, MISSING, None, MISSING),
    "RemoveMember": (NOBODY, FAR, FAR, FAR, FAR, None, None, None),
}


# What an office is in for that.
BEFORE = {"VerifyOffice": "pending_verification", "ReinstateOffice": "suspended"}


def request_of(rpc: str, office_id: str, agent_id: str, phone: str = "9876500009") -> Any:
    said: dict[str, dict[str, Any]] = {
        "SuspendOffice": {"reason": "complaint"},
        "HandOverOffice": {"agent_id": agent_id},
        "UpdateOffice": {
            "office": pb.Office(city="Mumbai"),
            "update_mask": FieldMask(paths=["city"]),
        },
        "CreateInvitation": {"member_mobile_phone": phone},
        "DeleteInvitation": {"invitation_id": str(uuid.uuid4())},
        "RemoveMember": {"agent_id": agent_id},
    }
    return getattr(pb, f"{rpc}Request")(office_id=office_id, **said.get(rpc, {}))


async def erase_agent(agents: Running, lister: Lister, sequence: int) -> None:
    found = await agents.database.fetch(
        text("select user_id from agents where id = :id"), {"id": lister.agent_id}
    )
    await erase(agents, str(found[0]["user_id"]), sequence)


async def statuses(agents: Running, office_id: str) -> dict[uuid.UUID, str]:
    rows = await agents.database.fetch(
        text("select id, status from agents where office_id = :office_id"),
        {"office_id": uuid.UUID(office_id)},
    )
    return {row["id"]: row["status"] for row in rows}


async def withdrawing(agents: Running) -> bool:
    """Whether listings are still leaving the market."""
    left = text("select 1 from agents where withdrawal is not null")
    return bool(await agents.database.fetch(left))


async def test_who_may_do_what_with_an_office(
    agents: Running, tokens: Tokens, make_brokerage: MakeBrokerage, make_lister: MakeLister
) -> None:
    brokerage, other = await make_brokerage(), await make_brokerage()
    office_id, founder_id = brokerage.office.id, brokerage.founder.agent_id
    member = await make_lister(office_id=uuid.UUID(office_id))
    callers: dict[str, str | None] = {
        "anonymous": None,
        "buyer": tokens.person(),
        "builder": tokens.builder(),
        "stranger": tokens.agent(),
        "other_admin": other.token,
        "member": member.token,
        "founder": brokerage.token,
        "admin": tokens.admin(),
    }

    async def as_before(status: str) -> None:
        """What a caller did who may, is undone."""
        ids = {"office": uuid.UUID(office_id), "founder": founder_id, "member": member.agent_id}
        for change in (
            "offices set office_status = :status, admin_agent_id = :founder where id = :office",
            "agents set status = 'active', office_id = :office where id in (:founder, :member)",
        ):
            await put(agents, change, **({"status": status} if ":status" in change else {}), **ids)
        if status == "pending_verification":
            await put(agents, "agents set office_id = null where id = :id", id=founder_id)

    for rpc, answers in WHO_MAY.items():
        for caller, expected in zip(CALLERS, answers, strict=True):
            await as_before(BEFORE.get(rpc, "active"))
            call = getattr(OfficeServiceStub(agents.caller(callers[caller])), rpc)
            request = request_of(rpc, office_id, str(member.agent_id))
            if rpc == "DeleteInvitation" and expected is None:
                invite = request_of("CreateInvitation", office_id, "", "9876500010")
                request.invitation_id = (await brokerage.offices.CreateInvitation(invite)).id
            if expected is None:
                await call(request)
                continue
            with pytest.raises(expected):
                await call(request)


async def test_an_office_is_suspended_with_its_agents_and_they_are_reinstated_with_it(
    agents: Running,
    tokens: Tokens,
    make_brokerage: MakeBrokerage,
    make_lister: MakeLister,
    admin: Any,
    offices: Callable[[str | None], Any],
) -> None:
    brokerage = await make_brokerage()
    office_id, of_admin = brokerage.office.id, AgentServiceStub(agents.caller(tokens.admin()))
    member, leaver, culprit = [await make_lister(office_id=uuid.UUID(office_id)) for _ in range(3)]
    invited = await make_lister()
    applicant = await apply(agents, tokens.person())
    await put(
        agents,
        "agents set office_id = :office where id = :id",
        office=uuid.UUID(office_id),
        id=uuid.UUID(applicant.id),
    )
    suspend = agents_pb2.SuspendAgentRequest(agent_id=str(culprit.agent_id), reason="complaint")
    await of_admin.SuspendAgent(suspend)
    invitation = await brokerage.offices.CreateInvitation(
        pb.CreateInvitationRequest(office_id=office_id, agent_id=str(invited.agent_id))
    )
    listing, elsewhere = await member.publish(), await invited.publish()

    request = pb.SuspendOfficeRequest(office_id=office_id, reason="forged papers")
    suspended = await admin.SuspendOffice(request)
    assert suspended.office_status == pb.OFFICE_STATUS_SUSPENDED
    with pytest.raises(Conflict):
        await admin.SuspendOffice(request)
    with pytest.raises(NotFound):
        await offices(None).GetOffice(pb.GetOfficeRequest(office_id=office_id))
    everybody = [brokerage.founder, member, leaver, culprit]
    assert await statuses(agents, office_id) == {
        **{each.agent_id: "suspended" for each in everybody},
        uuid.UUID(applicant.id): "pending_verification",
    }
    for each in everybody:
        assert (await names(agents, str(each.agent_id))).count("agent.suspended") == 1
    async with asyncio.timeout(10):
        while await withdrawing(agents):  # noqa: ASYNC110  A timer tells nobody.
            await asyncio.sleep(0.05)
    assert await status_of(member, listing) == "withdrawn"
    assert await status_of(invited, elsewhere) == "active"

    for refused in (
        offices(invited.token).AcceptInvitation(
            pb.AcceptInvitationRequest(invitation_id=invitation.id)
        ),
        of_admin.VerifyAgent(agents_pb2.VerifyAgentRequest(agent_id=applicant.id)),
        of_admin.ReinstateAgent(agents_pb2.ReinstateAgentRequest(agent_id=str(member.agent_id))),
        brokerage.offices.CreateInvitation(request_of("CreateInvitation", office_id, "")),
        admin.HandOverOffice(request_of("HandOverOffice", office_id, str(member.agent_id))),
    ):
        with pytest.raises(Conflict):
            await refused
    # She may leave, stays suspended herself and may then be reinstated on her own.
    leave = pb.RemoveMemberRequest(office_id=office_id, agent_id=str(leaver.agent_id))
    await offices(leaver.token).RemoveMember(leave)

    await admin.ReinstateOffice(pb.ReinstateOfficeRequest(office_id=office_id))
    assert await statuses(agents, office_id) == {
        brokerage.founder.agent_id: "active",
        member.agent_id: "active",
        culprit.agent_id: "suspended",
        uuid.UUID(applicant.id): "pending_verification",
    }
    alone = agents_pb2.ReinstateAgentRequest(agent_id=str(leaver.agent_id))
    assert (await of_admin.ReinstateAgent(alone)).status == agents_pb2.AGENT_STATUS_ACTIVE
    assert (await names(agents, str(member.agent_id)))[-1] == "agent.verified"
    assert await names(agents, office_id) == [
        "office.verified",
        "office.suspended",
        "office.reinstated",
    ]
    await member.move(listing, "active")


async def test_an_office_is_handed_over_to_one_of_its_active_agents(
    agents: Running,
    tokens: Tokens,
    make_brokerage: MakeBrokerage,
    make_lister: MakeLister,
    offices: Callable[[str | None], Any],
) -> None:
    brokerage = await make_brokerage()
    office_id, founder = brokerage.office.id, brokerage.founder
    ravi, idle = [await make_lister(office_id=uuid.UUID(office_id)) for _ in range(2)]
    await put(agents, "agents set status = 'suspended' where id = :id", id=idle.agent_id)
    stranger = await make_lister()
    for agent, refusal in ((founder, Conflict), (idle, Conflict), (stranger, NotFound)):
        with pytest.raises(refusal):
            await brokerage.offices.HandOverOffice(
                request_of("HandOverOffice", office_id, str(agent.agent_id))
            )
    handed = await brokerage.offices.HandOverOffice(
        request_of("HandOverOffice", office_id, str(ravi.agent_id))
    )
    assert handed.admin_agent_id == str(ravi.agent_id)
    # The former admin's token says still that she administers it, for the second until it is refused.
    with pytest.raises(NotFound):
        await brokerage.offices.HandOverOffice(
            request_of("HandOverOffice", office_id, str(founder.agent_id))
        )
    token = tokens.person(
        "agent", "office_admin", agent_id=ravi.agent_id, office_id=uuid.UUID(office_id)
    )
    await offices(token).UpdateOffice(request_of("UpdateOffice", office_id, ""))
    with pytest.raises(Conflict):
        await offices(token).RemoveMember(request_of("RemoveMember", office_id, str(ravi.agent_id)))
    await offices(founder.token).RemoveMember(
        request_of("RemoveMember", office_id, str(founder.agent_id))
    )
    assert await names(agents, office_id) == ["office.verified", "office.admin_changed"]


async def test_whoever_comes_and_goes_at_once_an_office_has_an_admin_of_its_own(
    agents: Running,
    make_brokerage: MakeBrokerage,
    make_lister: MakeLister,
    admin: Any,
    offices: Any,
) -> None:
    brokerage = await make_brokerage()
    office_id = brokerage.office.id
    members: list[Lister] = [await make_lister(office_id=uuid.UUID(office_id)) for _ in range(12)]
    everybody = [brokerage.founder, *members]
    answers = await asyncio.gather(
        *(
            call
            for each in everybody
            for call in (
                admin.HandOverOffice(request_of("HandOverOffice", office_id, str(each.agent_id))),
                offices(each.token).RemoveMember(
                    request_of("RemoveMember", office_id, str(each.agent_id))
                ),
            )
        ),
        return_exceptions=True,
    )
    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert all(isinstance(each, (Conflict, NotFound)) for each in refused), refused
    kept = await admin.GetOffice(pb.GetOfficeRequest(office_id=office_id))
    assert uuid.UUID(kept.admin_agent_id) in await statuses(agents, office_id)


async def test_the_office_of_an_erased_admin_passes_on_and_is_suspended_where_there_is_nobody(
    agents: Running, make_brokerage: MakeBrokerage, make_lister: MakeLister, admin: Any
) -> None:
    brokerage = await make_brokerage()
    office_id = brokerage.office.id
    idle, first, _second = [
        await make_lister(office_id=uuid.UUID(office_id), status=status)
        for status in ("suspended", "active", "active")
    ]

    async def erased(lister: Lister, sequence: int) -> pb.Office:
        await erase_agent(agents, lister, sequence)
        office: pb.Office = await admin.GetOffice(pb.GetOfficeRequest(office_id=office_id))
        return office

    assert (await erased(brokerage.founder, 1)).admin_agent_id == str(first.agent_id)
    assert (await erased(first, 2)).admin_agent_id == str(_second.agent_id)
    left = await erased(_second, 3)
    assert left.office_status == pb.OFFICE_STATUS_SUSPENDED
    assert (await statuses(agents, office_id))[idle.agent_id] == "suspended"
    assert (await names(agents, office_id))[1:] == [
        "office.admin_changed",
        "office.admin_changed",
        "office.suspended",
    ]
    with pytest.raises(Conflict, match="Nobody is left"):
        await admin.ReinstateOffice(pb.ReinstateOfficeRequest(office_id=office_id))


async def test_an_office_whose_admin_was_erased_while_it_was_suspended_is_reinstated_with_another(
    agents: Running, make_brokerage: MakeBrokerage, make_lister: MakeLister, admin: Any
) -> None:
    brokerage = await make_brokerage()
    office_id = brokerage.office.id
    heir = await make_lister(office_id=uuid.UUID(office_id))
    await admin.SuspendOffice(request_of("SuspendOffice", office_id, ""))
    await erase_agent(agents, brokerage.founder, 1)
    office = await admin.ReinstateOffice(pb.ReinstateOfficeRequest(office_id=office_id))
    assert office.office_status == pb.OFFICE_STATUS_ACTIVE
    assert office.admin_agent_id == str(heir.agent_id)
    told = await names(agents, office_id)
    assert told[1:] == ["office.suspended", "office.admin_changed", "office.reinstated"]


async def test_nobody_suspends_herself(make_brokerage: MakeBrokerage) -> None:
    brokerage = await make_brokerage()
    with pytest.raises(PermissionDenied):
        await brokerage.agents.SuspendAgent(
            agents_pb2.SuspendAgentRequest(
                agent_id=str(brokerage.founder.agent_id), reason="holidays"
            )
        )
