"""Builders over a real socket: applying, verifying, the directory, and who may see and change what."""

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
    Unauthenticated,
)
from propmubi.agents.v1 import agents_pb2
from propmubi.projects.v1 import builders_pb2 as pb


async def apply(service: Any, token: str, **changes: Any) -> pb.Builder:
    fields = {
        "builder_name": "Sahyadri Homes LLP",
        "rera_promoter_no": "P52100012345",
        "rera_state": "Maharashtra",
        **changes,
    }
    builder: pb.Builder = await service.builders(token).CreateBuilder(
        pb.CreateBuilderRequest(builder=pb.Builder(**fields))
    )
    return builder


async def test_an_applicant_is_pending_until_an_administrator_verifies_it(service: Any) -> None:
    owner = service.tokens.person()
    builder = await apply(service, owner)
    assert builder.status == pb.BUILDER_STATUS_PENDING_VERIFICATION
    assert builder.verification_status == agents_pb2.VERIFICATION_STATUS_WELL_FORMED
    request = pb.GetBuilderRequest(builder_id=builder.id)
    assert (await service.builders(owner).GetBuilder(request)) == builder
    for stranger in (None, service.tokens.person()):
        with pytest.raises(NotFound):
            await service.builders(stranger).GetBuilder(request)
    admin = service.builders(service.tokens.admin())
    verified = await admin.VerifyBuilder(pb.VerifyBuilderRequest(builder_id=builder.id))
    assert (verified.status, verified.version) == (pb.BUILDER_STATUS_ACTIVE, 2)
    assert await service.builders().GetBuilder(request) == verified
    with pytest.raises(Conflict):
        await admin.VerifyBuilder(pb.VerifyBuilderRequest(builder_id=builder.id))


async def test_suspending_and_reinstating_are_told_and_leave_a_history(service: Any) -> None:
    builder = await apply(service, service.tokens.person())
    admin = service.builders(service.tokens.admin())
    await admin.VerifyBuilder(pb.VerifyBuilderRequest(builder_id=builder.id))
    suspend = pb.SuspendBuilderRequest(builder_id=builder.id, reason="complaints")
    assert (await admin.SuspendBuilder(suspend)).status == pb.BUILDER_STATUS_SUSPENDED
    with pytest.raises(NotFound):
        await service.builders().GetBuilder(pb.GetBuilderRequest(builder_id=builder.id))
    await admin.ReinstateBuilder(pb.ReinstateBuilderRequest(builder_id=builder.id))
    assert await service.events(builder.id) == [
        "builder.verified",
        "builder.suspended",
        "builder.verified",
    ]
    assert await service.sql("select from_value, to_value, reason from history order by id") == [
        ("pending_verification", "active", None),
        ("active", "suspended", "complaints"),
        ("suspended", "active", None),
    ]
    with pytest.raises(Exception, match="permission denied"):
        await service.sql("delete from history")


async def test_one_person_has_one_application_however_often_she_applies_at_once(
    service: Any,
) -> None:
    owner = service.tokens.person()
    answers = await asyncio.gather(
        *(apply(service, owner) for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(answer, AlreadyExists) for answer in answers) == 9


async def test_only_its_own_person_and_administrators_change_a_builder(service: Any) -> None:
    owner = service.tokens.person()
    builder = await apply(service, owner)
    change = pb.UpdateBuilderRequest(
        builder_id=builder.id,
        builder=pb.Builder(rera_promoter_no="UPRERAPRM12345", rera_state="Uttar Pradesh"),
        update_mask=FieldMask(paths=["rera_promoter_no", "rera_state", "gstin"]),
        expected_version=1,
    )
    with pytest.raises(NotFound):
        await service.builders(service.tokens.person()).UpdateBuilder(change)
    changed = await service.builders(owner).UpdateBuilder(change)
    assert (changed.rera_state, changed.version) == ("Uttar Pradesh", 2)
    assert changed.verification_status == agents_pb2.VERIFICATION_STATUS_WELL_FORMED
    with pytest.raises(StaleVersion):
        await service.builders(owner).UpdateBuilder(change)
    change.ClearField("expected_version")
    assert (await service.builders(service.tokens.admin()).UpdateBuilder(change)).version == 3


async def test_the_directory_pages_newest_first_and_shows_active_builders_only(
    service: Any,
) -> None:
    admin = service.builders(service.tokens.admin())
    ids = [(await apply(service, service.tokens.person())).id for _ in range(4)]
    for builder_id in ids[:-1]:
        await admin.VerifyBuilder(pb.VerifyBuilderRequest(builder_id=builder_id))
    request = pb.ListBuildersRequest(page_size=2)
    first = await service.builders().ListBuilders(request)
    request.page_token = first.next_page_token
    second = await service.builders().ListBuilders(request)
    assert [builder.id for builder in (*first.builders, *second.builders)] == ids[-2::-1]
    assert second.next_page_token == ""
    pending = pb.ListBuildersRequest(status=pb.BUILDER_STATUS_PENDING_VERIFICATION)
    with pytest.raises(PermissionDenied):
        await service.builders().ListBuilders(pending)
    assert [b.id for b in (await admin.ListBuilders(pending)).builders] == [ids[-1]]


async def test_who_is_refused_what(service: Any) -> None:
    request = pb.VerifyBuilderRequest(builder_id=str(uuid.uuid4()))
    with pytest.raises(Unauthenticated):
        await service.builders().VerifyBuilder(request)
    with pytest.raises(PermissionDenied):
        await service.builders(service.tokens.builder()).VerifyBuilder(request)
    with pytest.raises(NotFound):
        await service.builders(service.tokens.admin()).VerifyBuilder(request)
    with pytest.raises(InvalidArgument) as refused:
        await apply(service, service.tokens.person(), builder_name="  ", gstin="27")
    assert {violation.field for violation in refused.value.violations} == {
        "builder.builder_name",
        "builder.gstin",
    }
