"""What is written into a listing: by whom and on which version, what is refused of it, and what others are told."""

import asyncio
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import select, text

from chassis.errors import Conflict, InvalidArgument, NotFound, StaleVersion
from devstack.testing_service import Running
from propmubi.agents.v1 import listings_pb2 as pb
from propmubi.agents.v1.events_pb2 import ListingUpdated
from services.agents.tests.integration.conftest import searching
from services.agents.tests.integration.test_listings import events, get, names, patch


async def test_a_change_made_on_an_old_version_is_refused(agents: Running, asha: Any) -> None:
    listing = await asha.publish()
    answers = await asyncio.gather(
        *(asha.listings.UpdateListing(patch(listing, 2, bhk=3 + i / 2)) for i in range(10)),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, pb.Listing) for answer in answers) == 1
    assert sum(isinstance(answer, StaleVersion) for answer in answers) == 9
    assert (await names(agents, listing.id)).count("listing.updated") == 1


async def test_a_change_is_told_by_its_fields_and_no_change_is_none(
    agents: Running, asha: Any
) -> None:
    photo = pb.Media(url="https://m.in/1.jpg", kind=pb.MEDIA_KIND_PHOTO, caption="Hall")
    draft = await asha.draft(media=[photo], amenities=["Lift", "lift ", "Gym"])
    assert list(draft.amenities) == ["lift", "gym"]
    same = await asha.listings.UpdateListing(
        patch(draft, media=[photo], address=draft.address, amenities=["lift", "gym"])
    )
    assert same.version == 1
    moved = pb.Address()
    moved.CopyFrom(draft.address)
    moved.subdivision_name = "Baner"
    changed = await asha.listings.UpdateListing(
        patch(draft, address=moved, public_remarks="Quiet.", list_price=None)
    )
    assert changed.address.subdivision_name == "Baner"
    assert not changed.HasField("list_price")
    [(name, payload)] = await events(agents, draft.id)
    updated = ListingUpdated()
    assert payload.Unpack(updated)
    assert name == "listing.updated"
    assert set(updated.fields) == {"address", "public_remarks", "list_price"}


async def test_a_price_has_fallen_that_was_higher_when_people_saw_it(
    asha: Any, public: Any
) -> None:
    listing = await asha.draft()
    news = searching(pb.ListListingsRequest, price_dropped_since=Timestamp(seconds=1))
    for list_price, fallen in ((8_400_000, False), (8_300_000, True)):
        await asha.listings.UpdateListing(patch(listing, list_price=list_price))
        if not fallen:
            await asha.move(listing, "active")
        assert bool((await public.ListListings(news)).listings) == fallen


async def test_a_patch_is_checked_against_the_whole_listing(asha: Any) -> None:
    draft = await asha.draft(total_floors=10)
    with pytest.raises(InvalidArgument) as refused:
        await asha.listings.UpdateListing(patch(draft, built_up_area=700, floor=11))
    assert {violation.field for violation in refused.value.violations} == {
        "listing.built_up_area",
        "listing.total_floors",
    }
    listing = await asha.move(draft, "active")
    with pytest.raises(Conflict) as conflict:
        await asha.listings.UpdateListing(patch(listing, address=None))
    assert [violation.field for violation in conflict.value.violations] == ["address"]


async def test_only_a_draft_is_deleted(asha: Any, make_lister: Any) -> None:
    draft = await asha.draft()
    request = pb.DeleteListingRequest(listing_id=draft.id)
    with pytest.raises(NotFound):
        await (await make_lister()).listings.DeleteListing(request)
    with pytest.raises(StaleVersion):
        await asha.listings.DeleteListing(
            pb.DeleteListingRequest(listing_id=draft.id, expected_version=7)
        )
    await asha.listings.DeleteListing(request)
    with pytest.raises(NotFound):
        await get(asha.listings, draft)
    published = await asha.publish()
    with pytest.raises(Conflict):
        await asha.listings.DeleteListing(pb.DeleteListingRequest(listing_id=published.id))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"list_price": 0}, "listing.list_price"),
    ({"bhk": 2.3}, "listing.bhk"),
    ({"listing_type": 0}, "listing.listing_type"),
    ({"possession_date": "2026-02-30"}, "listing.possession_date"),
    ({"unit_id": "12"}, "listing.unit_id"),
    ({"latitude": 51.5, "longitude": 73.0}, "listing.latitude"),
    ({"carpet_area": 900, "built_up_area": 800}, "listing.built_up_area"),
    ({"expiration_date": "2020-01-01"}, "listing.expiration_date"),
    (
        {"media": [pb.Media(url="javascript:1", kind=pb.MEDIA_KIND_PHOTO)]},
        "listing.media[0].url",
    ),
    (
        {
            "address": pb.Address(
                subdivision_name="  ", city="Pune", state="MH", postal_code="411057"
            )
        },
        "listing.address.subdivision_name",
    ),
    (
        {"address": pb.Address(subdivision_name="Wakad", city="Pune", state="MH", postal_code="1")},
        "listing.address.postal_code",
    ),
]


async def test_bad_input_is_refused_by_field_and_nothing_stored(agents: Running, asha: Any) -> None:
    for changes, field in WRONG:
        with pytest.raises(InvalidArgument) as refused:
            await asha.draft(**changes)
        assert field in {violation.field for violation in refused.value.violations}, changes
    assert await agents.database.fetch(select(text("1")).select_from(text("listings"))) == []
