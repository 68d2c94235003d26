"""SessionService on the wire: messages in, use cases, messages out."""

import uuid
from typing import Any

from google.protobuf.empty_pb2 import Empty

from auth_service.sessions.domain import Session
from auth_service.sessions.service import SessionService
from chassis.context import principal
from chassis.database import Database
from chassis.page_tokens import PageTokens
from chassis.protobuf import fill
from propmubi.auth.v1 import sessions_pb2 as pb
from propmubi.auth.v1 import sessions_pb2_grpc


class SessionServicer(sessions_pb2_grpc.SessionServiceServicer):
    """Serves propmubi.auth.v1.SessionService."""

    def __init__(
        self, database: Database, service: SessionService, page_tokens: PageTokens
    ) -> None:
        self._database = database
        self._service = service
        self._page_tokens = page_tokens

    async def ListSessions(
        self, request: pb.ListSessionsRequest, context: Any
    ) -> pb.ListSessionsResponse:
        return await self._list(request, principal().user_id)

    async def RevokeSession(self, request: pb.RevokeSessionRequest, context: Any) -> Empty:
        caller, session_id = principal(), uuid.UUID(request.session_id)
        async with self._database.transaction() as tx:
            await self._service.revoke(tx, caller, caller.user_id, session_id)
            return tx.reply(Empty())

    async def RevokeOtherSessions(
        self, request: pb.RevokeOtherSessionsRequest, context: Any
    ) -> Empty:
        async with self._database.transaction() as tx:
            await self._service.revoke_others(tx, principal())
            return tx.reply(Empty())

    async def ListUserSessions(
        self, request: pb.ListUserSessionsRequest, context: Any
    ) -> pb.ListSessionsResponse:
        return await self._list(request, uuid.UUID(request.user_id))

    async def RevokeUserSession(self, request: pb.RevokeUserSessionRequest, context: Any) -> Empty:
        user_id, session_id = uuid.UUID(request.user_id), uuid.UUID(request.session_id)
        async with self._database.transaction() as tx:
            await self._service.revoke(tx, principal(), user_id, session_id)
            return tx.reply(Empty())

    async def RevokeUserSessions(
        self, request: pb.RevokeUserSessionsRequest, context: Any
    ) -> Empty:
        async with self._database.transaction() as tx:
            await self._service.revoke_all(tx, principal(), uuid.UUID(request.user_id))
            return tx.reply(Empty())

    async def _list(
        self, request: pb.ListSessionsRequest | pb.ListUserSessionsRequest, user_id: uuid.UUID
    ) -> pb.ListSessionsResponse:
        page = self._page_tokens.page(request)
        found = await self._service.list_page(
            user_id, ended=request.ended, before=page.last_id, limit=page.limit
        )
        current = principal().session_id
        shown, token = page.cut(found, lambda session: to_proto(session, current))
        return pb.ListSessionsResponse(sessions=shown, next_page_token=token)


def to_proto(session: Session, current: str) -> pb.Session:
    message = pb.Session(current=str(session.id) == current)
    fill(
        message,
        session,
        "id",
        "user_agent",
        "ip",
        "created_at",
        "last_seen_at",
        "expires_at",
        "revoked_at",
        "revoked_reason",
    )
    return message
