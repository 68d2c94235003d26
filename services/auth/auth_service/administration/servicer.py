"""AdministrationService on the wire: messages in, use cases, messages out."""

import uuid
from collections.abc import Iterable
from typing import Any

import orjson
from google.protobuf.empty_pb2 import Empty

from auth_service import audit
from auth_service.accounts.service import AccountService
from auth_service.administration.service import AdministrationService
from auth_service.audit import AuditEvent
from auth_service.users.domain import RoleGrant, UserStatus
from auth_service.users.service import UserService
from auth_service.users.servicer import to_proto
from chassis.context import principal
from chassis.database import Database
from chassis.errors import Conflict
from chassis.page_tokens import PageTokens
from chassis.protobuf import fill, moment, value
from propmubi.auth.v1 import administration_pb2 as pb
from propmubi.auth.v1 import administration_pb2_grpc
from propmubi.auth.v1.auth_pb2 import User


class AdministrationServicer(administration_pb2_grpc.AdministrationServiceServicer):
    """Serves propmubi.auth.v1.AdministrationService."""

    def __init__(
        self,
        database: Database,
        service: AdministrationService,
        users: UserService,
        accounts: AccountService,
        page_tokens: PageTokens,
    ) -> None:
        self._database = database
        self._service = service
        self._users = users
        self._accounts = accounts
        self._page_tokens = page_tokens

    async def ListUsers(self, request: pb.ListUsersRequest, context: Any) -> pb.ListUsersResponse:
        page, status = self._page_tokens.page(request), value(request, "status")
        found = await self._users.list_page(
            status=UserStatus(status) if status else None,
            role=value(request, "role"),
            before=page.last_id,
            limit=page.limit,
        )
        shown, token = page.cut(found, to_proto)
        return pb.ListUsersResponse(users=shown, next_page_token=token)

    async def FindUser(self, request: pb.FindUserRequest, context: Any) -> User:
        async with self._database.transaction() as tx:
            return tx.reply(to_proto(await self._service.find(tx, principal(), request.phone)))

    async def GetUser(self, request: pb.GetUserRequest, context: Any) -> User:
        return to_proto(await self._users.get(uuid.UUID(request.user_id)))

    async def SuspendUser(self, request: pb.SuspendUserRequest, context: Any) -> User:
        user_id = uuid.UUID(request.user_id)
        async with self._database.transaction() as tx:
            user = await self._service.suspend(tx, principal(), user_id, request.reason)
            return tx.reply(to_proto(user))

    async def ReinstateUser(self, request: pb.ReinstateUserRequest, context: Any) -> User:
        user_id, reason = uuid.UUID(request.user_id), value(request, "reason")
        async with self._database.transaction() as tx:
            return tx.reply(
                to_proto(await self._service.reinstate(tx, principal(), user_id, reason))
            )

    async def EraseUser(self, request: pb.EraseUserRequest, context: Any) -> Empty:
        caller, user_id = principal(), uuid.UUID(request.user_id)
        if user_id == caller.user_id:
            raise Conflict("You can't erase yourself so: /v1/users/me takes a proof.")
        user = await self._users.get(user_id)
        expected = value(request, "expected_version")
        async with self._database.transaction() as tx:
            await self._accounts.erase(tx, user, caller.subject, expected)
            return tx.reply(Empty())

    async def ListRoleGrants(
        self, request: pb.ListRoleGrantsRequest, context: Any
    ) -> pb.ListRoleGrantsResponse:
        grants = await self._users.grants(uuid.UUID(request.user_id))
        return pb.ListRoleGrantsResponse(grants=grants_to_proto(grants))

    async def GrantRole(self, request: pb.GrantRoleRequest, context: Any) -> User:
        user_id = uuid.UUID(request.user_id)
        async with self._database.transaction() as tx:
            return tx.reply(
                to_proto(await self._service.grant(tx, principal(), user_id, request.role))
            )

    async def RevokeRole(self, request: pb.RevokeRoleRequest, context: Any) -> Empty:
        user_id = uuid.UUID(request.user_id)
        async with self._database.transaction() as tx:
            await self._service.revoke(tx, principal(), user_id, request.role)
            return tx.reply(Empty())

    async def ListAuditEvents(
        self, request: pb.ListAuditEventsRequest, context: Any
    ) -> pb.ListAuditEventsResponse:
        page, user_id = self._page_tokens.page(request), value(request, "user_id")
        found = await audit.list_page(
            self._database,
            user_id=uuid.UUID(user_id) if user_id else None,
            actor=value(request, "actor"),
            action=value(request, "action"),
            since=moment(request.since) if request.HasField("since") else None,
            until=moment(request.until) if request.HasField("until") else None,
            before=page.last_id,
            limit=page.limit,
        )
        shown, token = page.cut(found, event_to_proto)
        return pb.ListAuditEventsResponse(audit_events=shown, next_page_token=token)


def grants_to_proto(grants: Iterable[RoleGrant]) -> list[pb.RoleGrant]:
    messages = []
    for grant in grants:
        messages.append(pb.RoleGrant())
        fill(messages[-1], grant, "role", "granted_by", "granted_at")
    return messages


def event_to_proto(event: AuditEvent) -> pb.AuditEvent:
    details = {
        name: said if isinstance(said, str) else orjson.dumps(said).decode()
        for name, said in event.details.items()
        if said is not None
    }
    message = pb.AuditEvent(details=details)
    fill(
        message,
        event,
        "id",
        "action",
        "actor",
        "user_id",
        "correlation_id",
        "client_address",
        "happened_at",
    )
    return message
