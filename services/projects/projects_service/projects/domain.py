"""What a project is and consists of, and which moves it may make."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from chassis.errors import Conflict, InvalidArgument, Violation


class ProjectStatus(StrEnum):
    DRAFT = "draft"
    REGISTERED = "registered"
    SELLING = "selling"
    LAPSED = "lapsed"
    COMPLETED = "completed"


# draft → registered → selling → completed; lapsed → selling (renewed): the builder moves it.
TRANSITIONS: Mapping[ProjectStatus, frozenset[ProjectStatus]] = {
    ProjectStatus.DRAFT: frozenset({ProjectStatus.REGISTERED}),
    ProjectStatus.REGISTERED: frozenset({ProjectStatus.SELLING}),
    ProjectStatus.SELLING: frozenset({ProjectStatus.COMPLETED}),
    ProjectStatus.LAPSED: frozenset({ProjectStatus.SELLING}),
    ProjectStatus.COMPLETED: frozenset(),
}
# selling → lapsed: the clock moves it, the day after `rera_valid_to`.
LAPSES = (ProjectStatus.SELLING, ProjectStatus.LAPSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a project stands."""

    line: str | None
    subdivision_name: str
    city: str
    state: str
    postal_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a builder says of a project."""

    project_name: str
    rera_project_no: str | None
    rera_valid_to: date | None
    address: Address | None
    latitude: float | None
    longitude: float | None
    possession_date: date | None
    amenities: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Project(Description):
    """A project: towers of flats on one piece of land, registered under RERA."""

    id: uuid.UUID
    builder_id: uuid.UUID
    verification_status: str
    status: ProjectStatus
    version: int
    created_at: datetime
    updated_at: datetime

    @property
    def is_public(self) -> bool:
        return self.status is not ProjectStatus.DRAFT


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who is to get an enquiry about a project."""

    project_name: str
    city: str | None
    status: ProjectStatus
    builder_id: uuid.UUID
    user_id: uuid.UUID
    builder_status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tower:
    """A tower of a project."""

    id: uuid.UUID
    project_id: uuid.UUID
    name: str
    total_floors: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitType:
    """A kind of flat that a project offers; areas in sq ft, the price in rupees."""

    id: uuid.UUID
    project_id: uuid.UUID
    name: str | None
    bhk: float
    carpet_area: int
    built_up_area: int | None
    super_built_up_area: int | None
    base_price: int
    created_at: datetime


def check_move(project: Project, status: ProjectStatus, today: date) -> None:
    """Raise Conflict unless its builder may move `project` to `status` on `today`, naming what it lacks for that."""
    if status not in TRANSITIONS[project.status]:
        raise Conflict(f"A project can't go from {project.status} to {status}.")
    if status in {ProjectStatus.REGISTERED, ProjectStatus.SELLING}:
        needs = [*missing(project), *_out_of_date(project, today)]
        if needs:
            raise Conflict(
                f"The project lacks what it needs to be {status}.",
                reason="PROJECT_INCOMPLETE",
                violations=needs,
            )


def changed(project: Project, after: Project) -> Project:
    """`after`, if its builder may make that of `project`; raises Conflict for what is fixed since it was registered."""
    if project.is_public:
        fixed = [Violation(f.field, "can't be taken away any more") for f in missing(after)]
        if after.rera_project_no != project.rera_project_no and after.rera_project_no:
            fixed.append(Violation("rera_project_no", "can't be changed any more"))
        if fixed:
            raise Conflict(
                "The project is registered: that can't be changed any more.",
                reason="PROJECT_INCOMPLETE",
                violations=fixed,
            )
    return after


def on_sale(status: str, rera_valid_to: date | None, today: date) -> bool:
    """Whether units may be sold: the clock may not have noticed yet that the registration ran out."""
    return status == ProjectStatus.SELLING and not (rera_valid_to and rera_valid_to < today)


def missing(project: Description) -> list[Violation]:
    """What a registered project has and this one lacks."""
    return [
        Violation(field, f"is required: {why}")
        for field, why in (
            ("rera_project_no", "the number RERA gave the project"),
            ("rera_valid_to", "the last day of the registration"),
            ("address", "where the project stands"),
        )
        if not getattr(project, field)
    ]


def check_areas(carpet: int, built_up: int | None, super_built_up: int | None) -> None:
    """Carpet ≤ built-up ≤ super built-up, those that are known; raises InvalidArgument."""
    least, what = carpet, "carpet area"
    for field, name, area in (
        ("built_up_area", "built-up area", built_up),
        ("super_built_up_area", "super built-up area", super_built_up),
    ):
        if area is None:
            continue
        if area < least:
            raise InvalidArgument(
                Violation(f"unit_type.{field}", f"must not be less than the {what}, {least}")
            )
        least, what = area, name


def _out_of_date(project: Project, today: date) -> list[Violation]:
    if project.rera_valid_to is not None and project.rera_valid_to < today:
        return [Violation("rera_valid_to", "is past: renew the registration first")]
    return []
