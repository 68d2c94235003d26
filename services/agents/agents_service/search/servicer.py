"""SearchService on the wire."""

import uuid
from datetime import UTC, datetime
from typing import Any

from agents_service.listings.messages import filters_from_wire
from agents_service.listings.pages import Pages, together
from agents_service.search.messages import cluster_to_proto, facets_to_proto, place_to_proto
from agents_service.search.service import SearchService
from chassis.page_tokens import fitting
from chassis.protobuf import value
from propmubi.agents.v1 import search_pb2 as pb
from propmubi.agents.v1 import search_pb2_grpc


class SearchServicer(search_pb2_grpc.SearchServiceServicer):
    """Serves propmubi.agents.v1.SearchService."""

    def __init__(self, service: SearchService, pages: Pages) -> None:
        self._service = service
        self._pages = pages

    async def GetListingFacets(
        self, request: pb.GetListingFacetsRequest, context: Any
    ) -> pb.ListingFacets:
        filters = filters_from_wire(request.filters, request.news)
        return facets_to_proto(*await self._service.facets(filters))

    async def GetListingMap(self, request: pb.GetListingMapRequest, context: Any) -> pb.ListingMap:
        filters = filters_from_wire(request.filters, request.news)
        clusters, capped = await self._service.clusters(filters, request.zoom)
        return pb.ListingMap(
            clusters=map(cluster_to_proto, clusters),
            total=sum(cluster.listings for cluster in clusters),
            capped=capped,
        )

    async def Suggest(self, request: pb.SuggestRequest, context: Any) -> pb.SuggestResponse:
        places = await self._service.suggest(request.q, value(request, "city"))
        return pb.SuggestResponse(places=map(place_to_proto, places))

    async def ListSimilarListings(
        self, request: pb.ListSimilarListingsRequest, context: Any
    ) -> pb.ListSimilarListingsResponse:
        found = await self._service.similar(uuid.UUID(request.listing_id))
        shown = await self._pages.show(["active"], found, datetime.now(UTC))
        pages = fitting((shown[each.id] for each in found if each.id in shown), size_of=len)
        return pb.ListSimilarListingsResponse(listings=together(pages).listings)
