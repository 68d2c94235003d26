"""Enquiring about a listing: at most one open lead per person and listing."""

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, HTTPException, Response
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from bench.peers.monolith.database import Session
from bench.peers.monolith.listings import PUBLIC
from bench.peers.monolith.models import Activity, Contact, Lead, Listing
from bench.peers.monolith.schemas import EnquiryIn, EnquiryOut
from bench.peers.monolith.security import SignedIn

FIRST_RESPONSE = timedelta(minutes=30)

router = APIRouter(prefix="/v1/enquiries")


@router.post("", status_code=201, response_model=EnquiryOut)
async def create_enquiry(
    enquiry: EnquiryIn, session: Session, _: SignedIn, response: Response
) -> dict[str, object]:
    listing = await session.get(Listing, enquiry.listing_id)
    if listing is None or listing.standard_status not in PUBLIC:
        raise HTTPException(422, "listing_id must be the id of a public listing")
    contact_id = await session.scalar(
        insert(Contact)
        .values(
            account_id=listing.list_office_id or listing.list_agent_id,
            phone=enquiry.phone,
            full_name=enquiry.full_name,
        )
        .on_conflict_do_update(
            index_elements=[Contact.account_id, Contact.phone],
            set_={"full_name": enquiry.full_name},
        )
        .returning(Contact.id)
    )
    lead_id = await session.scalar(
        insert(Lead)
        .values(
            contact_id=contact_id,
            listing_id=listing.id,
            owner_agent_id=listing.list_agent_id,
            source=enquiry.source,
            sla_due_at=datetime.now(UTC) + FIRST_RESPONSE,
        )
        .on_conflict_do_nothing()
        .returning(Lead.id)
    )
    if lead_id is None:
        response.status_code = 200
        lead_id = await session.scalar(
            select(Lead.id).where(
                Lead.contact_id == contact_id,
                Lead.listing_id == listing.id,
                Lead.stage.not_in(["booked", "junk"]),
            )
        )
    session.add(Activity(lead_id=lead_id, kind="message", text=enquiry.message or "Enquired."))
    await session.commit()
    return {"id": lead_id, **enquiry.model_dump()}
