"""Pages of listings, put together from listings that were serialised before.

The statement of a page names the version of each listing, and a version is never changed: what is kept of it is always
right, nothing need be told to forget it, and a page that others asked for costs one narrow statement.
"""

import uuid
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from agents_service.listings.domain import Listing
from agents_service.listings.messages import to_proto
from agents_service.listings.repository import ListingRepository
from agents_service.listings.search import Found, Search
from propmubi.agents.v1 import listings_pb2 as pb

# Some 2 kB each; the few that are much larger are read again each time.
KEPT, KEPT_BYTES = 10_000, 16_000
_FOREVER = datetime.max.replace(tzinfo=UTC)


class _Kept(NamedTuple):
    version: int
    # When it has been on the market for another day.
    until: datetime
    # A page with this listing alone.
    page: bytes


class Pages:
    """Finds and shows pages of listings."""

    def __init__(self, repository: ListingRepository) -> None:
        self._repository = repository
        self._kept: OrderedDict[uuid.UUID, _Kept] = OrderedDict()

    async def find(self, search: Search) -> list[Found]:
        return await self._repository.list_page(search)

    async def show(
        self, statuses: Sequence[str], found: Sequence[Found], now: datetime
    ) -> dict[uuid.UUID, bytes]:
        """What was `found` in `statuses`, as it is shown at `now`: of each a page with it alone, for `together`.

        A listing that changed since it was found is shown as it is now, or left out if it is no longer in a status that
        was asked for: who asks may not be allowed to see the others.
        """
        known = {each.id: page for each in found if (page := self._recall(each, now))}
        missing = [each.id for each in found if each.id not in known]
        if missing:
            listings = await self._repository.those_in(statuses, missing)
            known |= self._keep(listings, now)
        return known

    async def current(
        self, statuses: Sequence[str], listing_ids: Sequence[uuid.UUID], now: datetime
    ) -> list[pb.Listing]:
        """Those of the listings that are in `statuses`, as they are shown at `now`, in any order."""
        listings = await self._repository.those_in(statuses, listing_ids)
        return [to_proto(listing, now) for listing in listings]

    def _recall(self, found: Found, now: datetime) -> bytes | None:
        kept = self._kept.get(found.id)
        if kept is None or kept.version != found.version or kept.until <= now:
            return None
        self._kept.move_to_end(found.id)
        return kept.page

    def _keep(self, listings: Iterable[Listing], now: datetime) -> dict[uuid.UUID, bytes]:
        pages = {}
        for listing in listings:
            shown = to_proto(listing, now)
            page = pb.ListListingsResponse(listings=[shown]).SerializeToString()
            pages[listing.id] = page
            if len(page) <= KEPT_BYTES:
                self._kept[listing.id] = _Kept(listing.version, _until(listing, shown), page)
                self._kept.move_to_end(listing.id)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return pages


def together(pages: Iterable[bytes]) -> pb.ListListingsResponse:
    """Pages put behind each other, which are one page."""
    return pb.ListListingsResponse.FromString(b"".join(pages))


def _until(listing: Listing, shown: pb.Listing) -> datetime:
    if listing.on_market_date is None or listing.off_market_date is not None:
        return _FOREVER
    off = timedelta(seconds=listing.off_market_seconds)
    return listing.on_market_date + off + timedelta(days=shown.days_on_market + 1)
