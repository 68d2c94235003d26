"""What is told of listings, and of their owners with them."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from agents_service.listings.domain import Listing, StandardStatus
from agents_service.listings.messages import field_of, status_number, to_proto
from chassis.database import Transaction
from propmubi.agents.v1.events_pb2 import (
    ListingPriceChanged,
    ListingPublished,
    ListingStatusChanged,
    ListingUpdated,
)


def publish_change(
    tx: Transaction, before: Listing, after: Listing, columns: Collection[str]
) -> None:
    """Tell that `columns` of a listing changed."""
    fields = dict.fromkeys(map(field_of, columns))
    if before.is_public and "list_price" in fields:
        del fields["list_price"]
        shown = to_proto(after, datetime.now(UTC))
        tx.publish(ListingPriceChanged(listing=shown, from_price=before.list_price or 0), after.id)
    if fields:
        event = ListingUpdated(listing_id=str(after.id), fields=fields, **_ownership(after))
        tx.publish(event, after.id)


def publish_move(tx: Transaction, before: Listing, after: Listing) -> None:
    """Tell that a listing moved to another status."""
    tx.publish(
        ListingStatusChanged(
            listing_id=str(after.id),
            from_status=status_number(before.standard_status),
            to_status=status_number(after.standard_status),
            **_ownership(after),
        ),
        after.id,
    )
    if after.standard_status == StandardStatus.ACTIVE:
        tx.publish(ListingPublished(listing=to_proto(after, datetime.now(UTC))), after.id)


def _ownership(listing: Listing) -> dict[str, Any]:
    office_id = listing.list_office_id
    return {
        "list_agent_id": str(listing.list_agent_id),
        "list_office_id": None if office_id is None else str(office_id),
    }
