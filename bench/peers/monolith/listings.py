"""Reading listings."""

import uuid
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from sqlalchemy import select

from bench.peers.monolith.database import Session
from bench.peers.monolith.models import Listing
from bench.peers.monolith.schemas import ListingOut, ListingPage
from bench.peers.monolith.security import SignedIn

PUBLIC = frozenset(["coming_soon", "active", "active_under_contract", "pending"])

router = APIRouter(prefix="/v1/listings")


@router.get("/{listing_id}", response_model=ListingOut)
async def get_listing(listing_id: uuid.UUID, session: Session, _: SignedIn) -> Listing:
    listing = await session.get(Listing, listing_id)
    if listing is None or listing.standard_status not in PUBLIC:
        raise HTTPException(404, "There is no such listing.")
    return listing


@router.get("", response_model=ListingPage)
async def list_listings(
    session: Session,
    _: SignedIn,
    *,
    city: str | None = None,
    bhk: Annotated[list[float] | None, Query()] = None,
    listing_type: str | None = None,
    page: Annotated[int, Query(ge=1)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
) -> dict[str, object]:
    query = select(Listing).where(Listing.standard_status == "active")
    if city is not None:
        query = query.where(Listing.city == city)
    if bhk:
        query = query.where(Listing.bhk.in_(bhk))
    if listing_type is not None:
        query = query.where(Listing.listing_type == listing_type)
    # One more than asked for tells whether there is a next page; a count of all would cost more than the page.
    query = query.order_by(Listing.on_market_date.desc(), Listing.id.desc())
    query = query.limit(page_size + 1).offset((page - 1) * page_size)
    found = (await session.scalars(query)).all()
    return {
        "listings": found[:page_size],
        "next_page": page + 1 if len(found) > page_size else None,
    }
