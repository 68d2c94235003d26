"""ConsentService on the wire: messages in, use cases, messages out."""

import uuid
from typing import Any

from google.protobuf.empty_pb2 import Empty

from auth_service.consents.domain import Consent
from auth_service.consents.service import ConsentService
from chassis.context import current_call, principal
from chassis.database import Database
from chassis.page_tokens import PageTokens
from chassis.protobuf import fill, values
from propmubi.auth.v1 import consents_pb2 as pb
from propmubi.auth.v1 import consents_pb2_grpc


class ConsentServicer(consents_pb2_grpc.ConsentServiceServicer):
    """Serves propmubi.auth.v1.ConsentService."""

    def __init__(
        self, database: Database, service: ConsentService, page_tokens: PageTokens
    ) -> None:
        self._database = database
        self._service = service
        self._page_tokens = page_tokens

    async def GrantConsent(self, request: pb.GrantConsentRequest, context: Any) -> pb.Consent:
        wanted = values(request, "purpose", "channel", "notice_version")
        async with self._database.transaction() as tx:
            consent, existing = await self._service.grant(tx, principal(), **wanted)
            if existing:
                current_call().trailers.append(("propmubi-existing", "true"))
            return tx.reply(to_proto(consent))

    async def ListConsents(
        self, request: pb.ListConsentsRequest, context: Any
    ) -> pb.ListConsentsResponse:
        return await self._list(request, principal().user_id)

    async def WithdrawConsent(self, request: pb.WithdrawConsentRequest, context: Any) -> Empty:
        async with self._database.transaction() as tx:
            await self._service.withdraw(tx, principal(), uuid.UUID(request.consent_id))
            return tx.reply(Empty())

    async def ListUserConsents(
        self, request: pb.ListUserConsentsRequest, context: Any
    ) -> pb.ListConsentsResponse:
        return await self._list(request, uuid.UUID(request.user_id))

    async def BatchGetReachable(
        self, request: pb.BatchGetReachableRequest, context: Any
    ) -> pb.BatchGetReachableResponse:
        found = await self._service.reachable(
            [*map(uuid.UUID, request.user_ids)], **values(request, "purpose", "channel")
        )
        people = [pb.Reachable(user_id=str(user_id), phone=phone) for user_id, phone in found]
        return pb.BatchGetReachableResponse(people=people)

    async def _list(
        self, request: pb.ListConsentsRequest | pb.ListUserConsentsRequest, user_id: uuid.UUID
    ) -> pb.ListConsentsResponse:
        page = self._page_tokens.page(request)
        found = await self._service.list_page(user_id, before=page.last_id, limit=page.limit)
        shown, token = page.cut(found, to_proto)
        return pb.ListConsentsResponse(consents=shown, next_page_token=token)


def to_proto(consent: Consent) -> pb.Consent:
    message = pb.Consent()
    fill(
        message,
        consent,
        "id",
        "purpose",
        "channel",
        "notice_version",
        "granted_at",
        "withdrawn_at",
    )
    return message
