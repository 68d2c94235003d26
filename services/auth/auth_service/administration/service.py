"""What administrators do with other people's accounts."""

import uuid

from auth_service import audit
from auth_service.sessions.service import SessionService
from auth_service.users.domain import (
    User,
    check_grantable,
    check_may_sign_in,
    status_after,
)
from auth_service.users.repository import UserRepository
from auth_service.users.service import BY_SETTINGS, UserService
from chassis import phones
from chassis.database import Transaction
from chassis.errors import Conflict, NotFound
from chassis.identity import Principal
from chassis.protobuf import timestamp
from propmubi.auth.v1.events_pb2 import UserReinstated, UserSuspended


class AdministrationService:
    """The use cases of administrators. Each write takes the transaction that its caller opened."""

    def __init__(self, rows: UserRepository, users: UserService, sessions: SessionService) -> None:
        self._rows = rows
        self._users = users
        self._sessions = sessions

    async def find(self, tx: Transaction, caller: Principal, phone: str) -> User:
        """The user with `phone`; raises NotFound. Whoever looks for people is written down."""
        user_id = await self._users.id_of(tx, phones.normalise(phone))
        if user_id is None:
            raise NotFound("There is no such user.")
        await audit.record(tx, "user.looked_up", actor=caller.subject, user_id=user_id)
        return await self._rows.locked(tx, user_id)

    async def suspend(
        self, tx: Transaction, caller: Principal, user_id: uuid.UUID, reason: str
    ) -> User:
        """Keep her out, from now on and everywhere."""
        if user_id == caller.user_id:
            raise Conflict("You can't suspend yourself: ask another administrator.")
        await self._sessions.end_all(tx, user_id, caller.subject, "suspended")
        user = await self._rows.locked(tx, user_id)
        suspended = {"status": status_after(user, "suspend")}
        user, now = await self._rows.refuse_tokens(tx, user, suspended)
        await audit.record(
            tx, "user.suspended", actor=caller.subject, user_id=user_id, reason=reason
        )
        tx.publish(
            UserSuspended(user_id=str(user_id), tokens_issued_before=timestamp(now)), user_id
        )
        return user

    async def reinstate(
        self, tx: Transaction, caller: Principal, user_id: uuid.UUID, reason: str | None
    ) -> User:
        """Let her in again. A session that began while she was being suspended stays ended too."""
        await self._sessions.end_all(tx, user_id, caller.subject, "suspended")
        user = await self._rows.locked(tx, user_id)
        user = await self._rows.change(tx, user, {"status": status_after(user, "reinstate")})
        await audit.record(
            tx, "user.reinstated", actor=caller.subject, user_id=user_id, reason=reason
        )
        tx.publish(UserReinstated(user_id=str(user_id)), user_id)
        return user

    async def grant(
        self, tx: Transaction, caller: Principal, user_id: uuid.UUID, role: str
    ) -> User:
        """Give her `role`; nothing happens when she has it."""
        check_grantable(role)
        check_may_sign_in(await self._rows.locked(tx, user_id))
        await self._users.grant(tx, user_id, role, caller.subject)
        return await self._rows.locked(tx, user_id)

    async def revoke(
        self, tx: Transaction, caller: Principal, user_id: uuid.UUID, role: str
    ) -> None:
        """Take `role` from her; nothing happens when she has it not."""
        check_grantable(role)
        await self._rows.locked(tx, user_id)
        if await self._rows.grant_of(tx, user_id, role) == BY_SETTINGS:
            raise Conflict("She is an administrator by ADMIN_PHONES: take her phone out of it.")
        await self._users.revoke(tx, user_id, role, caller.subject)
