"""The SQL of signing keys."""

from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from auth_service.signing_keys.domain import (
    ALGORITHM,
    KEPT_AFTER,
    SigningKey,
    from_der,
    to_der,
)
from auth_service.signing_keys.models import signing_keys
from chassis.database import Database, Transaction

_ALL = select(signing_keys).order_by(signing_keys.c.not_before)
_ROTATION_LOCK = 5_907_001


class SigningKeyRepository:
    """Signing keys in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[SigningKey]:
        """Every key that is published."""
        return [_key(row) for row in await self._database.fetch(_ALL)]

    async def lock(self, tx: Transaction) -> datetime:
        """Keep other replicas from making keys until the transaction ends; the time by the database's clock."""
        await tx.execute(select(func.pg_advisory_xact_lock(_ROTATION_LOCK)))
        now: datetime = (await tx.execute(select(func.clock_timestamp()))).scalar_one()
        return now

    async def current(self, tx: Transaction) -> list[SigningKey]:
        """Every key, as `tx` sees it."""
        return [_key(row) for row in (await tx.execute(_ALL)).mappings()]

    async def add(self, tx: Transaction, key: SigningKey) -> None:
        await tx.execute(
            insert(signing_keys).values(
                kid=key.kid,
                algorithm=ALGORITHM,
                public_key=to_der(key.public_key),
                private_key=key.private_key,
                not_before=key.not_before,
                retires_at=key.retires_at,
            )
        )

    async def renew(self, tx: Transaction, kid: str, private_key: bytes) -> None:
        """Keep the same key encrypted with another secret."""
        await tx.execute(
            update(signing_keys).where(signing_keys.c.kid == kid).values(private_key=private_key)
        )

    async def retire(self, tx: Transaction, at: datetime) -> None:
        """Have the keys that sign before `at` not sign after it."""
        await tx.execute(
            update(signing_keys)
            .where(signing_keys.c.not_before < at, signing_keys.c.retires_at > at)
            .values(retires_at=at)
        )

    async def remove_all(self, tx: Transaction) -> None:
        await tx.execute(delete(signing_keys))

    async def remove_dead(self, tx: Transaction, now: datetime) -> None:
        """Remove the keys whose last token is dead."""
        await tx.execute(delete(signing_keys).where(signing_keys.c.retires_at < now - KEPT_AFTER))


def _key(row: Any) -> SigningKey:
    return SigningKey(
        row["kid"],
        from_der(row["public_key"]),
        row["private_key"],
        row["not_before"],
        row["retires_at"],
    )
