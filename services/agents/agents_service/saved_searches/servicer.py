"""SavedSearchService on the wire: messages in, use cases, messages out."""

import uuid
from datetime import UTC, datetime
from typing import Any

from google.protobuf.empty_pb2 import Empty

from agents_service.listings.domain import PUBLIC
from agents_service.listings.messages import filters_from_wire
from agents_service.listings.pages import Pages
from agents_service.saved_searches.domain import Match, SavedSearch
from agents_service.saved_searches.service import SavedSearchService
from chassis import idempotency
from chassis.context import principal
from chassis.database import Database
from chassis.page_tokens import PageTokens
from chassis.protobuf import fill, masked, moment, value, values
from propmubi.agents.v1 import listings_pb2, saved_searches_pb2_grpc
from propmubi.agents.v1 import saved_searches_pb2 as pb
from propmubi.agents.v1.listings_pb2 import ListingFilters

_INPUT = ("name", "filters", "alert")
_OUTPUT = ("id", "name", "alert", "version", "created_at", "updated_at")


class SavedSearchServicer(saved_searches_pb2_grpc.SavedSearchServiceServicer):
    """Serves propmubi.agents.v1.SavedSearchService."""

    def __init__(
        self,
        database: Database,
        service: SavedSearchService,
        pages: Pages,
        page_tokens: PageTokens,
    ) -> None:
        self._database = database
        self._service = service
        self._pages = pages
        self._page_tokens = page_tokens

    async def CreateSavedSearch(
        self, request: pb.CreateSavedSearchRequest, context: Any
    ) -> pb.SavedSearch:
        given = values(request.saved_search, *_INPUT)
        await idempotency.replay(self._database)
        columns = await self._service.columns(given, _filters(request.saved_search))
        async with self._database.transaction() as tx:
            return tx.reply(to_proto(await self._service.create(tx, principal(), columns)))

    async def GetSavedSearch(
        self, request: pb.GetSavedSearchRequest, context: Any
    ) -> pb.SavedSearch:
        saved_search_id = uuid.UUID(request.saved_search_id)
        return to_proto(await self._service.get(principal(), saved_search_id))

    async def ListSavedSearches(
        self, request: pb.ListSavedSearchesRequest, context: Any
    ) -> pb.ListSavedSearchesResponse:
        page = self._page_tokens.page(request)
        found = await self._service.list_page(principal(), before=page.last_id, limit=page.limit)
        searches, token = page.cut(found, to_proto)
        return pb.ListSavedSearchesResponse(saved_searches=searches, next_page_token=token)

    async def UpdateSavedSearch(
        self, request: pb.UpdateSavedSearchRequest, context: Any
    ) -> pb.SavedSearch:
        given = masked(request.saved_search, request.update_mask)
        expected = value(request, "expected_version")
        columns = await self._service.columns(given, _filters(request.saved_search))
        async with self._database.transaction() as tx:
            search = await self._service.update(
                tx, principal(), uuid.UUID(request.saved_search_id), columns, expected
            )
            return tx.reply(to_proto(search))

    async def DeleteSavedSearch(self, request: pb.DeleteSavedSearchRequest, context: Any) -> Empty:
        expected = value(request, "expected_version")
        async with self._database.transaction() as tx:
            await self._service.delete(
                tx, principal(), uuid.UUID(request.saved_search_id), expected
            )
            return tx.reply(Empty())

    async def ListSavedSearchMatches(
        self, request: pb.ListSavedSearchMatchesRequest, context: Any
    ) -> pb.ListSavedSearchMatchesResponse:
        page = self._page_tokens.page(request)
        search, found = await self._service.matches(
            principal(),
            uuid.UUID(request.saved_search_id),
            after=_after(*page.position) if page.position else None,
            limit=page.limit,
        )
        ids = [match.listing_id for match in found]
        listings = await self._pages.current([*PUBLIC], ids, datetime.now(UTC))
        by_id = {listing.id: listing for listing in listings}
        matches, token = page.cut(
            found,
            lambda match: _match(match, by_id.get(str(match.listing_id)), search.seen_until),
            _position,
        )
        return pb.ListSavedSearchMatchesResponse(matches=matches, next_page_token=token)

    async def MarkSavedSearchSeen(
        self, request: pb.MarkSavedSearchSeenRequest, context: Any
    ) -> Empty:
        saved_search_id, until = uuid.UUID(request.saved_search_id), moment(request.until)
        async with self._database.transaction() as tx:
            await self._service.seen(tx, principal(), saved_search_id, until)
            return tx.reply(Empty())


def to_proto(search: SavedSearch) -> pb.SavedSearch:
    message = pb.SavedSearch()
    fill(message, search, *_OUTPUT, filters=ListingFilters.FromString(search.filters))
    return message


def _match(
    match: Match, listing: listings_pb2.Listing | None, seen_until: datetime | None
) -> pb.SavedSearchMatch | None:
    if listing is None:
        return None
    message = pb.SavedSearchMatch(
        listing=listing, seen=seen_until is not None and match.matched_at <= seen_until
    )
    fill(message, match, "matched_at", "reason")
    return message


def _filters(search: pb.SavedSearch) -> dict[str, Any]:
    return filters_from_wire(search.filters)


def _position(match: Match) -> list[Any]:
    return [match.matched_at, match.listing_id]


def _after(matched_at: str, listing_id: str) -> tuple[datetime, uuid.UUID]:
    return datetime.fromisoformat(matched_at), uuid.UUID(listing_id)
