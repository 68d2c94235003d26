"""OfficeService on the wire: messages in, use cases, messages out."""

import uuid
from typing import Any

from google.protobuf.empty_pb2 import Empty

from agents_service.clients import People
from agents_service.offices.domain import Invitation, InvitationStatus, Office, OfficeStatus
from agents_service.offices.service import OfficeService
from chassis import idempotency
from chassis.context import principal, principal_or_none
from chassis.database import Database
from chassis.page_tokens import PageTokens
from chassis.protobuf import fill, masked, value, values
from propmubi.agents.v1 import offices_pb2 as pb
from propmubi.agents.v1 import offices_pb2_grpc

_INPUT = ("office_name", "city", "rera_office_no", "rera_state")
_OFFICE = (
    "id",
    *_INPUT,
    "verification_status",
    "office_status",
    "admin_agent_id",
    "version",
    "created_at",
    "updated_at",
)
_INVITATION = (
    "id",
    "office_id",
    "office_name",
    "agent_id",
    "member_mobile_phone",
    "status",
    "created_at",
)


class OfficeServicer(offices_pb2_grpc.OfficeServiceServicer):
    """Serves propmubi.agents.v1.OfficeService."""

    def __init__(
        self, database: Database, service: OfficeService, people: People, page_tokens: PageTokens
    ) -> None:
        self._database = database
        self._service = service
        self._people = people
        self._page_tokens = page_tokens

    async def CreateOffice(self, request: pb.CreateOfficeRequest, context: Any) -> pb.Office:
        wanted = values(request.office, *_INPUT)
        async with self._database.transaction() as tx:
            return tx.reply(to_proto(await self._service.found(tx, principal(), wanted)))

    async def GetOffice(self, request: pb.GetOfficeRequest, context: Any) -> pb.Office:
        office_id = uuid.UUID(request.office_id)
        return to_proto(await self._service.get(principal_or_none(), office_id))

    async def ListOffices(
        self, request: pb.ListOfficesRequest, context: Any
    ) -> pb.ListOfficesResponse:
        page = self._page_tokens.page(request)
        found = await self._service.list_page(
            principal_or_none(),
            status=OfficeStatus(value(request, "office_status") or OfficeStatus.ACTIVE),
            city=value(request, "city"),
            before=page.last_id,
            limit=page.limit,
        )
        offices, token = page.cut(found, to_proto)
        return pb.ListOfficesResponse(offices=offices, next_page_token=token)

    async def UpdateOffice(self, request: pb.UpdateOfficeRequest, context: Any) -> pb.Office:
        changes = masked(request.office, request.update_mask)
        expected = value(request, "expected_version")
        async with self._database.transaction() as tx:
            office = await self._service.update(
                tx, principal(), uuid.UUID(request.office_id), changes, expected
            )
            return tx.reply(to_proto(office))

    async def VerifyOffice(self, request: pb.VerifyOfficeRequest, context: Any) -> pb.Office:
        async with self._database.transaction() as tx:
            office = await self._service.verify(tx, principal(), uuid.UUID(request.office_id))
            return tx.reply(to_proto(office))

    async def SuspendOffice(self, request: pb.SuspendOfficeRequest, context: Any) -> pb.Office:
        async with self._database.transaction() as tx:
            office = await self._service.suspend(
                tx, principal(), uuid.UUID(request.office_id), request.reason
            )
            return tx.reply(to_proto(office))

    async def ReinstateOffice(self, request: pb.ReinstateOfficeRequest, context: Any) -> pb.Office:
        async with self._database.transaction() as tx:
            office = await self._service.reinstate(tx, principal(), uuid.UUID(request.office_id))
            return tx.reply(to_proto(office))

    async def HandOverOffice(self, request: pb.HandOverOfficeRequest, context: Any) -> pb.Office:
        async with self._database.transaction() as tx:
            office = await self._service.hand_over(
                tx, principal(), uuid.UUID(request.office_id), uuid.UUID(request.agent_id)
            )
            return tx.reply(to_proto(office))

    async def CreateInvitation(
        self, request: pb.CreateInvitationRequest, context: Any
    ) -> pb.Invitation:
        agent_id = value(request, "agent_id")
        async with self._database.transaction() as tx:
            invitation = await self._service.invite(
                tx,
                principal(),
                uuid.UUID(request.office_id),
                agent_id and uuid.UUID(agent_id),
                value(request, "member_mobile_phone"),
            )
            return tx.reply(_invitation(invitation))

    async def ListInvitations(
        self, request: pb.ListInvitationsRequest, context: Any
    ) -> pb.ListInvitationsResponse:
        page = self._page_tokens.page(request)
        found = await self._service.invitations(
            principal(), uuid.UUID(request.office_id), before=page.last_id, limit=page.limit
        )
        invitations, token = page.cut(found, _invitation)
        return pb.ListInvitationsResponse(invitations=invitations, next_page_token=token)

    async def DeleteInvitation(self, request: pb.DeleteInvitationRequest, context: Any) -> Empty:
        async with self._database.transaction() as tx:
            await self._service.take_back(
                tx, principal(), uuid.UUID(request.office_id), uuid.UUID(request.invitation_id)
            )
            return tx.reply(Empty())

    async def ListMyInvitations(
        self, request: pb.ListMyInvitationsRequest, context: Any
    ) -> pb.ListMyInvitationsResponse:
        page = self._page_tokens.page(request)
        phone = await self._people.phone_of_caller()
        found = await self._service.own_invitations(
            principal(), phone, before=page.last_id, limit=page.limit
        )
        invitations, token = page.cut(found, _invitation)
        return pb.ListMyInvitationsResponse(invitations=invitations, next_page_token=token)

    async def AcceptInvitation(
        self, request: pb.AcceptInvitationRequest, context: Any
    ) -> pb.Invitation:
        return await self._answer(request, InvitationStatus.ACCEPTED)

    async def DeclineInvitation(
        self, request: pb.DeclineInvitationRequest, context: Any
    ) -> pb.Invitation:
        return await self._answer(request, InvitationStatus.DECLINED)

    async def RemoveMember(self, request: pb.RemoveMemberRequest, context: Any) -> Empty:
        async with self._database.transaction() as tx:
            await self._service.remove(
                tx, principal(), uuid.UUID(request.office_id), uuid.UUID(request.agent_id)
            )
            return tx.reply(Empty())

    async def _answer(self, request: Any, answer: InvitationStatus) -> pb.Invitation:
        await idempotency.replay(self._database)
        phone = await self._people.phone_of_caller()
        async with self._database.transaction() as tx:
            invitation = await self._service.answer(
                tx, principal(), phone, uuid.UUID(request.invitation_id), answer
            )
            return tx.reply(_invitation(invitation))


def to_proto(office: Office) -> pb.Office:
    message = pb.Office()
    fill(message, office, *_OFFICE)
    return message


def _invitation(invitation: Invitation) -> pb.Invitation:
    message = pb.Invitation()
    fill(message, invitation, *_INVITATION)
    return message
