"""Projects over a real socket: from draft to completion, their parts, and who may see and change what."""

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
from chassis.india import today
from propmubi.agents.v1 import agents_pb2, listings_pb2
from propmubi.projects.v1 import projects_pb2 as pb
from services.projects.tests.integration.conftest import ADDRESS


async def update(
    service: Any,
    token: str,
    project_id: str,
    *masked: str,
    version: int | None = None,
    **fields: Any,
) -> pb.Project:
    request = pb.UpdateProjectRequest(
        project_id=project_id,
        project=pb.Project(**fields),
        update_mask=FieldMask(paths=[*masked, *fields]),
        expected_version=version,
    )
    changed: pb.Project = await service.projects(token).UpdateProject(request)
    return changed


async def test_a_draft_is_its_own_builders(service: Any) -> None:
    builder_id, token = await service.active_builder()
    project = await service.draft(token)
    assert (project.builder_id, project.status) == (str(builder_id), pb.PROJECT_STATUS_DRAFT)
    assert project.verification_status == agents_pb2.VERIFICATION_STATUS_WELL_FORMED
    assert project.address.city == "Pune"
    request = pb.GetProjectRequest(project_id=project.id)
    assert await service.projects(token).GetProject(request) == project
    drafts = pb.ListProjectsRequest(status=[pb.PROJECT_STATUS_DRAFT])
    assert [p.id for p in (await service.projects(token).ListProjects(drafts)).projects] == [
        project.id
    ]
    for stranger in (None, service.tokens.builder(), service.tokens.admin()):
        with pytest.raises(NotFound):
            await service.projects(stranger).GetProject(request)
        assert not (await service.projects(stranger).ListProjects(drafts)).projects
    for method, asked in (
        ("ListTowers", pb.ListTowersRequest(project_id=project.id)),
        ("ListUnitTypes", pb.ListUnitTypesRequest(project_id=project.id)),
    ):
        with pytest.raises(NotFound):
            await getattr(service.projects(), method)(asked)
        await getattr(service.projects(token), method)(asked)


async def test_a_builder_who_is_not_active_starts_nothing(service: Any) -> None:
    with pytest.raises(Conflict) as refused:
        await service.draft(service.tokens.builder())
    assert refused.value.reason == "BUILDER_NOT_ACTIVE"
    with pytest.raises(PermissionDenied):
        await service.draft(service.tokens.agent())


async def test_registering_names_what_is_missing(service: Any) -> None:
    _, token = await service.active_builder()
    project = await service.draft(token, rera_project_no=None, rera_valid_to=None, address=None)
    with pytest.raises(Conflict) as refused:
        await service.set_status(token, project.id, "registered")
    assert refused.value.reason == "PROJECT_INCOMPLETE"
    assert {violation.field for violation in refused.value.violations} == {
        "rera_project_no",
        "rera_valid_to",
        "address",
    }


async def test_a_project_goes_on_sale_and_is_told(service: Any) -> None:
    _, token = await service.active_builder()
    project = await service.draft(token)
    with pytest.raises(Conflict) as refused:
        await service.set_status(token, project.id, "selling")
    assert refused.value.reason == "ILLEGAL_TRANSITION"
    with pytest.raises(NotFound):
        await service.set_status(service.tokens.builder(), project.id, "registered")
    selling = await service.set_status(token, project.id, "registered", "selling")
    assert (selling.status, selling.version) == (pb.PROJECT_STATUS_SELLING, 3)
    assert await service.events(project.id) == ["project.published"]
    request = pb.GetProjectRequest(project_id=project.id)
    assert await service.projects().GetProject(request) == selling


async def test_a_registered_project_keeps_what_it_was_registered_with(service: Any) -> None:
    _, token = await service.active_builder()
    project = await service.draft(token)
    await service.set_status(token, project.id, "registered")
    needed = ("address", "rera_project_no", "rera_valid_to")
    with pytest.raises(Conflict) as refused:
        await update(service, token, project.id, *needed)
    assert {violation.field for violation in refused.value.violations} == set(needed)
    with pytest.raises(Conflict) as refused:
        await update(service, token, project.id, rera_project_no="P52100099999")
    assert [violation.field for violation in refused.value.violations] == ["rera_project_no"]
    changed = await update(
        service, token, project.id, "amenities", project_name="Sahyadri Hills", version=2
    )
    assert (changed.project_name, list(changed.amenities)) == ("Sahyadri Hills", [])
    assert await service.events(project.id) == ["project.updated"]
    with pytest.raises(StaleVersion):
        await update(service, token, project.id, project_name="Other", version=2)
    with pytest.raises(NotFound):
        await update(service, service.tokens.builder(), project.id, project_name="Other")


async def test_a_project_past_its_registration_lapses_once_and_is_renewed(service: Any) -> None:
    await service.open()
    project_id, projects = service.project_id, service.service_of_projects()
    database = service.running.database

    async def lapse() -> int:
        async with database.transaction() as tx:
            return int(await projects.lapse(tx))

    await service.sql("update projects set rera_valid_to = :day", day=today())
    assert await lapse() == 0  # The last day counts.
    await service.sql("update projects set rera_valid_to = rera_valid_to - 1")
    assert [await lapse(), await lapse()] == [1, 0]
    with pytest.raises(Conflict) as refused:
        await service.set_status(service.token, project_id, "selling")
    assert [violation.field for violation in refused.value.violations] == ["rera_valid_to"]
    await update(service, service.token, project_id, rera_valid_to="2099-12-31")
    await service.set_status(service.token, project_id, "selling", "completed")
    assert await service.events(project_id) == [
        "project.published",
        "project.lapsed",
        "project.updated",
        "project.published",
    ]


async def test_projects_are_found_by_place_builder_and_status(service: Any) -> None:
    builder_id, token = await service.active_builder()
    ids = []
    for place in ("Wakad", "Baner", "Wakad"):
        address = listings_pb2.Address(
            subdivision_name=place, city="Pune", state="Maharashtra", postal_code="411057"
        )
        project = await service.draft(token, address=address)
        await service.set_status(token, project.id, "registered", "selling")
        ids.append(project.id)

    async def found(**asked: Any) -> list[str]:
        page = await service.projects().ListProjects(pb.ListProjectsRequest(**asked))
        return [project.id for project in page.projects]

    assert await found() == ids[::-1]
    assert await found(city="PUNE", subdivision_name=["WAKAD"]) == [ids[2], ids[0]]
    assert await found(postal_code=["411057", "411001"], builder_id=str(builder_id)) == ids[::-1]
    assert await found(builder_id=str(uuid.uuid4())) == []
    assert await found(city="Mumbai") == []
    assert await found(status=[pb.PROJECT_STATUS_REGISTERED, pb.PROJECT_STATUS_LAPSED]) == []
    request = pb.ListProjectsRequest(page_size=2)
    first = await service.projects().ListProjects(request)
    request.page_token = first.next_page_token
    second = await service.projects().ListProjects(request)
    assert [project.id for project in (*first.projects, *second.projects)] == ids[::-1]
    assert second.next_page_token == ""


async def test_towers_and_unit_types_are_listed_in_order(sales: Any) -> None:
    async def add(token: str, name: str) -> str:
        tower = pb.Tower(name=name, total_floors=10)
        request = pb.CreateTowerRequest(project_id=sales.project_id, tower=tower)
        return str((await sales.projects(token).CreateTower(request)).id)

    towers = [sales.tower_id, *[await add(sales.token, name) for name in ("Tower B", "Tower C")]]
    with pytest.raises(AlreadyExists):
        await add(sales.token, "Tower C")
    with pytest.raises(NotFound):
        await add(sales.tokens.builder(), "Tower D")
    page = pb.ListTowersRequest(project_id=sales.project_id, page_size=2)
    first = await sales.projects().ListTowers(page)
    page.page_token = first.next_page_token
    second = await sales.projects().ListTowers(page)
    assert [tower.id for tower in (*first.towers, *second.towers)] == towers
    types = await sales.projects().ListUnitTypes(
        pb.ListUnitTypesRequest(project_id=sales.project_id)
    )
    assert [unit_type.id for unit_type in types.unit_types] == [sales.unit_type_id]


@pytest.mark.parametrize(
    ("built_up", "super_built_up", "wrong"),
    [
        (700, None, "unit_type.built_up_area"),
        (None, 700, "unit_type.super_built_up_area"),
        (900, 850, "unit_type.super_built_up_area"),
    ],
)
async def test_areas_grow_from_carpet_to_super_built_up(
    sales: Any, built_up: int | None, super_built_up: int | None, wrong: str
) -> None:
    unit_type = pb.UnitType(
        bhk=2,
        carpet_area=780,
        built_up_area=built_up,
        super_built_up_area=super_built_up,
        base_price=1,
    )
    with pytest.raises(InvalidArgument) as refused:
        await sales.projects(sales.token).CreateUnitType(
            pb.CreateUnitTypeRequest(project_id=sales.project_id, unit_type=unit_type)
        )
    assert [violation.field for violation in refused.value.violations] == [wrong]


async def test_other_services_learn_who_is_to_get_an_enquiry(sales: Any) -> None:
    request = pb.GetProjectOwnerRequest(project_id=sales.project_id)
    owner = await sales.projects(sales.tokens.service("crm")).GetProjectOwner(request)
    assert (owner.public, owner.builder_id) == (True, str(sales.builder_id))
    assert owner.summary == "Sahyadri Greens, Pune"
    with pytest.raises(PermissionDenied):
        await sales.projects(sales.token).GetProjectOwner(request)


async def test_a_page_of_projects_shows_what_one_reply_holds(sales: Any) -> None:
    long = {
        # In a script of which each letter takes four bytes.
        "project_name": "𑀓" * 120,
        "amenities": [f"{number:02}{'𑀓' * 38}" for number in range(60)],
        "address": {**ADDRESS, "line": "𑀓" * 200},
    }
    drafts = [(await sales.draft(sales.token, **long)).id for _ in range(100)]
    request = pb.ListProjectsRequest(status=[pb.PROJECT_STATUS_DRAFT], page_size=100)
    mine = sales.projects(sales.token)
    first = await mine.ListProjects(request)
    request.page_token = first.next_page_token
    second = await mine.ListProjects(request)
    assert second.next_page_token == ""
    listed = [project.id for page in (first, second) for project in page.projects]
    assert listed == drafts[::-1]
