"""What a lead is, and how it moves from the enquiry to the booking."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chassis.errors import Conflict, InvalidArgument, Violation


class LeadStage(StrEnum):
    NEW = "new"
    ASSIGNED = "assigned"
    CONTACTED = "contacted"
    QUALIFIED = "qualified"
    SITE_VISIT_SCHEDULED = "site_visit_scheduled"
    SITE_VISITED = "site_visited"
    NEGOTIATION = "negotiation"
    BOOKED = "booked"
    LOST = "lost"
    JUNK = "junk"
    REENGAGED = "reengaged"


# Where a lead can still end: by a booking, by losing it, or because there was nobody.
ENDS = frozenset({LeadStage.BOOKED, LeadStage.LOST, LeadStage.JUNK})

TRANSITIONS: Mapping[LeadStage, frozenset[LeadStage]] = {
    LeadStage.NEW: ENDS | {LeadStage.ASSIGNED},
    LeadStage.ASSIGNED: ENDS | {LeadStage.CONTACTED},
    LeadStage.CONTACTED: ENDS | {LeadStage.QUALIFIED},
    LeadStage.QUALIFIED: ENDS | {LeadStage.SITE_VISIT_SCHEDULED},
    LeadStage.SITE_VISIT_SCHEDULED: ENDS | {LeadStage.SITE_VISITED},
    LeadStage.SITE_VISITED: ENDS | {LeadStage.NEGOTIATION},
    LeadStage.NEGOTIATION: ENDS,
    LeadStage.REENGAGED: ENDS | {LeadStage.CONTACTED},
    LeadStage.LOST: frozenset({LeadStage.REENGAGED}),
    LeadStage.BOOKED: frozenset(),
    LeadStage.JUNK: frozenset(),
}

OPEN = frozenset(stage for stage, following in TRANSITIONS.items() if following >= ENDS)

# What leads to these is an event, never a person's wish.
NOT_BY_HAND = frozenset({LeadStage.NEW, LeadStage.ASSIGNED, LeadStage.BOOKED, LeadStage.REENGAGED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A person, as one account knows her."""

    id: uuid.UUID
    full_name: str
    phone: str
    # She withdrew her consent to be followed up: only what she asks is answered.
    do_not_disturb: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """What a person looks for."""

    bhk: tuple[float, ...] = ()
    budget_min: int | None = None
    budget_max: int | None = None
    localities: tuple[str, ...] = ()
    possession: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """A person who enquired about one target, and how far we got with her."""

    id: uuid.UUID
    contact: Contact
    # The office, solo agent or builder it belongs to; None until it is assigned.
    account_id: uuid.UUID | None
    target_kind: str
    target_id: uuid.UUID
    source: str | None
    sub_source: str | None
    campaign: str | None
    requirement: Requirement | None
    score: int | None
    # Who answers: an agent or, about a project, its builder.
    owner_agent_id: uuid.UUID | None
    owner_builder_id: uuid.UUID | None
    stage: LeadStage
    lost_reason: str | None
    # When it was given to its owner; None where that was before it was written down.
    assigned_at: datetime | None
    sla_due_at: datetime | None
    first_responded_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime

    @property
    def is_open(self) -> bool:
        return self.stage in OPEN

    @property
    def is_owned(self) -> bool:
        return self.owner_agent_id is not None or self.owner_builder_id is not None


@dataclass(frozen=True, slots=True)
class Owner:
    """Who can be given leads: an agent or, of leads about its projects, a builder."""

    agent_id: uuid.UUID | None
    office_id: uuid.UUID | None
    builder_id: uuid.UUID | None = None

    @property
    def account_id(self) -> uuid.UUID:
        """Whose contacts the owner's are: the builder's, her office's or, without one, her own."""
        account_id = self.builder_id or self.office_id or self.agent_id
        assert account_id is not None
        return account_id

    def has(self, lead: Lead) -> bool:
        """Whether the lead is the owner's already."""
        return (lead.owner_agent_id, lead.owner_builder_id) == (self.agent_id, self.builder_id)


def check_move(stage: LeadStage, to: LeadStage) -> None:
    """Raise Conflict unless a lead can go from `stage` to `to`."""
    if to not in TRANSITIONS[stage]:
        raise Conflict(f"A lead can't go from {stage} to {to}.")


def check_move_by_hand(stage: LeadStage, to: LeadStage, lost_reason: str | None) -> None:
    """Raise Conflict or InvalidArgument unless its owner may take a lead from `stage` to `to`."""
    if to in NOT_BY_HAND:
        raise Conflict(f"Nobody sets {to}: it follows from what happens.")
    if lost_reason is not None and to not in {LeadStage.LOST, LeadStage.JUNK}:
        raise InvalidArgument(Violation("lost_reason", "is for lost and junk"))
    if to is LeadStage.LOST and lost_reason is None:
        raise InvalidArgument(Violation("lost_reason", "is required for lost"))
    check_move(stage, to)


def check_open(lead: Lead) -> None:
    """Raise Conflict unless `lead` is open."""
    if not lead.is_open:
        raise Conflict(f"The lead is closed: it is {lead.stage}.", reason="LEAD_CLOSED")


def check_requirement(requirement: Requirement) -> None:
    """Raise InvalidArgument when the budget ends before it begins."""
    low, high = requirement.budget_min, requirement.budget_max
    if low is not None and high is not None and high < low:
        raise InvalidArgument(
            Violation("requirement.budget_max", "must not be less than budget_min")
        )
