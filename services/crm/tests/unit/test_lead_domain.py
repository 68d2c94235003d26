"""The stages of a lead: domain.md's table, and who may move it."""

from itertools import pairwise

import pytest

from chassis.errors import Conflict, InvalidArgument
from crm_service.leads.domain import (
    OPEN,
    TRANSITIONS,
    LeadStage,
    Requirement,
    check_move,
    check_move_by_hand,
    check_requirement,
)

PATH = [
    "new",
    "assigned",
    "contacted",
    "qualified",
    "site_visit_scheduled",
    "site_visited",
    "negotiation",
    "booked",
]
LEGAL = {
    *pairwise(PATH),
    *((stage, end) for stage in (*PATH[:-1], "reengaged") for end in ("lost", "junk", "booked")),
    ("lost", "reengaged"),
    ("reengaged", "contacted"),
}


@pytest.mark.parametrize("to", LeadStage)
@pytest.mark.parametrize("stage", LeadStage)
def test_a_lead_moves_as_the_domain_says_and_in_no_other_way(
    stage: LeadStage, to: LeadStage
) -> None:
    if (stage, to) in LEGAL:
        check_move(stage, to)
    else:
        with pytest.raises(Conflict, match=f"can't go from {stage} to {to}"):
            check_move(stage, to)


def test_every_stage_is_in_the_table_and_the_ends_are_closed() -> None:
    assert set(TRANSITIONS) == set(LeadStage)
    assert set(LeadStage) - OPEN == {LeadStage.BOOKED, LeadStage.LOST, LeadStage.JUNK}


@pytest.mark.parametrize("to", ["new", "assigned", "booked", "reengaged"])
def test_what_events_decide_nobody_sets_by_hand(to: str) -> None:
    with pytest.raises(Conflict, match="Nobody sets"):
        check_move_by_hand(LeadStage.NEGOTIATION, LeadStage(to), None)


def test_losing_needs_a_reason_and_nothing_else_takes_one() -> None:
    with pytest.raises(InvalidArgument):
        check_move_by_hand(LeadStage.CONTACTED, LeadStage.LOST, None)
    with pytest.raises(InvalidArgument):
        check_move_by_hand(LeadStage.CONTACTED, LeadStage.QUALIFIED, "why")
    check_move_by_hand(LeadStage.CONTACTED, LeadStage.LOST, "bought elsewhere")
    check_move_by_hand(LeadStage.CONTACTED, LeadStage.JUNK, None)


def test_a_budget_may_not_end_before_it_begins() -> None:
    check_requirement(Requirement(budget_min=1, budget_max=1))
    check_requirement(Requirement(budget_min=2))
    with pytest.raises(InvalidArgument):
        check_requirement(Requirement(budget_min=2, budget_max=1))
