"""ActivityService on the wire: messages in, use cases, messages out."""

import uuid
from typing import Any

from chassis.context import principal
from chassis.database import Database
from chassis.page_tokens import PageTokens
from chassis.protobuf import fill, value
from crm_service import metrics
from crm_service.activities.domain import Activity, ActivityKind
from crm_service.activities.service import ActivityService
from propmubi.crm.v1 import activities_pb2 as pb
from propmubi.crm.v1 import activities_pb2_grpc


class ActivityServicer(activities_pb2_grpc.ActivityServiceServicer):
    """Serves propmubi.crm.v1.ActivityService."""

    def __init__(
        self, database: Database, service: ActivityService, page_tokens: PageTokens
    ) -> None:
        self._database = database
        self._service = service
        self._page_tokens = page_tokens

    async def CreateActivity(self, request: pb.CreateActivityRequest, context: Any) -> pb.Activity:
        kind = ActivityKind(value(request.activity, "kind"))
        async with self._database.transaction() as tx:
            activity, answered = await self._service.add(
                tx, principal(), uuid.UUID(request.lead_id), kind, request.activity.text
            )
            reply = tx.reply(to_proto(activity))
        if answered is not None:
            metrics.first_response(answered)
        return reply

    async def ListActivities(
        self, request: pb.ListActivitiesRequest, context: Any
    ) -> pb.ListActivitiesResponse:
        page = self._page_tokens.page(request)
        found = await self._service.list_page(
            principal(),
            uuid.UUID(request.lead_id),
            before=page.last_id,
            limit=page.limit,
        )
        activities, token = page.cut(found, to_proto)
        return pb.ListActivitiesResponse(activities=activities, next_page_token=token)


def to_proto(activity: Activity) -> pb.Activity:
    message = pb.Activity()
    fill(message, activity, "id", "kind", "text", "user_id", "from_stage", "to_stage", "created_at")
    return message
