"""A person is forgotten by the whole platform, and comes back as somebody new."""

import asyncio

from devstack.testing_town import Town

WITHIN = 10.0


async def test_who_is_erased_is_known_to_nobody_any_more(town: Town) -> None:
    nisha = town.new_person()
    asked = {"listing_id": town.new_listing(), "full_name": "Nisha Rao", "phone": nisha.phone}
    async with town.client() as http:
        once = {"Idempotency-Key": "nisha"}
        lead = (await http.post("/v1/enquiries", json=asked, headers=once)).json()
        old_token = nisha.headers
        unproven = await http.request("DELETE", "/v1/users/me", headers=old_token)
        assert unproven.status_code == 422
        proof = {"confirmation": town.confirmation(nisha)}
        erased = await http.request("DELETE", "/v1/users/me", headers=old_token, json=proof)
        assert erased.status_code == 204

        async def forgotten() -> bool:
            me = await http.get("/v1/users/me", headers=old_token)
            hers = await http.get(f"/v1/leads/{lead['id']}", headers=town.asha.headers)
            told = hers.is_success and hers.json()["contact"]["full_name"]
            return me.status_code == 401 and told == "Erased"

        async with asyncio.timeout(WITHIN):
            while not await forgotten():  # noqa: ASYNC110  Nobody tells.
                await asyncio.sleep(0.05)
        again = town.new_person(nisha.phone)
        assert again.tokens is not None
        assert nisha.tokens is not None
        assert again.tokens["user"]["id"] != nisha.tokens["user"]["id"]
    tables = await town.rows(
        "select format('%I.%I', schemaname, tablename) as name from pg_tables"
        " where schemaname in ('agents', 'crm', 'projects')"
    )
    for table in tables:
        query = f"select string_agg(t::text, ' ') from {table['name']} t"
        said = await town.value(query) or ""
        # Messages are kept as bytes, which Postgres writes in hexadecimal.
        for written in (nisha.phone, nisha.phone.encode().hex()):
            assert written not in said, table["name"]
