"""What can be done with users, and by whom."""

import uuid
from collections.abc import Mapping
from typing import Any

from auth_service import audit
from auth_service.users.domain import (
    ADMIN,
    RoleGrant,
    User,
    UserStatus,
    check_may_sign_in,
    spelt,
)
from auth_service.users.repository import UserRepository
from chassis.database import Transaction
from chassis.errors import check_version
from chassis.identity import Principal
from chassis.protobuf import timestamp
from propmubi.auth.v1.events_pb2 import RoleGranted, RoleRevoked, UserRegistered

# Who made somebody an administrator whose phone the settings name.
BY_SETTINGS = "settings:ADMIN_PHONES"


class UserService:
    """The use cases of users. Each write takes the transaction that its caller opened."""

    def __init__(self, users: UserRepository, admin_phones: frozenset[str]) -> None:
        self._users = users
        self._admin_phones = admin_phones

    async def me(self, caller: Principal) -> User:
        return await self._users.get(caller.user_id)

    async def active(self, caller: Principal) -> User:
        """The caller's account; raises PermissionDenied when her tokens are about to be refused."""
        user = await self._users.get(caller.user_id)
        check_may_sign_in(user)
        return user

    async def get(self, user_id: uuid.UUID) -> User:
        """Anybody's account; raises NotFound."""
        return await self._users.get(user_id)

    async def list_page(
        self,
        *,
        status: UserStatus | None,
        role: str | None,
        before: uuid.UUID | None,
        limit: int,
    ) -> list[User]:
        """A page of users."""
        return await self._users.list_page(status=status, role=role, before=before, limit=limit)

    async def grants(self, user_id: uuid.UUID) -> list[RoleGrant]:
        """The roles she was granted; raises NotFound."""
        await self._users.get(user_id)
        return await self._users.grants(user_id)

    async def update(
        self,
        tx: Transaction,
        caller: Principal,
        changes: Mapping[str, Any],
        expected_version: int | None,
    ) -> User:
        """Change the caller's own account."""
        user = await self.returning(tx, caller.user_id)
        check_version(expected_version, user.version)
        wanted = {field: value or None for field, value in changes.items()}
        if name := wanted.get("full_name"):
            wanted["full_name"] = spelt(name)
        user = await self._users.change(tx, user, wanted)
        await audit.record(
            tx, "user.updated", actor=caller.subject, user_id=user.id, fields=sorted(wanted)
        )
        return user

    async def id_of(self, tx: Transaction, phone: str) -> uuid.UUID | None:
        """Whose `phone` is, if anybody's."""
        return await self._users.id_of(tx, phone)

    async def sign_in(self, tx: Transaction, phone: str) -> User:
        """The active user who proved that `phone` is hers, made if she is new.

        Raises PermissionDenied with the reason ACCOUNT_SUSPENDED.
        """
        user, is_new = await self._users.of_phone(tx, phone)
        check_may_sign_in(user)
        if is_new:
            await audit.record(tx, "user.registered", actor=str(user.id), user_id=user.id)
            tx.publish(UserRegistered(user_id=str(user.id)), user.id)
        if user.status is UserStatus.PENDING:
            user = await self._users.change(tx, user, {"status": UserStatus.ACTIVE})
        if phone in self._admin_phones:
            user = await self._grant(tx, user, ADMIN, BY_SETTINGS)
        return user

    async def returning(self, tx: Transaction, user_id: uuid.UUID) -> User:
        """A user who is known already, locked; raises PermissionDenied as `sign_in` does."""
        user = await self._users.locked(tx, user_id)
        check_may_sign_in(user)
        return user

    async def grant(
        self, tx: Transaction, user_id: uuid.UUID, role: str, by: str, **ids: uuid.UUID | None
    ) -> None:
        """Give `role`, and set the ids it comes with."""
        await self._grant(tx, await self._users.locked(tx, user_id), role, by, **ids)

    async def revoke(
        self, tx: Transaction, user_id: uuid.UUID, role: str, by: str, **ids: None
    ) -> None:
        """Take `role` and its ids away; tokens issued until now are refused from now on, everywhere."""
        user = await self._users.locked(tx, user_id)
        if role not in user.roles:
            return
        roles = [held for held in user.roles if held != role]
        _, now = await self._users.refuse_tokens(tx, user, {"roles": roles, **ids})
        await self._users.remove_grant(tx, user.id, role)
        await audit.record(tx, "role.revoked", actor=by, user_id=user.id, role=role)
        event = RoleRevoked(user_id=str(user.id), role=role, tokens_issued_before=timestamp(now))
        tx.publish(event, user.id)

    async def set_office(
        self, tx: Transaction, user_id: uuid.UUID, role: str, by: str, office_id: uuid.UUID | None
    ) -> None:
        """Have her hold `role`, if she holds it, in this office or in none.

        Who held it in another loses it there at once, and holds it anew: what she was issued names an office that is
        not hers any more.
        """
        user = await self._users.locked(tx, user_id)
        if role not in user.roles or user.office_id == office_id:
            return
        agent_id = user.agent_id
        if user.office_id is not None:
            await self.revoke(tx, user_id, role, by, office_id=None)
        await self.grant(tx, user_id, role, by, agent_id=agent_id, office_id=office_id)

    async def former_admins(self) -> list[uuid.UUID]:
        """Those who are administrators by a phone that the settings don't name any more."""
        admins = await self._users.granted(ADMIN, BY_SETTINGS)
        return [user_id for user_id, phone in admins if phone not in self._admin_phones]

    async def _grant(
        self, tx: Transaction, user: User, role: str, by: str, **ids: uuid.UUID | None
    ) -> User:
        if user.status is UserStatus.ERASED:
            return user  # What is told of her late concerns nobody any more.
        if role in user.roles:
            changed = {name: value for name, value in ids.items() if getattr(user, name) != value}
            return await self._users.change(tx, user, changed) if changed else user
        user = await self._users.change(tx, user, {"roles": [*user.roles, role], **ids})
        await self._users.add_grant(tx, user.id, role, by)
        await audit.record(tx, "role.granted", actor=by, user_id=user.id, role=role)
        tx.publish(RoleGranted(user_id=str(user.id), role=role), user.id)
        return user
