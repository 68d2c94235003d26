"""One service is killed under load, or away: clients are told to try again, and nothing is lost or done twice."""

import asyncio
from collections.abc import Callable

from devstack.testing_town import Town
from tests.chaos.conftest import (
    Client,
    after_answers,
    all_ready,
    away,
    check_envelope,
    check_events,
    eventually,
    kill,
    process_of,
)

ENQUIRIES = 40
HOLDS = 6
AT_ONCE = 4
# How many are answered before the service dies.
ANSWERED = 10
# What an agent lists: more than one transaction takes off the market.
LISTED = 2_000


def kill_service(town: Town, word: str) -> Callable[[], None]:
    return lambda: kill(process_of(town.platform, word))


async def test_each_enquiry_makes_one_lead_though_crm_dies(town: Town) -> None:
    async with town.client(AT_ONCE) as http:
        client = Client(http, town)
        after_answers(http, ANSWERED, kill_service(town, "crm_service"))
        leads = await asyncio.gather(*(client.enquire() for _ in range(ENQUIRIES)))
        assert client.refusals, "crm did not die in the midst of it"
        assert len(set(leads)) == ENQUIRIES
        stored = await town.rows("""
            select leads.id::text, contacts.phone, count(activities.id) as entries
            from crm.leads join crm.contacts on contacts.id = contact_id
            left join crm.activities on activities.lead_id = leads.id
            where leads.created_at > now() - interval '1 minute' group by leads.id, contacts.phone
            """)
        ours = [row for row in stored if row["id"] in leads]
        assert len(ours) == ENQUIRIES
        assert {row["entries"] for row in ours} == {1}
        phones = [row["phone"] for row in stored]
        assert len(set(phones)) == len(phones)
        for lead_id in leads:
            read = await http.get(f"/v1/leads/{lead_id}", headers=town.asha.headers)
            assert read.status_code == 200, read.text
        await all_ready(http)
        await check_events(town)


async def test_each_hold_is_made_once_though_projects_dies(town: Town) -> None:
    units = town.free_units(HOLDS)
    async with town.client(AT_ONCE) as http:
        client = Client(http, town)
        leads = await asyncio.gather(*(client.enquire() for _ in units))
        after_answers(http, 1, kill_service(town, "projects_service"))
        claims = await asyncio.gather(
            *(client.hold(unit, lead) for unit, lead in zip(units, leads, strict=True))
        )
        assert client.refusals, "projects did not die in the midst of it"
        for unit, claim in zip(units, claims, strict=True):
            read = await http.get(f"/v1/units/{unit}")
            assert read.json()["status"] == "held"
            stored = await town.rows(
                "select id::text from projects.claims where unit_id = $1", unit
            )
            assert [row["id"] for row in stored] == [claim]
        await all_ready(http)
        await check_events(town)


async def test_an_enquiry_waits_for_agents_to_come_back(town: Town) -> None:
    unknown_to_crm = town.new_listing()
    enquiry = town.enquiry() | {"listing_id": unknown_to_crm}
    async with town.client() as http:
        with away(town.platform, "agents_service"):
            accepted = await http.post("/v1/enquiries", json=enquiry)
            assert accepted.status_code == 201, accepted.text
            path = f"/v1/leads/{accepted.json()['id']}"
            waiting = (await http.get(path, headers=town.admin.headers)).json()
            assert waiting["stage"] == "new"
            assert "owner_agent_id" not in waiting
            refused = await http.get(f"/v1/listings/{unknown_to_crm}")
            assert refused.status_code == 503
            check_envelope(refused)

        async def assigned() -> bool:
            return (await http.get(path, headers=town.asha.headers)).status_code == 200

        await eventually(assigned, "the lead's owner")
        lead = (await http.get(path, headers=town.asha.headers)).json()
        assert lead["stage"] == "assigned"
        timeline = (await http.get(f"{path}/activities", headers=town.asha.headers)).json()
        stages = [entry.get("to_stage") for entry in timeline["activities"]]
        assert stages == ["assigned", "new"]
        await all_ready(http)
        await check_events(town)


async def test_all_that_a_suspended_agent_lists_leaves_the_market_once_though_agents_dies(
    town: Town,
) -> None:
    agent = town.new_agent()
    assert agent.tokens is not None
    agent_id = agent.tokens["user"]["agent_id"]
    await town.rows(
        """
        insert into agents.listings (id, list_agent_id, listing_type, property_type, standard_status, list_price,
            carpet_area, city, on_market_date)
        select gen_random_uuid(), $1, 'sale', 'apartment', 'active', 5000000, 700, 'Nashik', now()
        from generate_series(1, $2)
        """,
        agent_id,
        LISTED,
    )
    left = "select count(*) from agents.listings where list_agent_id = $1 and standard_status = 'active'"

    async def gone() -> bool:
        return bool(await town.value(left, agent_id) == 0)

    async with town.client() as http:
        after_answers(http, 1, kill_service(town, "agents_service"))
        reason = {"reason": "forged papers"}
        path = f"/v1/agents/{agent_id}/suspend"
        suspended = await http.post(path, json=reason, headers=town.admin.headers)
        assert suspended.status_code == 200, suspended.text
        assert not await gone(), "agents did not die in the midst of it"
        await eventually(gone, "the last listing's leaving")
        not_once = """
            select id from agents.listings where list_agent_id = $1 and (
                (select count(*) from agents.listing_history
                    where listing_id = listings.id and to_value = 'withdrawn') <> 1
                or (select count(*) from agents.outbox
                    where aggregate_id = listings.id and name = 'listing.status_changed') <> 1
            )
            """
        assert await town.rows(not_once, agent_id) == []
        named = "select name from agents.outbox where aggregate_id = $1 order by sequence"
        names = [row["name"] for row in await town.rows(named, agent_id)]
        assert names == ["agent.verified", "agent.suspended"]
        await all_ready(http)
        path = f"/v1/agents/{agent_id}/reinstate"
        reinstated = await http.post(path, json={}, headers=town.admin.headers)
        assert reinstated.status_code == 200, reinstated.text
        await check_events(town)
