"""The SQL of passwords."""

import uuid

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from auth_service.passwords.domain import Stored
from auth_service.passwords.models import passwords
from auth_service.users.models import users
from chassis.database import Transaction

_COLUMNS = (passwords.c.user_id, passwords.c.encrypted_hash)


class PasswordRepository:
    """Passwords in Postgres."""

    async def of_phone(self, tx: Transaction, phone: str) -> tuple[uuid.UUID | None, Stored | None]:
        """Who has `phone`, and her password, if there are any."""
        found = await tx.execute(
            select(users.c.id, *_COLUMNS)
            .outerjoin(passwords, passwords.c.user_id == users.c.id)
            .where(users.c.phone == phone)
        )
        row = found.mappings().first()
        if row is None:
            return None, None
        stored = Stored(**{column.name: row[column] for column in _COLUMNS})
        return row[users.c.id], stored if row[passwords.c.user_id] else None

    async def set(self, tx: Transaction, user_id: uuid.UUID, encrypted_hash: bytes) -> None:
        """Make it her password, in place of any before."""
        fresh = {"encrypted_hash": encrypted_hash, "set_at": func.now()}
        await tx.execute(
            upsert(passwords)
            .values(user_id=user_id, **fresh)
            .on_conflict_do_update(index_elements=[passwords.c.user_id], set_=fresh)
        )

    async def remove(self, tx: Transaction, user_id: uuid.UUID) -> None:
        await tx.execute(delete(passwords).where(passwords.c.user_id == user_id))

    async def page(self, tx: Transaction, after: uuid.UUID | None, limit: int) -> list[Stored]:
        """Passwords in the order of their users, beginning after `after`."""
        asked = select(*_COLUMNS).order_by(passwords.c.user_id).limit(limit)
        if after is not None:
            asked = asked.where(passwords.c.user_id > after)
        return [Stored(**row) for row in (await tx.execute(asked)).mappings()]

    async def renew(self, tx: Transaction, stored: Stored, encrypted_hash: bytes) -> None:
        """Keep the same hash encrypted with another secret, unless it is another by now."""
        await tx.execute(
            update(passwords)
            .where(
                passwords.c.user_id == stored.user_id,
                passwords.c.encrypted_hash == stored.encrypted_hash,
            )
            .values(encrypted_hash=encrypted_hash)
        )

    async def still(self, tx: Transaction, stored: Stored) -> bool:
        """Whether it is her password yet."""
        found = await tx.execute(
            select(passwords.c.user_id).where(
                passwords.c.user_id == stored.user_id,
                passwords.c.encrypted_hash == stored.encrypted_hash,
            )
        )
        return found.first() is not None
