"""UserService on the wire: messages in, use cases, messages out."""

from typing import Any

from auth_service.users.domain import User
from auth_service.users.service import UserService
from chassis.context import principal
from chassis.database import Database
from chassis.protobuf import fill, masked, value
from propmubi.auth.v1 import auth_pb2 as pb
from propmubi.auth.v1 import auth_pb2_grpc

_FIELDS = (
    "id",
    "phone",
    "email",
    "full_name",
    "roles",
    "agent_id",
    "office_id",
    "builder_id",
    "status",
    "version",
    "created_at",
    "updated_at",
)


class UserServicer(auth_pb2_grpc.UserServiceServicer):
    """Serves propmubi.auth.v1.UserService."""

    def __init__(self, database: Database, service: UserService) -> None:
        self._database = database
        self._service = service

    async def GetMe(self, request: pb.GetMeRequest, context: Any) -> pb.User:
        return to_proto(await self._service.me(principal()))

    async def UpdateMe(self, request: pb.UpdateMeRequest, context: Any) -> pb.User:
        changes = masked(request.user, request.update_mask)
        expected = value(request, "expected_version")
        async with self._database.transaction() as tx:
            return tx.reply(
                to_proto(await self._service.update(tx, principal(), changes, expected))
            )


def to_proto(user: User) -> pb.User:
    message = pb.User()
    fill(message, user, *_FIELDS)
    return message
