"""ActivityService on the wire: messages in, use cases, messages out."""

import uuid
from typing import Any

from chassis.context import principal
from chassis.database import Database
from chassis.page_tokens import PageTokens
from chassis.protobuf import fill, values
from crm_service.activities.domain import Activity, ActivityKind
from crm_service.activities.service import ActivityService
from propmubi.crm.v1 import activities_pb2 as pb
from propmubi.crm.v1 import activities_pb2_grpc

DEFAULT_PAGE_SIZE = 20


class ActivityServicer(activities_pb2_grpc.ActivityServiceServicer):
    """Serves propmubi.crm.v1.ActivityService."""

    def __init__(
        self, database: Database, service: ActivityService, page_tokens: PageTokens
    ) -> None:
        self._database = database
        self._service = service
        self._page_tokens = page_tokens

    async def CreateActivity(self, request: pb.CreateActivityRequest, context: Any) -> pb.Activity:
        kind = ActivityKind(values(request.activity, "kind")["kind"])
        async with self._database.transaction() as tx:
            activity = await self._service.add(
                tx, principal(), uuid.UUID(request.lead_id), kind, request.activity.text
            )
            return tx.reply(to_proto(activity))

    async def ListActivities(
        self, request: pb.ListActivitiesRequest, context: Any
    ) -> pb.ListActivitiesResponse:
        position = self._page_tokens.position(request)
        size = request.page_size or DEFAULT_PAGE_SIZE
        found = await self._service.list_page(
            principal(),
            uuid.UUID(request.lead_id),
            before=uuid.UUID(position[0]) if position else None,
            limit=size + 1,
        )
        page = found[:size]
        token = self._page_tokens.issue(request, [page[-1].id]) if len(found) > size else ""
        return pb.ListActivitiesResponse(
            activities=[to_proto(activity) for activity in page], next_page_token=token
        )


def to_proto(activity: Activity) -> pb.Activity:
    message = pb.Activity()
    fill(message, activity, "id", "kind", "text", "user_id", "from_stage", "to_stage", "created_at")
    return message
