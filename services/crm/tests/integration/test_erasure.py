"""Who is to be forgotten, or left alone."""

from typing import Any

from sqlalchemy import text

from chassis.ids import new_id
from propmubi.auth.v1 import consents_pb2 as consents
from propmubi.auth.v1.events_pb2 import ConsentGranted, ConsentWithdrawn, UserErased
from propmubi.crm.v1 import activities_pb2 as activities
from propmubi.crm.v1 import leads_pb2 as pb
from services.crm.tests.integration.test_events import applied, enquire, timeline

PHONE = "+919876543210"


async def lead(crm: Any, token: str, lead_id: str) -> pb.Lead:
    found: pb.Lead = await crm.leads(token).GetLead(pb.GetLeadRequest(lead_id=lead_id))
    return found


async def test_who_is_erased_is_masked_everywhere_and_her_open_leads_are_lost(crm: Any) -> None:
    asha, ravi, user_id = crm.peers.add_agent(), crm.peers.add_agent(), new_id()
    token, lead_id = crm.token_of(asha), await enquire(crm, asha)
    other = await enquire(crm, ravi)
    note = activities.Activity(kind=activities.ACTIVITY_KIND_NOTE, text="Her mother is Meera")
    await crm.activities(token).CreateActivity(
        activities.CreateActivityRequest(lead_id=lead_id, activity=note)
    )
    enquiry = pb.Enquiry(
        listing_id=crm.peers.add_listing(asha), full_name="Rohan Deshmukh", phone=PHONE
    )
    once_more = pb.CreateEnquiryRequest(enquiry=enquiry)
    await crm.leads(None, idempotency_key="once").CreateEnquiry(once_more)
    kept = text("select 1 from idempotency_key")
    assert await crm.running.database.fetch(kept) != []
    junk = pb.SetLeadStageRequest(lead_id=other, stage=pb.LEAD_STAGE_JUNK)
    await crm.leads(crm.token_of(ravi)).SetLeadStage(junk)
    erased = UserErased(
        user_id=str(user_id), phone="+919876500001", former_phones=["+919876500002", PHONE]
    )
    for sequence in (1, 1, 2):  # Delivered twice, and told again.
        await crm.publish("auth", erased, user_id, sequence)
    await applied(crm, "auth", 2)
    assert await crm.running.database.fetch(kept) == []
    for whose, which, stage in (
        (token, lead_id, pb.LEAD_STAGE_LOST),
        (crm.token_of(ravi), other, pb.LEAD_STAGE_JUNK),
    ):
        left = await lead(crm, whose, which)
        assert (left.contact.full_name, left.stage) == ("Erased", stage)
        assert left.contact.phone == f"erased:{left.contact.id}"
        assert left.contact.do_not_disturb
    assert await timeline(crm, token, lead_id) == [
        "Erased.",
        "Erased.",
        "She asked to be forgotten.",
    ]
    again = await enquire(crm, asha)
    assert (await lead(crm, token, again)).contact.full_name == "Rohan Deshmukh"


async def test_who_withdraws_her_consent_is_left_alone_until_she_gives_it_again(crm: Any) -> None:
    asha, user_id = crm.peers.add_agent(), new_id()
    token, lead_id = crm.token_of(asha), await enquire(crm, asha)
    what: dict[str, Any] = {
        "user_id": str(user_id),
        "phone": PHONE,
        "channel": consents.CONSENT_CHANNEL_CALL,
        "purpose": consents.CONSENT_PURPOSE_ENQUIRY_FOLLOW_UP,
    }
    marketing = {**what, "purpose": consents.CONSENT_PURPOSE_MARKETING}
    for sequence, (event, expected) in enumerate(
        (
            (ConsentWithdrawn(**marketing), False),
            (ConsentWithdrawn(**what), True),
            (ConsentGranted(**marketing), True),
            (ConsentGranted(**what), False),
        ),
        start=1,
    ):
        await crm.publish("auth", event, user_id, sequence)
        await applied(crm, "auth", sequence)
        assert (await lead(crm, token, lead_id)).contact.do_not_disturb is expected


async def test_a_timeline_is_masked_by_its_function_and_by_nothing_else(crm: Any) -> None:
    [row] = await crm.running.database.fetch(
        text(
            "select has_table_privilege('activities', 'update') as changes,"
            " has_table_privilege('activities', 'delete') as deletes"
        )
    )
    assert dict(row) == {"changes": False, "deletes": False}
