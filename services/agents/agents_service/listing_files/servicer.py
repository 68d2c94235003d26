"""ListingFileService on the wire: messages in, use cases, messages out."""

import hashlib
import uuid
from datetime import UTC, datetime
from typing import Any

from agents_service.listing_files.domain import Import, Piece, RowError
from agents_service.listing_files.service import ListingFileService
from agents_service.listings.domain import Listing
from agents_service.listings.messages import to_proto
from chassis.context import principal
from chassis.database import Database
from chassis.page_tokens import PageTokens
from chassis.protobuf import fill
from propmubi.agents.v1 import listing_files_pb2 as pb
from propmubi.agents.v1 import listing_files_pb2_grpc

_IMPORT = (
    "id",
    "status",
    "failure",
    "size",
    "rows",
    "created",
    "updated",
    "unchanged",
    "failed",
    "created_at",
    "finished_at",
)
_ERROR = ("row", "external_id", "field", "message")


class ListingFileServicer(listing_files_pb2_grpc.ListingFileServiceServicer):
    """Serves propmubi.agents.v1.ListingFileService."""

    def __init__(
        self, database: Database, service: ListingFileService, page_tokens: PageTokens
    ) -> None:
        self._database = database
        self._service = service
        self._page_tokens = page_tokens

    async def ImportListings(
        self, request: pb.ImportListingsRequest, context: Any
    ) -> pb.ListingImport:
        piece = Piece(
            number=request.number,
            content=request.content,
            digest=hashlib.sha256(request.content).digest(),
            last=request.last,
        )
        async with self._database.transaction() as tx:
            job = await self._service.receive(
                tx, principal(), uuid.UUID(request.upload_id), request.content_type, piece
            )
            return _import(job)

    async def GetListingImport(
        self, request: pb.GetListingImportRequest, context: Any
    ) -> pb.ListingImport:
        return _import(await self._service.get(principal(), uuid.UUID(request.import_id)))

    async def ListListingImportErrors(
        self, request: pb.ListListingImportErrorsRequest, context: Any
    ) -> pb.ListListingImportErrorsResponse:
        page = self._page_tokens.page(request)
        found = await self._service.errors(
            principal(),
            uuid.UUID(request.import_id),
            after=page.position[0] if page.position else 0,
            limit=page.limit,
        )
        errors, token = page.cut(found, _error, lambda error: [error.position])
        return pb.ListListingImportErrorsResponse(errors=errors, next_page_token=token)

    async def ExportListings(
        self, request: pb.ExportListingsRequest, context: Any
    ) -> pb.ExportListingsResponse:
        page = self._page_tokens.page(request)
        found = await self._service.export(principal(), after=page.last_id, limit=page.limit)
        now = datetime.now(UTC)
        listings, token = page.cut(
            found, lambda each: _listing(*each, now), lambda each: [each[1].id]
        )
        return pb.ExportListingsResponse(listings=listings, next_page_token=token)


def _listing(external_id: str | None, listing: Listing, now: datetime) -> Any:
    message = to_proto(listing, now)
    if external_id is not None:
        message.external_id = external_id
    return message


def _import(job: Import) -> pb.ListingImport:
    message = pb.ListingImport()
    fill(message, job, *_IMPORT)
    return message


def _error(error: RowError) -> pb.ListingImportError:
    message = pb.ListingImportError()
    fill(message, error, *_ERROR)
    return message
