"""Agents are told of their leads by Twilio's real client, before a stand-in that takes, refuses or loses messages."""

import asyncio
from collections import Counter
from datetime import date, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from chassis import sms
from chassis.india import today
from chassis.sms import SmsSettings
from crm_service.notices.domain import Notice
from crm_service.notices.repository import NoticeRepository
from crm_service.settings import CrmSettings
from devstack.testing_sms import Twilio
from propmubi.agents.v1.events_pb2 import AgentRegistrationExpiring
from propmubi.crm.v1.leads_pb2 import ListLeadsRequest
from services.crm.tests.integration.conftest import Agent
from services.crm.tests.integration.test_enquiries import enquiry
from services.crm.tests.integration.test_events import applied, enquire, eventually

PER_HOUR = CrmSettings.model_fields["notices_per_hour"].default


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


async def hold_back(crm: Any) -> None:
    """Keep the timer from sending, until `let_go`."""
    await change(
        crm,
        "insert into lease values ('timer/send notices', gen_random_uuid(), 'infinity')"
        " on conflict (name) do update set holder = excluded.holder, expires_at = 'infinity'"
        " returning name",
    )


async def let_go(crm: Any) -> None:
    await change(crm, "delete from lease where name = 'timer/send notices' returning name")


async def enquire_often(crm: Any, agent: Agent, times: int) -> None:
    """As many strangers enquire about one listing, all of them within one hour."""
    listing_id = crm.peers.add_listing(agent)
    asked = [enquiry(listing_id=listing_id, phone=f"98765{number:05}") for number in range(times)]
    await asyncio.gather(*map(crm.leads().CreateEnquiry, asked))
    moment = "date_trunc('hour', now(), 'UTC') + interval '59 minutes'"
    await change(crm, f"update notices set created_at = {moment} returning id")


async def all_ended(crm: Any) -> None:
    async def look() -> bool:
        return not await change(crm, "select id from notices where ended_at is null")

    await eventually(look)


async def test_beyond_so_many_an_hour_one_message_says_that_there_are_more(
    crm: Any, twilio: Twilio
) -> None:
    asha, ravi = crm.peers.add_agent(), crm.peers.add_agent(phone="+919812345679")
    await hold_back(crm)
    await enquire_often(crm, asha, PER_HOUR + 5)
    await enquire_often(crm, ravi, 1)
    await let_go(crm)
    await all_ended(crm)
    assert Counter(received["form"]["To"] for received in twilio.received) == {
        asha.phone: PER_HOUR + 1,
        ravi.phone: 1,
    }
    [more] = [
        received["form"]["Body"]
        for received in twilio.received
        if "pipeline" in received["form"]["Body"]
    ]
    assert f"more than {PER_HOUR} new enquiries" in more
    pipeline = await crm.leads(crm.token_of(asha)).ListLeads(ListLeadsRequest(page_size=100))
    assert len(pipeline.leads) == PER_HOUR + 5  # None is lost.

    # The next hour is another.
    await change(crm, "update notices set created_at = created_at - interval '1 hour' returning id")
    await enquire(crm, asha)
    await all_ended(crm)
    told = [received["form"]["To"] for received in twilio.received]
    assert told.count(asha.phone) == PER_HOUR + 2


async def test_that_there_are_more_is_told_though_the_first_of_them_is_no_news(
    crm: Any, twilio: Twilio
) -> None:
    asha = crm.peers.add_agent()
    await hold_back(crm)
    await enquire_often(crm, asha, PER_HOUR + 1)
    await change(crm, "update leads set stage = 'junk' returning id")
    await let_go(crm)
    await all_ended(crm)
    [told] = twilio.received
    assert "pipeline" in told["form"]["Body"]


async def test_who_claims_at_the_same_time_gives_each_place_once_and_for_good(crm: Any) -> None:
    asha = crm.peers.add_agent()
    await hold_back(crm)
    await enquire_often(crm, asha, 20)
    notices = NoticeRepository(crm.running.database)

    async def claim(limit: int) -> list[Notice]:
        async with crm.running.database.transaction() as tx:
            return await notices.claim(tx, limit)

    claimed = [
        notice for some in await asyncio.gather(*(claim(5) for _ in range(4))) for notice in some
    ]
    places = {notice.id: notice.place for notice in claimed}
    assert (len(claimed), set(places.values())) == (20, set(range(1, 21)))
    await change(crm, "update notices set claimed_until = now() returning id")
    assert {notice.id: notice.place for notice in await claim(20)} == places
