"""Starting, keeping and ending sessions."""

import time
import uuid

from auth_service import audit
from auth_service.sessions.domain import (
    LONGEST_USER_AGENT,
    SignedIn,
    hashed,
    new_token,
    refused,
    successor,
)
from auth_service.sessions.repository import SessionRepository
from auth_service.users.domain import User, check_may_sign_in
from chassis.context import current_call
from chassis.database import Transaction
from chassis.errors import DomainError, RateLimited
from chassis.identity import Principal
from chassis.ids import new_id
from chassis.quota import Quota
from propmubi.auth.v1.events_pb2 import SessionRevoked


class SessionService:
    """The use cases of sessions. Each takes the transaction that its caller opened."""

    def __init__(self, sessions: SessionRepository, refresh_key: bytes, refreshes: Quota) -> None:
        self._sessions = sessions
        self._refresh_key = refresh_key
        self._refreshes = refreshes

    async def start(self, tx: Transaction, user: User) -> SignedIn:
        """A new session of `user`, whom the transaction has locked."""
        now = time.time()
        session_id, token = new_id(), new_token()
        await self._sessions.add(
            tx,
            session_id,
            user.id,
            hashed(token),
            user_agent=_user_agent(),
            ip=current_call().client_address,
        )
        await audit.record(
            tx, "session.started", actor=str(user.id), user_id=user.id, session_id=str(session_id)
        )
        return SignedIn(user, session_id, token, now)

    async def refresh(self, tx: Transaction, token: str) -> SignedIn | DomainError:
        """New tokens for the session of `token`, which is used up.

        A refusal that ends the session is returned, not raised, so that its end is committed.
        """
        now = time.time()
        next_token = successor(self._refresh_key, token)
        rotated = await self._sessions.rotate(
            tx, hashed(token), hashed(next_token), _user_agent(), self._refreshes
        )
        if rotated is not None:
            return SignedIn(*rotated, next_token, now)
        known = await self._sessions.look(tx, hashed(token))
        if known is None or not known.session_is_live:
            raise refused()
        user = await self._sessions.user(tx, known.user_id)
        check_may_sign_in(user)
        if known.may_be_repeated_by(_user_agent()):
            return SignedIn(user, known.session_id, next_token, now)
        if known.used_at is not None:
            actor = str(known.user_id)
            await self._end(tx, known.session_id, known.user_id, actor, "refresh_token_reused")
            return refused()
        if known.is_expired:
            raise refused()
        raise RateLimited(
            "The session was refreshed too often: wait and try again.",
            retry_after=self._refreshes.seconds / self._refreshes.calls,
        )

    async def sign_out(self, tx: Transaction, caller: Principal) -> None:
        """End the caller's session; nothing happens when it has ended already."""
        session_id = uuid.UUID(caller.session_id)
        await self._end(tx, session_id, caller.user_id, caller.subject, "logout")

    async def end_all(
        self,
        tx: Transaction,
        user_id: uuid.UUID,
        actor: str,
        reason: str,
        *,
        kept: uuid.UUID | None = None,
    ) -> None:
        """End the sessions of `user_id`, all but `kept`.

        A refresh locks its session and then its user: where the user is to be locked too, do this first.
        """
        for session_id in await self._sessions.revoke_all(tx, user_id, reason, kept):
            await self._tell(tx, session_id, user_id, actor, reason)

    async def _end(
        self, tx: Transaction, session_id: uuid.UUID, user_id: uuid.UUID, actor: str, reason: str
    ) -> None:
        if await self._sessions.revoke(tx, session_id, reason):
            await self._tell(tx, session_id, user_id, actor, reason)

    async def _tell(
        self, tx: Transaction, session_id: uuid.UUID, user_id: uuid.UUID, actor: str, reason: str
    ) -> None:
        """Write down that a session ended, and have its access tokens refused everywhere."""
        await audit.record(
            tx,
            "session.revoked",
            actor=actor,
            user_id=user_id,
            session_id=str(session_id),
            reason=reason,
        )
        tx.publish(
            SessionRevoked(session_id=str(session_id), user_id=str(user_id), reason=reason),
            session_id,
        )


def _user_agent() -> str:
    return current_call().user_agent[:LONGEST_USER_AGENT]
