"""Agents are told of their leads by Twilio's real client, before a stand-in that takes, refuses or loses messages."""

from datetime import date, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from chassis import sms
from chassis.india import today
from chassis.sms import SmsSettings
from devstack.testing_sms import Twilio
from propmubi.agents.v1.events_pb2 import AgentRegistrationExpiring
from services.crm.tests.integration.conftest import Agent
from services.crm.tests.integration.test_events import applied, enquire, eventually


@pytest.fixture
def sms_settings(twilio: Twilio, monkeypatch: pytest.MonkeyPatch) -> SmsSettings:
    monkeypatch.setattr(sms, "PAUSES", (0.0, 0.0))
    given = {**twilio.settings, "twilio_auth_token": SecretStr("token")}
    return SmsSettings.model_construct(sms_timeout_seconds=5.0, **given)


async def expire(crm: Any, agent: Agent, valid_to: date, sequence: int) -> None:
    """Tell of the end of an agent's registration, twice as a relay may."""
    payload = AgentRegistrationExpiring(agent_id=str(agent.id), rera_valid_to=valid_to.isoformat())
    for _ in range(2):
        await crm.publish("agents", payload, agent.id, sequence)
    await applied(crm, "agents", sequence)


async def change(crm: Any, statement: str) -> list[Any]:
    async with crm.running.database.transaction() as tx:
        return list(await tx.connection.exec_driver_sql(statement))


async def ended(crm: Any) -> Any:
    async def look() -> list[Any]:
        return await change(crm, "select id from notices where ended_at is not null")

    return await eventually(look)


async def test_the_agent_is_told_by_twilio(crm: Any, twilio: Twilio) -> None:
    asha = crm.peers.add_agent()
    await enquire(crm, asha)
    await ended(crm)
    [received] = twilio.received
    assert received["form"]["To"] == asha.phone
    assert "Please answer by" in received["form"]["Body"]


@pytest.mark.parametrize("status", [400, 500, None])
async def test_what_was_refused_or_may_have_been_sent_is_over(
    crm: Any, twilio: Twilio, status: int | None
) -> None:
    twilio.statuses = [status]
    await enquire(crm, crm.peers.add_agent())
    await ended(crm)
    assert len(twilio.received) == 1


async def test_what_was_not_sent_is_sent_when_its_claim_is_over(crm: Any, twilio: Twilio) -> None:
    twilio.statuses = [429] * 3
    await enquire(crm, crm.peers.add_agent())

    async def refused() -> bool:
        return len(twilio.received) == 3

    await eventually(refused)
    assert await change(crm, "select id from notices where ended_at is null")
    await change(crm, "update notices set claimed_until = now() returning id")
    await ended(crm)
    assert len(twilio.received) == 4


async def test_an_agent_is_told_before_and_when_her_registration_ends_once_each(
    crm: Any, twilio: Twilio
) -> None:
    asha = crm.peers.add_agent(rera_valid_to=today() + timedelta(days=29))
    await expire(crm, asha, asha.rera_valid_to, 1)
    await ended(crm)
    asha.rera_valid_to = today() - timedelta(days=1)
    await expire(crm, asha, asha.rera_valid_to, 2)

    async def both() -> bool:
        [row] = await change(crm, "select count(*) from notices where ended_at is not null")
        return bool(row[0] == 2)

    await eventually(both)
    told = [received["form"] for received in twilio.received]
    assert [each["To"] for each in told] == [asha.phone] * 2
    assert "ends on" in told[0]["Body"]
    assert "ended on" in told[1]["Body"]


async def test_who_renewed_in_time_or_is_no_agent_any_more_is_not_told(
    crm: Any, twilio: Twilio
) -> None:
    renewed = crm.peers.add_agent(rera_valid_to=today() + timedelta(days=400))
    gone = crm.peers.add_agent(active=False)
    for sequence, agent in enumerate((renewed, gone), start=1):
        await expire(crm, agent, today(), sequence)

    async def both() -> bool:
        [row] = await change(crm, "select count(*) from notices where ended_at is not null")
        return bool(row[0] == 2)

    await eventually(both)
    assert twilio.received == []
