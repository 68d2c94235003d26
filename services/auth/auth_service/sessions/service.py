"""Starting, keeping and ending sessions."""

import uuid
from collections.abc import Sequence

from auth_service import audit
from auth_service.sessions.domain import (
    LONGEST_USER_AGENT,
    RefreshTokenReused,
    Session,
    SignedIn,
    hashed,
    new_token,
    refused,
    successor,
)
from auth_service.sessions.repository import SessionRepository
from auth_service.users.domain import User, check_may_sign_in
from auth_service.users.service import UserService
from chassis.context import current_call
from chassis.database import Transaction
from chassis.errors import DomainError, NotFound, RateLimited
from chassis.identity import Principal
from chassis.ids import new_id
from chassis.quota import Quota
from propmubi.auth.v1.events_pb2 import SessionRevoked


class SessionService:
    """The use cases of sessions. Each write takes the transaction that its caller opened."""

    def __init__(
        self,
        sessions: SessionRepository,
        users: UserService,
        refresh_keys: Sequence[str],
        refreshes: Quota,
    ) -> None:
        self._sessions = sessions
        self._users = users
        self._refresh_keys = [key.encode() for key in refresh_keys]
        self._refreshes = refreshes

    async def start(self, tx: Transaction, user: User) -> SignedIn:
        """A new session of `user`, whom the transaction has locked."""
        session_id, token = new_id(), new_token()
        now = await self._sessions.add(
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
        next_token = successor(self._refresh_keys[0], token)
        rotated = await self._sessions.rotate(
            tx, hashed(token), hashed(next_token), _user_agent(), self._refreshes
        )
        if rotated is not None:
            user, session_id, now = rotated
            return SignedIn(user, session_id, next_token, now)
        known = await self._sessions.look(tx, hashed(token))
        if known is None or not known.session_is_live:
            raise refused()
        if known.used_at is not None and not known.may_be_repeated_by(_user_agent()):
            user_id, session_id = known.user_id, known.session_id
            ended = await self._end(
                tx, user_id, str(user_id), "refresh_token_reused", only=session_id
            )
            user = await self._sessions.user(tx, user_id)
            return RefreshTokenReused(user.phone) if ended else refused()
        user = await self._sessions.user(tx, known.user_id)
        check_may_sign_in(user)
        if known.used_at is not None:
            # Perhaps a replica made it that has another key in use, while the keys are exchanged.
            for key in self._refresh_keys:
                if hashed(repeated := successor(key, token)) == known.rotated_to:
                    return SignedIn(user, known.session_id, repeated, known.now)
            raise refused()
        if known.is_expired:
            raise refused()
        raise RateLimited(
            "The session was refreshed too often: wait and try again.",
            retry_after=self._refreshes.seconds / self._refreshes.calls,
        )

    async def sign_out(self, tx: Transaction, caller: Principal) -> None:
        """End the caller's session; nothing happens when it has ended already."""
        session_id = uuid.UUID(caller.session_id)
        await self._end(tx, caller.user_id, caller.subject, "logout", only=session_id)

    async def list_page(
        self, user_id: uuid.UUID, *, ended: bool, before: uuid.UUID | None, limit: int
    ) -> list[Session]:
        """A page of the sessions of a user; raises NotFound when there is no such user."""
        found = await self._sessions.list_page(user_id, ended=ended, before=before, limit=limit)
        if not found:
            await self._users.get(user_id)
        return found

    async def revoke(
        self, tx: Transaction, caller: Principal, user_id: uuid.UUID, session_id: uuid.UUID
    ) -> None:
        """End one of a user's sessions for `caller`; raises NotFound when it is not hers."""
        reason = _revoked_by(caller, user_id)
        ended = await self._end(tx, user_id, caller.subject, reason, only=session_id)
        if not ended and not await self._sessions.is_of(tx, session_id, user_id):
            raise NotFound("There is no such session.")

    async def revoke_others(self, tx: Transaction, caller: Principal) -> None:
        """End all of the caller's sessions but the one she calls from."""
        user_id, kept = caller.user_id, uuid.UUID(caller.session_id)
        await self.end_all(tx, user_id, caller.subject, _revoked_by(caller, user_id), kept=kept)

    async def revoke_all(self, tx: Transaction, caller: Principal, user_id: uuid.UUID) -> None:
        """End all of a user's sessions for `caller`; raises NotFound when there is no such user."""
        ended = await self.end_all(tx, user_id, caller.subject, _revoked_by(caller, user_id))
        if not ended:
            await self._users.get(user_id)

    async def end_all(
        self,
        tx: Transaction,
        user_id: uuid.UUID,
        actor: str,
        reason: str,
        *,
        kept: uuid.UUID | None = None,
    ) -> list[uuid.UUID]:
        """End the sessions of `user_id`, all but `kept`; those that were live until now.

        A refresh locks its session and then its user: where the user is to be locked too, do this first.
        """
        return await self._end(tx, user_id, actor, reason, kept=kept)

    async def end_for_good(self, tx: Transaction, user_id: uuid.UUID, actor: str) -> None:
        """End the sessions of `user_id`, who is to be erased, and forget their tokens; before she is locked."""
        await self._sessions.remove_tokens(tx, user_id)
        await self.end_all(tx, user_id, actor, "erased")

    async def mask(self, tx: Transaction, user_id: uuid.UUID) -> None:
        """Leave nothing personal in the sessions of `user_id`, who is locked, so that she starts no other."""
        await self._sessions.mask(tx, user_id)

    async def _end(
        self,
        tx: Transaction,
        user_id: uuid.UUID,
        actor: str,
        reason: str,
        *,
        only: uuid.UUID | None = None,
        kept: uuid.UUID | None = None,
    ) -> list[uuid.UUID]:
        """End sessions, write it down, and have their access tokens refused everywhere."""
        ended = await self._sessions.revoke(tx, user_id, reason, only=only, kept=kept)
        for session_id in ended:
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
        return ended


def _revoked_by(caller: Principal, user_id: uuid.UUID) -> str:
    return "revoked" if caller.user_id == user_id else "revoked_by_admin"


def _user_agent() -> str:
    return current_call().user_agent[:LONGEST_USER_AGENT]
