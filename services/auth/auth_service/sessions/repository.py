"""The SQL of sessions."""

import uuid
from datetime import datetime, timedelta

from sqlalchemy import (
    Boolean,
    Interval,
    LargeBinary,
    Text,
    Uuid,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from auth_service.sessions.domain import ABSOLUTE, IDLE, Session, UsedToken
from auth_service.sessions.models import refresh_tokens, sessions
from auth_service.users.domain import User, UserStatus
from auth_service.users.models import users
from auth_service.users.repository import user_of
from chassis.database import Database, Transaction
from chassis.quota import Quota

# How long a session that is over is kept, for its owner to see.
KEPT = timedelta(days=60)

_now = func.clock_timestamp()
_successor = bindparam("successor", type_=LargeBinary())
_earlier = refresh_tokens.alias("earlier")
_refreshes = (
    select(func.count())
    .select_from(_earlier)
    .where(
        _earlier.c.session_id == refresh_tokens.c.session_id,
        _earlier.c.used_at > _now - bindparam("period", type_=Interval()),
    )
    .correlate(refresh_tokens)
    .scalar_subquery()
)
# One statement: the token is used if it is unused, in date, its session live and not refreshed too often; then its
# successor is there; then the user is read, locked against losing a role until her tokens' time is written down.
_used = (
    update(refresh_tokens)
    .where(
        refresh_tokens.c.hash == bindparam("token", type_=LargeBinary()),
        refresh_tokens.c.used_at.is_(None),
        refresh_tokens.c.expires_at > _now,
        sessions.c.id == refresh_tokens.c.session_id,
        sessions.c.revoked_at.is_(None),
        sessions.c.expires_at > _now,
        _refreshes < bindparam("calls"),
    )
    .values(used_at=_now, used_by=bindparam("client", type_=Text()), rotated_to=_successor)
    .returning(refresh_tokens.c.session_id)
    .cte("used")
)
_seen = (
    update(sessions)
    .where(sessions.c.id == _used.c.session_id, sessions.c.revoked_at.is_(None))
    .values(last_seen_at=_now)
    .returning(sessions.c.id, sessions.c.user_id, sessions.c.expires_at, sessions.c.last_seen_at)
    .cte("seen")
)
_added = (
    insert(refresh_tokens)
    .from_select(
        ["hash", "session_id", "expires_at"],
        select(
            _successor,
            _seen.c.id,
            func.least(_now + bindparam("idle", type_=Interval()), _seen.c.expires_at),
        ),
    )
    .returning(refresh_tokens.c.session_id)
    .cte("added")
)
_ROTATE = (
    select(users, _seen.c.id.label("session_id"), _seen.c.last_seen_at)
    .join(_seen, _seen.c.user_id == users.c.id)
    .where(users.c.status == UserStatus.ACTIVE)
    .with_for_update(read=True, of=users)
    .add_cte(_added)
)
_LOOK = (
    select(
        sessions.c.id.label("session_id"),
        sessions.c.user_id,
        (sessions.c.revoked_at.is_(None) & (sessions.c.expires_at > _now)).label("session_is_live"),
        (refresh_tokens.c.expires_at <= _now).label("is_expired"),
        refresh_tokens.c.used_at,
        refresh_tokens.c.used_by,
        refresh_tokens.c.rotated_to,
        _now.label("now"),
    )
    .select_from(refresh_tokens.join(sessions))
    .where(refresh_tokens.c.hash == bindparam("token", type_=LargeBinary()))
)
_before = bindparam("before", type_=Uuid())
_expires_at = func.least(sessions.c.expires_at, sessions.c.last_seen_at + IDLE)
_LIST = (
    select(
        sessions.c.id,
        sessions.c.user_agent,
        sessions.c.ip,
        sessions.c.created_at,
        sessions.c.last_seen_at,
        _expires_at.label("expires_at"),
        sessions.c.revoked_at,
        sessions.c.revoked_reason,
    )
    .where(
        sessions.c.user_id == bindparam("user_id"),
        or_(
            bindparam("ended", type_=Boolean()),
            sessions.c.revoked_at.is_(None) & (_expires_at > _now),
        ),
        or_(_before.is_(None), sessions.c.id < _before),
    )
    .order_by(sessions.c.id.desc())
    .limit(bindparam("limit"))
)
_SHARED = (
    select(users).where(users.c.id == bindparam("user_id")).with_for_update(read=True, of=users)
)


class SessionRepository:
    """Sessions in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_page(
        self, user_id: uuid.UUID, *, ended: bool, before: uuid.UUID | None, limit: int
    ) -> list[Session]:
        """The user's live sessions, or all that are kept, newest first, beginning after the id `before`."""
        asked = {"user_id": user_id, "ended": ended, "before": before, "limit": limit}
        return [Session(**row) for row in await self._database.fetch(_LIST, asked)]

    async def add(
        self,
        tx: Transaction,
        session_id: uuid.UUID,
        user_id: uuid.UUID,
        token_hash: bytes,
        *,
        user_agent: str,
        ip: str,
    ) -> datetime:
        """A new session with its first refresh token; when `tx` began."""
        added = await tx.execute(
            insert(sessions)
            .values(
                id=session_id,
                user_id=user_id,
                user_agent=user_agent,
                ip=ip,
                expires_at=func.now() + ABSOLUTE,
            )
            .returning(sessions.c.created_at)
        )
        created_at: datetime = added.scalar_one()
        await tx.execute(
            insert(refresh_tokens).values(
                hash=token_hash, session_id=session_id, expires_at=func.now() + IDLE
            )
        )
        return created_at

    async def rotate(
        self, tx: Transaction, token: bytes, successor: bytes, user_agent: str, quota: Quota
    ) -> tuple[User, uuid.UUID, datetime] | None:
        """Put `successor` in the place of `token`: the user, the session and the moment, which is before the user was
        read; or None when `token` can't be used now.

        Roll the transaction back on None: the token may be marked although nothing followed.
        """
        rotated = await tx.execute(
            _ROTATE,
            {
                "token": token,
                "successor": successor,
                "client": user_agent,
                "period": timedelta(seconds=quota.seconds),
                "calls": quota.calls,
                "idle": IDLE,
            },
        )
        row = rotated.mappings().first()
        return None if row is None else (user_of(row), row["session_id"], row["last_seen_at"])

    async def look(self, tx: Transaction, token: bytes) -> UsedToken | None:
        """What is known of `token`, if it was ever issued."""
        row = (await tx.execute(_LOOK, {"token": token})).mappings().first()
        return None if row is None else UsedToken(**row)

    async def user(self, tx: Transaction, user_id: uuid.UUID) -> User:
        """The user of a session, kept from losing a role until the transaction ends."""
        return user_of((await tx.execute(_SHARED, {"user_id": user_id})).mappings().one())

    async def revoke(
        self,
        tx: Transaction,
        user_id: uuid.UUID,
        reason: str,
        *,
        only: uuid.UUID | None = None,
        kept: uuid.UUID | None = None,
    ) -> list[uuid.UUID]:
        """End the user's sessions, or `only` one of them, or all but `kept`; those that were live until now."""
        # In the order of their ids, so that two who end the same ones don't wait for each other.
        live = (
            select(sessions.c.id)
            .where(
                sessions.c.user_id == user_id,
                sessions.c.revoked_at.is_(None),
                sessions.c.id == only if only else true(),
                sessions.c.id != kept if kept else true(),
            )
            .order_by(sessions.c.id)
            .with_for_update()
            .cte("live")
        )
        revoked = await tx.execute(
            update(sessions)
            .where(sessions.c.id == live.c.id)
            .values(revoked_at=func.clock_timestamp(), revoked_reason=reason)
            .returning(sessions.c.id)
        )
        return list(revoked.scalars())

    async def is_of(self, tx: Transaction, session_id: uuid.UUID, user_id: uuid.UUID) -> bool:
        """Whether that session, live or not, is the user's."""
        found = select(exists().where(sessions.c.id == session_id, sessions.c.user_id == user_id))
        return bool((await tx.execute(found)).scalar())

    async def remove_tokens(self, tx: Transaction, user_id: uuid.UUID) -> None:
        """Forget all refresh tokens of `user_id`. A refresh locks its token before its session: so do this first."""
        hers = select(sessions.c.id).where(sessions.c.user_id == user_id)
        await tx.execute(delete(refresh_tokens).where(refresh_tokens.c.session_id.in_(hers)))

    async def mask(self, tx: Transaction, user_id: uuid.UUID) -> None:
        """Forget which devices and addresses the sessions of `user_id` were of."""
        await tx.execute(
            update(sessions).where(sessions.c.user_id == user_id).values(user_agent="", ip="")
        )

    async def sweep(self, tx: Transaction) -> None:
        """Forget tokens that are past their time, and sessions that were over long ago.

        A used token is known for as long as its session may live: whoever presents it again has no right to.
        """
        over = exists().where(
            sessions.c.id == refresh_tokens.c.session_id, sessions.c.expires_at < func.now()
        )
        await tx.execute(
            delete(refresh_tokens).where(
                refresh_tokens.c.expires_at < func.now(), refresh_tokens.c.used_at.is_(None) | over
            )
        )
        await tx.execute(delete(sessions).where(sessions.c.expires_at < func.now() - KEPT))
