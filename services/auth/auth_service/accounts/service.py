"""What a person does with the whole of her account: another phone, everything kept about her, and the end of it."""

import uuid
from dataclasses import dataclass

from auth_service import audit, guesses
from auth_service.audit import AuditEvent
from auth_service.consents.domain import Consent
from auth_service.consents.service import ConsentService
from auth_service.otp.service import OtpService
from auth_service.passwords.repository import PasswordRepository
from auth_service.sessions.domain import Session
from auth_service.sessions.service import SessionService
from auth_service.users.domain import RoleGrant, User, UserStatus
from auth_service.users.repository import UserRepository
from auth_service.users.service import UserService
from chassis import idempotency
from chassis.database import Database, Transaction
from chassis.errors import InvalidArgument, StaleVersion, Violation, check_version
from chassis.identity import Principal
from chassis.protobuf import timestamp
from propmubi.auth.v1.events_pb2 import UserErased

# The newest of each kind that an export holds.
EXPORTED = 1_000


@dataclass(frozen=True, slots=True)
class Export:
    """Everything kept about a person."""

    user: User
    former_phones: list[str]
    grants: list[RoleGrant]
    consents: list[Consent]
    sessions: list[Session]
    audit_events: list[AuditEvent]


class AccountService:
    """The use cases of accounts. Each write takes the transaction that its caller opened."""

    def __init__(
        self,
        database: Database,
        rows: UserRepository,
        *,
        users: UserService,
        otp: OtpService,
        passwords: PasswordRepository,
        sessions: SessionService,
        consents: ConsentService,
    ) -> None:
        self._database = database
        self._rows = rows
        self._users = users
        self._otp = otp
        self._passwords = passwords
        self._sessions = sessions
        self._consents = consents

    def new_phone(self, user: User, phone: str) -> str:
        """`phone` in E.164 form, for `user` to have; raises InvalidArgument."""
        number = self._otp.recipient(phone)
        if number == user.phone:
            raise InvalidArgument(Violation("phone", "is the one you have"))
        return number

    async def change_phone(self, tx: Transaction, caller: Principal, old: str, new: str) -> User:
        """Give the caller's account the phone `new`, when she proved to hold it and `old`, which it has.

        Raises AlreadyExists when somebody else has it.
        """
        session_id = uuid.UUID(caller.session_id)
        await self._sessions.end_all(
            tx, caller.user_id, caller.subject, "phone_changed", kept=session_id
        )
        user = await self._users.returning(tx, caller.user_id)
        if user.phone != old:
            raise StaleVersion
        user = await self._rows.change_phone(tx, user, new)
        await audit.record(tx, "user.phone_changed", actor=caller.subject, user_id=user.id)
        return user

    async def export(self, caller: Principal) -> Export:
        """Everything kept about the caller."""
        user = await self._users.me(caller)
        return Export(
            user,
            await self._rows.phones_before(user.id),
            await self._rows.grants(user.id),
            await self._consents.list_page(user.id, before=None, limit=EXPORTED),
            await self._sessions.list_page(user.id, ended=True, before=None, limit=EXPORTED),
            await audit.list_page(
                self._database, user_id=user.id, since=None, until=None, before=None, limit=EXPORTED
            ),
        )

    async def erase(
        self, tx: Transaction, user: User, actor: str, expected_version: int | None
    ) -> None:
        """Forget who `user` is, here and, by event, everywhere; nothing happens when she is forgotten already.

        Raises StaleVersion when she has changed since `expected_version` was read.
        """
        user_id, phone = user.id, user.phone
        await self._sessions.end_for_good(tx, user_id, actor)
        await guesses.forgive(tx, phone)
        await self._otp.forget(tx, phone)
        user = await self._rows.locked(tx, user_id)
        if user.status is UserStatus.ERASED:
            return
        check_version(expected_version, user.version)
        if user.phone != phone:
            raise StaleVersion
        await self._consents.withdraw_all(tx, user, actor)
        former = await self._rows.former_phones(tx, user_id)
        now = await self._rows.erase(tx, user)
        await self._passwords.remove(tx, user_id)
        await self._sessions.mask(tx, user_id)
        await idempotency.forget(tx.connection, str(user_id), phone, *former)
        await audit.record(tx, "user.erased", actor=actor, user_id=user_id)
        await audit.forget_addresses(tx, user_id)
        event = UserErased(
            user_id=str(user_id),
            phone=phone,
            former_phones=former,
            tokens_issued_before=timestamp(now),
        )
        tx.publish(event, user_id)
