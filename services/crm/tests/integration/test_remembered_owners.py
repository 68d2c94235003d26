"""Whose a listing is, is remembered, and asked anew as soon as that may have changed."""

import itertools
import uuid
from typing import Any

import pytest
from google.protobuf.message import Message
from sqlalchemy import select

from chassis.ids import new_id
from crm_service.leads.models import contacts
from devstack.valkey import Valkey
from propmubi.agents.v1.events_pb2 import AgentOfficeChanged, ListingUpdated
from services.crm.tests.integration.test_enquiries import enquiry, eventually


@pytest.mark.parametrize("told", [AgentOfficeChanged, ListingUpdated])
async def test_who_enquires_after_an_agent_left_her_office_is_known_to_her_alone(
    crm: Any, told: type[Message]
) -> None:
    office_id = new_id()
    asha = crm.peers.add_agent(office_id=office_id)
    listing_id = crm.peers.add_listing(asha)
    await crm.leads().CreateEnquiry(enquiry(listing_id=listing_id))
    await crm.leads().CreateEnquiry(enquiry(listing_id=listing_id, phone="9876543211"))
    assert crm.peers.asked == 1
    asha.office_id = None
    about = asha.id if told is AgentOfficeChanged else uuid.UUID(listing_id)
    await crm.publish("agents", told(), about, 1)
    phones = itertools.count(9_876_500_000)

    async def asked_anew() -> bool:
        await crm.leads().CreateEnquiry(enquiry(listing_id=listing_id, phone=str(next(phones))))
        return bool(crm.peers.asked > 1)

    await eventually(asked_anew)
    query = select(contacts.c.account_id).order_by(contacts.c.id)
    accounts = [row["account_id"] for row in await crm.running.database.fetch(query)]
    assert accounts[0] == accounts[1] == office_id
    assert accounts[-1] == asha.id


async def test_what_may_not_have_been_heard_is_asked_anew(crm: Any, valkey: Valkey) -> None:
    listing_id = crm.peers.add_listing(crm.peers.add_agent())
    await crm.leads().CreateEnquiry(enquiry(listing_id=listing_id))
    phones = itertools.count(9_876_500_000)

    async def asked_anew() -> bool:
        await crm.leads().CreateEnquiry(enquiry(listing_id=listing_id, phone=str(next(phones))))
        return bool(crm.peers.asked > 1)

    valkey.stop()
    try:
        await eventually(asked_anew)
    finally:
        valkey.start()
