"""BuilderService on the wire: messages in, use cases, messages out."""

import uuid
from typing import Any

from chassis.context import principal, principal_or_none
from chassis.database import Database
from chassis.page_tokens import PageTokens
from chassis.protobuf import fill, masked, value, values
from projects_service.builders.domain import Builder, BuilderStatus
from projects_service.builders.service import BuilderService
from propmubi.projects.v1 import builders_pb2 as pb
from propmubi.projects.v1 import builders_pb2_grpc

_COMPANY = ("builder_name", "rera_promoter_no", "rera_state", "gstin")
_FIELDS = (
    "id",
    "user_id",
    *_COMPANY,
    "verification_status",
    "status",
    "version",
    "created_at",
    "updated_at",
)


class BuilderServicer(builders_pb2_grpc.BuilderServiceServicer):
    """Serves propmubi.projects.v1.BuilderService."""

    def __init__(
        self, database: Database, service: BuilderService, page_tokens: PageTokens
    ) -> None:
        self._database = database
        self._service = service
        self._page_tokens = page_tokens

    async def CreateBuilder(self, request: pb.CreateBuilderRequest, context: Any) -> pb.Builder:
        company = values(request.builder, *_COMPANY)
        async with self._database.transaction() as tx:
            return tx.reply(to_proto(await self._service.apply(tx, principal(), company)))

    async def GetBuilder(self, request: pb.GetBuilderRequest, context: Any) -> pb.Builder:
        builder_id = uuid.UUID(request.builder_id)
        return to_proto(await self._service.get(principal_or_none(), builder_id))

    async def ListBuilders(
        self, request: pb.ListBuildersRequest, context: Any
    ) -> pb.ListBuildersResponse:
        page = self._page_tokens.page(request)
        found = await self._service.list_page(
            principal_or_none(),
            status=BuilderStatus(value(request, "status") or BuilderStatus.ACTIVE),
            before=page.last_id,
            limit=page.limit,
        )
        builders, token = page.cut(found, to_proto)
        return pb.ListBuildersResponse(builders=builders, next_page_token=token)

    async def UpdateBuilder(self, request: pb.UpdateBuilderRequest, context: Any) -> pb.Builder:
        changes = masked(request.builder, request.update_mask)
        expected = value(request, "expected_version")
        async with self._database.transaction() as tx:
            builder = await self._service.update(
                tx, principal(), uuid.UUID(request.builder_id), changes, expected
            )
            return tx.reply(to_proto(builder))

    async def VerifyBuilder(self, request: pb.VerifyBuilderRequest, context: Any) -> pb.Builder:
        return await self._move(request, "verify")

    async def SuspendBuilder(self, request: pb.SuspendBuilderRequest, context: Any) -> pb.Builder:
        return await self._move(request, "suspend", request.reason)

    async def ReinstateBuilder(
        self, request: pb.ReinstateBuilderRequest, context: Any
    ) -> pb.Builder:
        return await self._move(request, "reinstate")

    async def _move(self, request: Any, move: str, reason: str | None = None) -> pb.Builder:
        async with self._database.transaction() as tx:
            builder = await self._service.move(
                tx, principal(), uuid.UUID(request.builder_id), move, reason
            )
            return tx.reply(to_proto(builder))


def to_proto(builder: Builder) -> pb.Builder:
    message = pb.Builder()
    fill(message, builder, *_FIELDS)
    return message
