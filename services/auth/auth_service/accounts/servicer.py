"""AccountService on the wire: messages in, use cases, messages out."""

from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

from google.protobuf.empty_pb2 import Empty

from auth_service import audit, texts
from auth_service.accounts.proof import Proofs
from auth_service.accounts.service import AccountService, Export
from auth_service.administration.servicer import event_to_proto, grants_to_proto
from auth_service.audit import is_person
from auth_service.consents.servicer import to_proto as consent_to_proto
from auth_service.otp.delivery import Delivery
from auth_service.otp.domain import Purpose
from auth_service.otp.service import LIFETIME_SECONDS, OtpService
from auth_service.passwords.service import PasswordService
from auth_service.sessions.servicer import to_proto as session_to_proto
from auth_service.users.service import UserService
from auth_service.users.servicer import to_proto
from chassis import idempotency
from chassis.context import principal
from chassis.database import Database
from chassis.errors import check_version
from chassis.identity import Principal
from chassis.page_tokens import ROOM_BYTES, fitting
from chassis.protobuf import timestamp, value
from propmubi.auth.v1 import accounts_pb2 as pb
from propmubi.auth.v1 import accounts_pb2_grpc
from propmubi.auth.v1.auth_pb2 import User as UserMessage


class AccountServicer(accounts_pb2_grpc.AccountServiceServicer):
    """Serves propmubi.auth.v1.AccountService."""

    def __init__(
        self,
        database: Database,
        *,
        service: AccountService,
        users: UserService,
        otp: OtpService,
        delivery: Delivery,
        passwords: PasswordService,
        proofs: Proofs,
    ) -> None:
        self._database = database
        self._service = service
        self._users = users
        self._otp = otp
        self._delivery = delivery
        self._passwords = passwords
        self._proofs = proofs

    async def RequestConfirmation(
        self, request: pb.RequestConfirmationRequest, context: Any
    ) -> pb.RequestConfirmationResponse:
        user = await self._users.active(principal())
        async with self._database.transaction() as tx:
            purpose = Purpose.CONFIRM.of(user.id)
            challenge_id, body = await self._otp.request(tx, user.phone, purpose)
            reply = tx.reply(
                pb.RequestConfirmationResponse(
                    challenge_id=str(challenge_id), expires_in=LIFETIME_SECONDS
                )
            )
        self._delivery.post_code(user.phone, body)
        return reply

    async def SetPassword(self, request: pb.SetPasswordRequest, context: Any) -> Empty:
        caller = principal()
        user = await self._users.active(caller)
        with self._passwords.hasher.place():
            about_her = (user.full_name, user.email, user.phone)
            await self._passwords.hasher.check_new(request.password, about_her)
            attempt = await self._proofs.check(request, user)
            encrypted = await self._passwords.hasher.hash(request.password, user.id)
            async with self._database.transaction() as tx:
                await self._passwords.set(tx, caller, user.phone, encrypted, attempt)
        self._delivery.post_notice(user.phone, texts.PASSWORD_SET)
        return Empty()

    async def RequestPhoneChange(
        self, request: pb.RequestPhoneChangeRequest, context: Any
    ) -> pb.RequestPhoneChangeResponse:
        await idempotency.replay(self._database)
        user = await self._users.active(principal())
        new = self._service.new_phone(user, request.phone)
        async with self._database.transaction() as tx:
            confirming, proving = Purpose.CONFIRM.of(user.id), Purpose.NEW_PHONE.of(user.id)
            asked = [(user.phone, confirming), (new, proving)]
            (current_id, to_current), (new_id, to_new) = await self._otp.request_all(tx, asked)
            reply = tx.reply(
                pb.RequestPhoneChangeResponse(
                    current_challenge_id=str(current_id),
                    new_challenge_id=str(new_id),
                    expires_in=LIFETIME_SECONDS,
                )
            )
        self._delivery.post_code(user.phone, to_current)
        self._delivery.post_code(new, to_new)
        return reply

    async def ChangePhone(self, request: pb.ChangePhoneRequest, context: Any) -> UserMessage:
        caller = principal()
        user = await self._users.active(caller)
        old, new = await self._proofs.phones(user, request.current, request.new)
        async with self._database.transaction() as tx:
            changed = await self._service.change_phone(tx, caller, old, new)
        self._delivery.post_notice(old, texts.PHONE_CHANGED)
        return to_proto(changed)

    async def ExportMe(self, request: pb.ExportMeRequest, context: Any) -> pb.ExportMeResponse:
        caller = principal()
        async with self._database.transaction() as tx:
            await audit.record(tx, "user.exported", actor=caller.subject, user_id=caller.user_id)
        return _export(await self._service.export(caller), caller)

    async def EraseMe(self, request: pb.EraseMeRequest, context: Any) -> Empty:
        caller = principal()
        user = await self._users.active(caller)
        expected = value(request, "expected_version")
        # Before her one-time password is used up, and again when nobody can change the account any more.
        check_version(expected, user.version)
        by_password = request.HasField("current_password")
        with self._passwords.hasher.place() if by_password else nullcontext():
            await self._proofs.check(request, user)
        async with self._database.transaction() as tx:
            await self._service.erase(tx, user, caller.subject, expected)
        return Empty()


def _export(export: Export, caller: Principal) -> pb.ExportMeResponse:
    room = ROOM_BYTES // 3
    reply = pb.ExportMeResponse(
        user=to_proto(export.user),
        former_phones=export.former_phones,
        role_grants=grants_to_proto(export.grants),
        consents=fitting(map(consent_to_proto, export.consents), room),
        sessions=fitting(
            (session_to_proto(session, caller.session_id) for session in export.sessions), room
        ),
        audit_events=fitting(map(event_to_proto, export.audit_events), room),
        exported_at=timestamp(datetime.now(UTC)),
    )
    for event in reply.audit_events:
        # Who of the administrators it was, and where anybody else was, is not hers to take along.
        if event.actor != caller.subject:
            event.client_address = ""
            if is_person(event.actor):
                event.actor = "administrator"
    return reply
