"""The SQL of users."""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from auth_service.users.domain import BUYER, RoleGrant, User, UserStatus, status_after
from auth_service.users.models import former_phones, role_grants, users
from chassis.database import Database, Transaction
from chassis.errors import AlreadyExists, NotFound, StaleVersion, Unavailable
from chassis.ids import new_id

SECOND = timedelta(seconds=1)
# How often a phone may change hands while its user is looked for.
ATTEMPTS = 3

_GET = select(users).where(users.c.id == bindparam("id"))
_GRANTED = (
    select(users.c.id, users.c.phone)
    .join(role_grants)
    .where(
        role_grants.c.role == bindparam("role"), role_grants.c.granted_by == bindparam("granted_by")
    )
)

_PHONES_BEFORE = (
    select(former_phones.c.phone)
    .where(former_phones.c.user_id == bindparam("user_id"))
    .order_by(former_phones.c.phone)
)
_GRANTS = (
    select(role_grants.c.role, role_grants.c.granted_by, role_grants.c.granted_at)
    .where(role_grants.c.user_id == bindparam("user_id"))
    .order_by(role_grants.c.granted_at, role_grants.c.role)
)


class UserRepository:
    """Users in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, user_id: uuid.UUID) -> User:
        """The user; raises NotFound."""
        return _existing(await self._database.fetch_one(_GET, {"id": user_id}))

    async def granted(self, role: str, granted_by: str) -> list[tuple[uuid.UUID, str]]:
        """Id and phone of everybody who has `role` from `granted_by`."""
        rows = await self._database.fetch(_GRANTED, {"role": role, "granted_by": granted_by})
        return [(row["id"], row["phone"]) for row in rows]

    async def list_page(
        self,
        *,
        status: UserStatus | None,
        role: str | None,
        before: uuid.UUID | None,
        limit: int,
    ) -> list[User]:
        """Users, newest first, beginning after the id `before`."""
        statement, order = select(users), users.c.id
        if status is not None:
            statement = statement.where(users.c.status == bindparam("status"))
        if role not in (None, BUYER):  # Everybody is a buyer.
            statement = statement.join(role_grants).where(role_grants.c.role == bindparam("role"))
            order = role_grants.c.user_id
        if before is not None:
            statement = statement.where(order < bindparam("before"))
        rows = await self._database.fetch(
            statement.order_by(order.desc()).limit(bindparam("limit")),
            {"status": status, "role": role, "before": before, "limit": limit},
            key=("users.list_page", status is None, role in (None, BUYER), before is None),
        )
        return [user_of(row) for row in rows]

    async def grants(self, user_id: uuid.UUID) -> list[RoleGrant]:
        """The roles that a user was given, the oldest first."""
        rows = await self._database.fetch(_GRANTS, {"user_id": user_id})
        return [RoleGrant(**row) for row in rows]

    async def grant_of(self, tx: Transaction, user_id: uuid.UUID, role: str) -> str | None:
        """Who gave the user her `role`, if she has it."""
        found = await tx.execute(
            select(role_grants.c.granted_by).where(
                role_grants.c.user_id == user_id, role_grants.c.role == role
            )
        )
        return found.scalar()

    async def locked(self, tx: Transaction, user_id: uuid.UUID) -> User:
        """The user, locked until the transaction ends; raises NotFound."""
        found = await tx.execute(select(users).where(users.c.id == user_id).with_for_update())
        return _existing(found.mappings().first())

    async def id_of(self, tx: Transaction, phone: str) -> uuid.UUID | None:
        """The id of the user with `phone`, if there is one."""
        found: uuid.UUID | None = (
            await tx.execute(select(users.c.id).where(users.c.phone == phone))
        ).scalar()
        return found

    async def of_phone(self, tx: Transaction, phone: str) -> tuple[User, bool]:
        """The user with `phone`, made if there is none, locked until the transaction ends; and whether she is new.

        Raises Unavailable when the phone changes hands all the while.
        """
        for _ in range(ATTEMPTS):
            added = await tx.execute(
                upsert(users)
                .values(id=new_id(), phone=phone, roles=[BUYER], status=UserStatus.PENDING)
                .on_conflict_do_nothing(index_elements=[users.c.phone])
                .returning(users)
            )
            new = added.mappings().first()
            if new is not None:
                return user_of(new), True
            found = await tx.execute(select(users).where(users.c.phone == phone).with_for_update())
            known = found.mappings().first()
            if known is not None:
                return user_of(known), False
            # Whoever had it was erased, or took another, while it was waited for: it is free.
        raise Unavailable("Others were changing the same: try again.")

    async def change(self, tx: Transaction, user: User, changes: Mapping[str, Any]) -> User:
        """Write `changes` to `user`; raises StaleVersion when she changed since she was read."""
        changed = await tx.execute(
            update(users)
            .where(users.c.id == user.id, users.c.version == user.version)
            .values(**changes, version=users.c.version + 1, updated_at=func.now())
            .returning(users)
        )
        row = changed.mappings().first()
        if row is None:
            raise StaleVersion
        return user_of(row)

    async def refuse_tokens(
        self, tx: Transaction, user: User, changes: Mapping[str, Any]
    ) -> tuple[User, datetime]:
        """Write `changes` for which the tokens of `user`, who is locked, are refused that were issued until now; and
        when that is: by the database's clock, whose lock whoever was issued a token on the old roles held before us.

        Her newest token may be of the second after this one, where others were refused in this one (`token_time`).
        """
        second_after = func.date_trunc("second", users.c.tokens_refused_until) + SECOND
        now = func.greatest(func.clock_timestamp(), second_after)
        user = await self.change(tx, user, {**changes, "tokens_refused_until": now})
        assert user.tokens_refused_until is not None
        return user, user.tokens_refused_until

    async def change_phone(self, tx: Transaction, user: User, phone: str) -> User:
        """Give `user` another phone; raises AlreadyExists when somebody else has it."""
        # Looked for first, since Postgres writes what its constraint refuses into its log.
        if await self.id_of(tx, phone) is not None:
            raise _phone_taken()
        try:
            changed = await self.change(tx, user, {"phone": phone})
        except IntegrityError as error:  # Somebody took it at this very moment.
            raise _phone_taken() from error
        had = {"user_id": user.id, "phone": user.phone}
        await tx.execute(upsert(former_phones).values(had).on_conflict_do_nothing())
        return changed

    async def former_phones(self, tx: Transaction, user_id: uuid.UUID) -> list[str]:
        """The phones that the user had before and nobody has now."""
        taken = select(users.c.id).where(users.c.phone == former_phones.c.phone).exists()
        found = await tx.execute(_PHONES_BEFORE.where(~taken), {"user_id": user_id})
        return list(found.scalars())

    async def phones_before(self, user_id: uuid.UUID) -> list[str]:
        """The phones that the user had before, whoever has them now."""
        rows = await self._database.fetch(_PHONES_BEFORE, {"user_id": user_id})
        return [row["phone"] for row in rows]

    async def erase(self, tx: Transaction, user: User) -> datetime:
        """Leave nothing of `user` but her id, and when that was; her phone is free."""
        for table in (role_grants, former_phones):
            await tx.execute(delete(table).where(table.c.user_id == user.id))
        personal = ("email", "full_name", "agent_id", "office_id", "builder_id")
        changes: dict[str, Any] = {
            **dict.fromkeys(personal),
            "phone": f"erased:{user.id}",
            "roles": [],
            "status": status_after(user, "erase"),
        }
        _, now = await self.refuse_tokens(tx, user, changes)
        return now

    async def add_grant(
        self, tx: Transaction, user_id: uuid.UUID, role: str, granted_by: str
    ) -> None:
        await tx.execute(
            insert(role_grants).values(user_id=user_id, role=role, granted_by=granted_by)
        )

    async def remove_grant(self, tx: Transaction, user_id: uuid.UUID, role: str) -> None:
        await tx.execute(
            delete(role_grants).where(role_grants.c.user_id == user_id, role_grants.c.role == role)
        )


def user_of(row: Any) -> User:
    """The user in a row, SQLAlchemy's mapping or asyncpg's record, that has every column of `users` by its name."""
    values = {column.name: row[column.name] for column in users.c}
    values["roles"] = tuple(values["roles"])
    values["status"] = UserStatus(values["status"])
    return User(**values)


def _phone_taken() -> AlreadyExists:
    return AlreadyExists("Somebody else has this phone.")


def _existing(row: Any) -> User:
    if row is None:
        raise NotFound("There is no such user.")
    return user_of(row)
