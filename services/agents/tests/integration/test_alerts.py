"""Alerts by SMS: who agreed is told of what her saved searches found, once, and so often a day."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from agents_service.alerts.domain import next_morning
from agents_service.alerts.models import alerted
from agents_service.alerts.models import alerts as _waiting
from agents_service.alerts.repository import AlertRepository
from agents_service.alerts.service import AlertService
from agents_service.alerts.timers import AlertTimers
from agents_service.saved_searches.models import matches
from agents_service.saved_searches.service import SavedSearchService
from chassis.context import background_call, enter
from chassis.errors import Unavailable
from chassis.ids import new_id
from devstack.testing_service import Running, Tokens
from devstack.testing_sms import Twilio
from propmubi.agents.v1 import saved_searches_pb2 as pb
from propmubi.agents.v1.saved_searches_pb2_grpc import SavedSearchServiceStub
from services.agents.tests.integration.conftest import People
from services.agents.tests.integration.test_saved_searches import (
    _flat,
    _sweep,
    eventually,
    save,
    service,
)

__all__ = ["service"]  # The fixture.
PHONE = "+919812345678"


@pytest.fixture
def meera_id(people: People) -> uuid.UUID:
    """A buyer who agreed to be told by SMS."""
    user_id = new_id()
    people.reachable[str(user_id)] = PHONE
    return user_id


@pytest.fixture
def meera(agents: Running, tokens: Tokens, meera_id: uuid.UUID) -> Any:
    """The SavedSearchService as she has it."""
    return SavedSearchServiceStub(agents.caller(tokens.person(user_id=meera_id)))


async def send(agents: Running, alerts: AlertService, *, at_once: int = 1) -> None:
    """Send what waits, whatever the hour is in India."""
    async with agents.database.transaction() as tx:
        await tx.execute(
            text("update alerts set due_at = now() where due_at < now() + interval '1 day'")
        )
    enter(background_call("send alerts"))
    timers = AlertTimers(agents.database, AlertRepository(agents.database), alerts)
    await asyncio.gather(*(timers.send_waiting() for _ in range(at_once)))


def bodies(twilio: Twilio) -> list[str]:
    assert {each["form"]["To"] for each in twilio.received} <= {PHONE}
    return [each["form"]["Body"] for each in twilio.received]


async def test_who_agreed_is_told_once_of_all_that_waits(
    agents: Running, tokens: Tokens, asha: Any, meera: Any, alerts: AlertService, twilio: Twilio
) -> None:
    await save(meera, city="Pune")
    ravi = SavedSearchServiceStub(agents.caller(tokens.person()))
    await save(ravi, city="Pune")
    await asha.publish()
    await eventually(agents, 2)
    await send(agents, alerts, at_once=10)
    about = 'PropMubi: 2 BHK apartment for sale in Wakad, Pune for your saved search "A flat".'
    assert bodies(twilio) == [f"{about} To hear less, change its alert."]
    assert await agents.database.fetch(select(_waiting.c.user_id)) == []  # Ravi's neither.
    await save(meera, postal_code=["411057"])
    for number in range(2):
        await asha.publish(address=_flat(number))
    await eventually(agents, 8)
    await send(agents, alerts)
    assert bodies(twilio)[1:] == [
        'PropMubi: 4 homes for your saved search "A flat" and 1 more. To hear less, change its alert.'
    ]


async def test_nobody_is_told_more_than_so_often_a_day_and_the_rest_waits_for_the_morning(
    agents: Running, asha: Any, meera: Any, alerts: AlertService, twilio: Twilio
) -> None:
    await save(meera, city="Pune")
    for number in range(5):
        await asha.publish(address=_flat(number))
        await eventually(agents, number + 1)
        await send(agents, alerts)
    assert len(twilio.received) == 3
    async with agents.database.transaction() as tx:
        row = (await tx.execute(select(_waiting.c.homes, _waiting.c.due_at))).one()
        assert (row.homes, row.due_at) == (2, next_morning(datetime.now(UTC)))
        await tx.execute(text("update alerted set day = day - 1"))
    await send(agents, alerts)
    assert [body[:18] for body in bodies(twilio)[3:]] == ["PropMubi: 2 homes "]


async def test_alerts_wait_for_auth_and_for_a_provider_that_did_not_take_them(
    agents: Running, asha: Any, meera: Any, alerts: AlertService, twilio: Twilio, people: People
) -> None:
    await save(meera, city="Pune")
    await asha.publish()
    await eventually(agents, 1)
    people.away = True
    with pytest.raises(Unavailable):
        await send(agents, alerts)
    people.away = False
    twilio.statuses = [429] * 3
    await send(agents, alerts)
    assert len(twilio.received) == 3
    [count] = await agents.database.fetch(select(alerted.c.messages))
    assert count["messages"] == 0
    twilio.statuses = [500]  # It may have been sent.
    for _ in range(2):
        await send(agents, alerts)
    assert len(twilio.received) == 4


async def test_the_daily_ones_are_told_of_a_day_and_what_is_deleted_is_not_told(
    agents: Running,
    asha: Any,
    meera: Any,
    alerts: AlertService,
    service: SavedSearchService,
    twilio: Twilio,
) -> None:
    await save(meera, alert="daily", city="Pune")
    gone = await save(meera, city="Pune")
    for number in range(2):
        await asha.publish(address=_flat(number))
    await eventually(agents, 2)
    async with agents.database.transaction() as tx:
        day_ago = datetime.now(UTC) - timedelta(days=1)
        await tx.execute(matches.update().values(matched_at=day_ago))
    await meera.DeleteSavedSearch(pb.DeleteSavedSearchRequest(saved_search_id=gone.id))
    await _sweep(agents, service)
    await send(agents, alerts)
    assert bodies(twilio) == [
        'PropMubi: 2 homes for your saved search "A flat". To hear less, change its alert.'
    ]


async def test_no_phone_is_ever_logged(
    agents: Running, asha: Any, meera: Any, alerts: AlertService, twilio: Twilio, capfd: Any
) -> None:
    await save(meera, city="Pune")
    await asha.publish()
    await eventually(agents, 1)
    twilio.statuses = [400]
    await send(agents, alerts)
    assert len(twilio.received) == 1
    assert PHONE not in capfd.readouterr().out
