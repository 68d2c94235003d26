"""ListingService on the wire: messages in, use cases, messages out."""

import uuid
from datetime import UTC, date, datetime
from typing import Any

from google.protobuf.empty_pb2 import Empty

from agents_service.listings.messages import (
    INPUT,
    change_to_proto,
    duplicate_to_proto,
    filters_from_wire,
    from_wire,
    owner_to_proto,
    to_proto,
)
from agents_service.listings.pages import Pages, together
from agents_service.listings.search import position_of
from agents_service.listings.service import ListingService
from agents_service.search.messages import read_as_to_proto
from agents_service.search.service import SearchService
from chassis.context import principal, principal_or_none
from chassis.database import Database
from chassis.page_tokens import PageTokens, fitting
from chassis.protobuf import masked, value, values
from propmubi.agents.v1 import listings_pb2 as pb
from propmubi.agents.v1 import listings_pb2_grpc


class ListingServicer(listings_pb2_grpc.ListingServiceServicer):
    """Serves propmubi.agents.v1.ListingService."""

    def __init__(
        self,
        database: Database,
        service: ListingService,
        search: SearchService,
        pages: Pages,
        page_tokens: PageTokens,
    ) -> None:
        self._database = database
        self._service = service
        self._search = search
        self._pages = pages
        self._page_tokens = page_tokens

    async def CreateListing(self, request: pb.CreateListingRequest, context: Any) -> pb.Listing:
        columns = from_wire(values(request.listing, *INPUT))
        async with self._database.transaction() as tx:
            listing = await self._service.create(tx, principal(), columns)
            return tx.reply(to_proto(listing, datetime.now(UTC)))

    async def GetListing(self, request: pb.GetListingRequest, context: Any) -> pb.Listing:
        listing = await self._service.get(principal_or_none(), uuid.UUID(request.listing_id))
        return to_proto(listing, datetime.now(UTC))

    async def BatchGetListings(
        self, request: pb.BatchGetListingsRequest, context: Any
    ) -> pb.BatchGetListingsResponse:
        listings = await self._service.public([*map(uuid.UUID, request.listing_ids)])
        now = datetime.now(UTC)
        return pb.BatchGetListingsResponse(
            listings=fitting(to_proto(each, now) for each in listings)
        )

    async def ListListings(
        self, request: pb.ListListingsRequest, context: Any
    ) -> pb.ListListingsResponse:
        page = self._page_tokens.page(request)
        # Words may be read otherwise when places have become known since the page before, but what comes in which order
        # is what its token says.
        sort, *after = page.position or [request.sort or "newest"]
        search, asked = await self._search.pages(
            principal_or_none(),
            filters_from_wire(request.filters, request.news, request),
            sort=sort,
            after=_after(sort, *after) if after else None,
            limit=page.limit,
        )
        found = await self._pages.find(search)
        shown = await self._pages.show(search.standard_status, found, datetime.now(UTC))
        pages, token = page.cut(
            found,
            lambda each: shown.get(each.id),
            lambda last: [search.sort, *position_of(last)],
            size_of=len,
        )
        response = together(pages)
        response.next_page_token = token
        if request.filters.q:
            response.read_as.CopyFrom(read_as_to_proto(asked.read, asked.places, asked.words))
        return response

    async def UpdateListing(self, request: pb.UpdateListingRequest, context: Any) -> pb.Listing:
        columns = from_wire(masked(request.listing, request.update_mask))
        expected = value(request, "expected_version")
        async with self._database.transaction() as tx:
            listing = await self._service.update(
                tx, principal(), uuid.UUID(request.listing_id), columns, expected
            )
            return tx.reply(to_proto(listing, datetime.now(UTC)))

    async def DeleteListing(self, request: pb.DeleteListingRequest, context: Any) -> Empty:
        expected = value(request, "expected_version")
        async with self._database.transaction() as tx:
            await self._service.delete(tx, principal(), uuid.UUID(request.listing_id), expected)
            return tx.reply(Empty())

    async def SetListingStatus(
        self, request: pb.SetListingStatusRequest, context: Any
    ) -> pb.Listing:
        wanted = values(request, "standard_status", "close_price", "close_date")
        close_date = wanted["close_date"]
        async with self._database.transaction() as tx:
            listing = await self._service.set_status(
                tx,
                principal(),
                uuid.UUID(request.listing_id),
                wanted["standard_status"],
                close_price=wanted["close_price"],
                close_date=date.fromisoformat(close_date) if close_date else None,
            )
            return tx.reply(to_proto(listing, datetime.now(UTC)))

    async def RelistListing(self, request: pb.RelistListingRequest, context: Any) -> pb.Listing:
        async with self._database.transaction() as tx:
            listing = await self._service.relist(tx, principal(), uuid.UUID(request.listing_id))
            return tx.reply(to_proto(listing, datetime.now(UTC)))

    async def ListDuplicates(
        self, request: pb.ListDuplicatesRequest, context: Any
    ) -> pb.ListDuplicatesResponse:
        found = await self._service.duplicates(principal(), uuid.UUID(request.listing_id))
        return pb.ListDuplicatesResponse(duplicates=map(duplicate_to_proto, found))

    async def ListListingHistory(
        self, request: pb.ListListingHistoryRequest, context: Any
    ) -> pb.ListListingHistoryResponse:
        page = self._page_tokens.page(request)
        found = await self._service.history(
            principal_or_none(),
            uuid.UUID(request.listing_id),
            before=page.last_id,
            limit=page.limit,
        )
        changes, token = page.cut(found, change_to_proto)
        return pb.ListListingHistoryResponse(changes=changes, next_page_token=token)

    async def BatchGetListingOwners(
        self, request: pb.BatchGetListingOwnersRequest, context: Any
    ) -> pb.BatchGetListingOwnersResponse:
        owners = await self._service.owners([*map(uuid.UUID, request.listing_ids)])
        return pb.BatchGetListingOwnersResponse(owners=map(owner_to_proto, owners))


def _after(sort: str, key: Any, listing_id: str) -> tuple[Any, uuid.UUID]:
    return datetime.fromisoformat(key) if sort == "newest" else key, uuid.UUID(listing_id)
