"""Many want the same at once: one gets it, and all are told the truth."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx

from devstack.testing_town import Town

AGENTS = 50
SAME = 50


async def test_of_fifty_agents_who_hold_one_unit_one_does(town: Town) -> None:
    with ThreadPoolExecutor(4) as at_once:
        agents = list(at_once.map(lambda _: town.new_agent(), range(AGENTS)))
    (unit,) = town.free_units(1)
    path = f"/v1/units/{unit}/hold"
    async with town.client() as http:
        answers = await asyncio.gather(
            *(http.post(path, json={}, headers=agent.headers) for agent in agents)
        )
        assert (await http.get(f"/v1/units/{unit}")).json()["status"] == "held"
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: AGENTS - 1}
    refusals = {code_of(answer) for answer in answers if answer.status_code == 409}
    assert refusals == {"UNIT_NOT_AVAILABLE"}
    (held,) = [answer.json()["id"] for answer in answers if answer.status_code == 201]
    claims = await town.rows("select id::text from projects.claims where unit_id = $1", unit)
    assert [claim["id"] for claim in claims] == [held]


async def test_the_same_enquiry_fifty_times_at_once_is_one_lead(town: Town) -> None:
    enquiry = town.enquiry()
    async with town.client() as http:
        answers = await asyncio.gather(
            *(http.post("/v1/enquiries", json=enquiry) for _ in range(SAME))
        )
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: SAME - 1}
    (lead_id,) = {answer.json()["id"] for answer in answers}
    stored = await town.rows(
        "select leads.id::text from crm.leads join crm.contacts on contacts.id = contact_id"
        " where phone = $1",
        enquiry["phone"],
    )
    assert [lead["id"] for lead in stored] == [lead_id]


async def test_the_same_key_fifty_times_at_once_is_one_enquiry(town: Town) -> None:
    """Answered once; who asks meanwhile hears that it is under way, and who asks later the first answer."""
    enquiry, key = town.enquiry(), {"Idempotency-Key": "one-press-of-the-button"}
    async with town.client() as http:
        answers = await asyncio.gather(
            *(http.post("/v1/enquiries", json=enquiry, headers=key) for _ in range(SAME))
        )
        again = await http.post("/v1/enquiries", json=enquiry, headers=key)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert {answer.status_code for answer in answers} <= {201, 409}
    first = [
        answer
        for answer in answers
        if answer.status_code == 201 and "idempotency-replayed" not in answer.headers
    ]
    assert len(first) == 1
    assert first[0].json() == again.json()
    messages = await town.value(
        "select count(*) from crm.activities where lead_id = $1 and kind = 'message'",
        again.json()["id"],
    )
    assert messages == 1


def code_of(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])
