"""What crm counts of its business: enquiries by what became of them, and how long people wait for an answer."""

from typing import Any

from prometheus_client import REGISTRY
from sqlalchemy import text

from propmubi.crm.v1 import activities_pb2 as activities
from propmubi.crm.v1 import leads_pb2 as pb


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def enquire(crm: Any, listing_id: str) -> str:
    enquiry = pb.Enquiry(listing_id=listing_id, full_name="Rohan", phone="+919876543210")
    answer = await crm.leads().CreateEnquiry(pb.CreateEnquiryRequest(enquiry=enquiry))
    return str(answer.id)


async def test_enquiries_are_counted_by_whether_they_made_a_lead(crm: Any) -> None:
    def counted() -> tuple[float, ...]:
        return tuple(
            value("propmubi_enquiries_total", target="listing", outcome=outcome)
            for outcome in ("created", "added")
        )

    listing_id = crm.peers.add_listing(crm.peers.add_agent())
    created, added = counted()
    for _ in range(3):
        await enquire(crm, listing_id)
    assert counted() == (created + 1, added + 2)


async def test_the_first_response_alone_is_timed_and_told_from_a_late_one(crm: Any) -> None:
    def counted() -> tuple[float, ...]:
        return tuple(
            value("propmubi_lead_first_response_seconds_count", in_time=in_time)
            for in_time in ("true", "false")
        )

    async def call(lead_id: str) -> None:
        kind = activities.ACTIVITY_KIND_CALL
        activity = activities.Activity(kind=kind, text="She called.")
        request = activities.CreateActivityRequest(lead_id=lead_id, activity=activity)
        await crm.activities(crm.token_of(asha)).CreateActivity(request)

    asha = crm.peers.add_agent()
    in_time, late = counted()
    soon = await enquire(crm, crm.peers.add_listing(asha))
    await call(soon)
    await call(soon)
    assert counted() == (in_time + 1, late)
    slow = await enquire(crm, crm.peers.add_listing(asha))
    async with crm.running.database.transaction() as tx:
        past = "update leads set sla_due_at = now() - interval '1 hour' where id = :id"
        await tx.execute(text(past), {"id": slow})
    await call(slow)
    assert counted() == (in_time + 1, late + 1)
