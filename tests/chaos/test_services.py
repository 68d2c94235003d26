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
