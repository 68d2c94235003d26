"""How many units somebody may hold, and when again."""

import uuid
from datetime import timedelta

import pytest

from chassis.errors import Conflict, RateLimited
from projects_service.units.domain import Hold, check_may_hold
from projects_service.units.repository import LONGEST_HOLD
from propmubi.options.v1 import options_pb2
from propmubi.projects.v1.units_pb2 import HoldUnitRequest

MINE, OTHER = uuid.uuid4(), uuid.uuid4()


def hold(unit_id: uuid.UUID, lasts: int, left: int) -> Hold:
    return Hold(unit_id, timedelta(minutes=lasts), timedelta(minutes=left))


def test_as_many_as_one_may_and_not_one_more() -> None:
    hers = [hold(OTHER, 30, 10), hold(OTHER, 30, 1), hold(OTHER, 30, 0), hold(OTHER, 30, -5)]
    check_may_hold(MINE, hers, 3)
    with pytest.raises(Conflict) as refused:
        check_may_hold(MINE, hers, 2)
    assert refused.value.reason == "HOLD_LIMIT_REACHED"


def test_the_same_unit_again_after_as_long_as_she_had_it() -> None:
    check_may_hold(MINE, [hold(MINE, 30, -30), hold(OTHER, 30, -1)], 1)
    with pytest.raises(RateLimited) as refused:
        check_may_hold(MINE, [hold(MINE, 5, -5), hold(MINE, 30, -10)], 1)
    assert refused.value.retry_after == 20 * 60


def test_no_hold_lasts_longer_than_is_looked_back_for() -> None:
    minutes = HoldUnitRequest.DESCRIPTOR.fields_by_name["minutes"].GetOptions()
    assert timedelta(minutes=minutes.Extensions[options_pb2.rules].maximum) == LONGEST_HOLD
