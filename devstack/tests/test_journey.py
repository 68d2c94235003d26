"""What the journey demands of the platform besides its answers."""

from itertools import permutations
from typing import Any

import pytest

from devstack.conversation import Difference
from devstack.journey import STORY, check_story

TOLD: list[dict[str, Any]] = [
    {"kind": kind, "text": f"{words} And more.", **({"to_stage": stage} if stage else {})}
    for kind, stage, words in STORY
]


def test_a_timeline_tells_the_whole_story_whatever_else_it_tells() -> None:
    other = {"kind": "note", "text": "He likes the terrace.", "to_stage": "contacted"}
    check_story([other, *TOLD[:2], other, *TOLD[2:], other])


@pytest.mark.parametrize("left_out", range(len(STORY)))
def test_a_timeline_that_leaves_out_a_part_is_a_difference(left_out: int) -> None:
    with pytest.raises(Difference, match=STORY[left_out][0]):
        check_story(TOLD[:left_out] + TOLD[left_out + 1 :])


def test_a_timeline_in_another_order_is_a_difference() -> None:
    for order in permutations(TOLD):
        if [*order] != TOLD:
            with pytest.raises(Difference):
                check_story(order)
