"""Nobody keeps others from a project: so many of its units at a time, and a pause before the same one again."""

import asyncio
import uuid
from collections import Counter
from typing import Any

import pytest

from chassis.errors import Conflict, RateLimited
from projects_service.settings import ProjectsSettings
from propmubi.projects.v1 import units_pb2 as pb
from services.projects.tests.integration.test_claims import hold

BUYERS = ProjectsSettings.model_fields["holds_per_buyer"].default
AGENTS = ProjectsSettings.model_fields["holds_per_agent"].default


async def units_of(sales: Any, count: int) -> list[str]:
    return [(await sales.unit(f"A-{number:03}")).id for number in range(count)]


async def outcomes(sales: Any, unit_ids: list[str], token: str) -> Counter[str]:
    """What came of holding all of them at once."""

    async def outcome(unit_id: str) -> str:
        try:
            await hold(sales, unit_id, token)
        except Conflict as refused:
            return refused.reason
        return "held"

    return Counter(await asyncio.gather(*map(outcome, unit_ids)))


async def let_pass(sales: Any, interval: str) -> None:
    """Put all claims into the past."""
    await sales.sql(
        f"update claims set created_at = created_at - interval '{interval}',"
        f" ended_at = ended_at - interval '{interval}', expires_at = expires_at - interval '{interval}'"
    )
    await sales.sql(
        "update units set claim_expires_at = (select expires_at from claims where id = claim_id)"
    )


async def test_of_twenty_units_that_a_buyer_holds_at_once_she_gets_as_many_as_one_may(
    sales: Any,
) -> None:
    unit_ids, rohan = await units_of(sales, 20), sales.tokens.person()
    assert await outcomes(sales, unit_ids, rohan) == {
        "held": BUYERS,
        "HOLD_LIMIT_REACHED": 20 - BUYERS,
    }
    # Others are not kept from the rest.
    assert (await outcomes(sales, unit_ids, sales.tokens.person()))["held"] == BUYERS


async def test_an_agent_holds_more_and_the_builder_what_she_likes(sales: Any) -> None:
    unit_ids = await units_of(sales, 2 * AGENTS + 1)
    assert await outcomes(sales, unit_ids[: AGENTS + 1], sales.tokens.agent()) == {
        "held": AGENTS,
        "HOLD_LIMIT_REACHED": 1,
    }
    assert (await outcomes(sales, unit_ids, sales.token))["held"] == AGENTS + 1


async def test_what_was_released_or_ran_out_or_is_another_projects_does_not_count(
    sales: Any,
) -> None:
    unit_ids, rohan = await units_of(sales, BUYERS + 2), sales.tokens.person()
    await outcomes(sales, unit_ids[:BUYERS], rohan)
    await sales.units(rohan).ReleaseUnit(pb.ReleaseUnitRequest(unit_id=unit_ids[0]))
    await hold(sales, unit_ids[BUYERS], rohan)
    await sales.sql(
        "insert into lease values ('timer/expire holds', gen_random_uuid(), 'infinity')"
        " on conflict (name) do update set holder = excluded.holder, expires_at = 'infinity'"
    )
    await sales.let_expire(unit_ids[1])  # No sweep has been there.
    await hold(sales, unit_ids[BUYERS + 1], rohan)
    await sales.open()
    await hold(sales, (await sales.unit("B-1")).id, rohan)


@pytest.mark.parametrize("released", [True, False])
async def test_a_unit_is_held_again_when_it_was_free_for_as_long_as_it_was_held(
    sales: Any, released: bool
) -> None:
    unit, rohan = await sales.unit(), sales.tokens.person()
    await hold(sales, unit.id, rohan, minutes=1440)
    await let_pass(sales, "23 hours 59 minutes" if released else "24 hours")
    if released:
        await sales.units(rohan).ReleaseUnit(pb.ReleaseUnitRequest(unit_id=unit.id))
    with pytest.raises(RateLimited) as refused:
        await hold(sales, unit.id, rohan)
    assert 86_300 < refused.value.retry_after <= 86_400
    await hold(sales, unit.id, sales.tokens.person(), minutes=5)  # It is there for others.
    await let_pass(sales, "24 hours")
    await hold(sales, unit.id, rohan)


async def test_a_hold_asked_for_again_under_its_key_is_no_second_one(sales: Any) -> None:
    unit_ids, user_id = await units_of(sales, BUYERS), uuid.uuid4()
    rohan = sales.units(sales.tokens.person(user_id=user_id), idempotency_key="hold-1")
    request = pb.HoldUnitRequest(unit_id=unit_ids[0])
    first = await rohan.HoldUnit(request)
    assert await rohan.HoldUnit(request) == first
    await sales.units(sales.tokens.person(user_id=user_id)).ReleaseUnit(
        pb.ReleaseUnitRequest(unit_id=unit_ids[0])
    )
    assert await rohan.HoldUnit(request) == first
