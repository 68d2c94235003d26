"""What was revoked, as auth tells those who verify tokens; it tells them too that its keys are others."""

import asyncio
import time
from collections.abc import Callable

from redis.asyncio import Redis

from chassis import metrics
from chassis.events import follow
from chassis.identity import Principal
from propmubi.auth.v1.events_pb2 import (
    RoleRevoked,
    SessionRevoked,
    SigningKeysChanged,
    UserErased,
    UserSuspended,
)
from propmubi.common.v1.event_pb2 import Event

# Ten minutes and the leeway at either end: no access token lives longer, so older revocations concern nobody.
BACK_SECONDS = 660.0
# How long one is remembered.
REVOKED_SECONDS = 900.0


class Revocations:
    """What was revoked: sessions, and everything a user was issued before a moment. Forgotten when tokens are dead.

    `heard` is set once all that was revoked before this process began is known, or can't be: before, it serves nobody.
    """

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        # Each in the order in which they end, so that forgetting looks at no more than it forgets.
        self._sessions: dict[str, float] = {}
        self._users: dict[str, tuple[int, float]] = {}

    def revoke_session(self, session_id: str) -> None:
        self._forget()
        self._sessions.pop(session_id, None)
        self._sessions[session_id] = time.time() + REVOKED_SECONDS

    def revoke_user(self, user_id: str, *, issued_until: int) -> None:
        """Refuse the tokens of `user_id` issued at or before `issued_until`, in Unix seconds."""
        self._forget()
        known, _ = self._users.pop(user_id, (issued_until, 0.0))
        self._users[user_id] = max(issued_until, known), time.time() + REVOKED_SECONDS

    def covers(self, principal: Principal) -> bool:
        if principal.session_id in self._sessions:
            return True
        user = self._users.get(principal.subject)
        return user is not None and principal.issued_at <= user[0]

    def _forget(self) -> None:
        now = time.time()
        while self._sessions and next(iter(self._sessions.values())) <= now:
            del self._sessions[next(iter(self._sessions))]
        while self._users and next(iter(self._users.values()))[1] <= now:
            del self._users[next(iter(self._users))]


async def follow_revocations(
    redis: Redis, revocations: Revocations, renew_keys: Callable[[], None]
) -> None:
    """Take into account what auth tells, until cancelled; whoever is on call hears when nothing arrives."""

    def on_gap(behind: bool) -> None:
        metrics.REVOCATIONS_BEHIND.set(behind)
        revocations.heard.set()

    def on_event(event: Event) -> None:
        heed(event, revocations, renew_keys)

    await follow(redis, "auth", BACK_SECONDS, on_event, on_gap)


def heed(event: Event, revocations: Revocations, renew_keys: Callable[[], None]) -> None:
    """Take into account what `event`, one of auth's, says."""
    session = SessionRevoked()
    if event.payload.Unpack(session):
        revocations.revoke_session(session.session_id)
    for kind in (RoleRevoked, UserSuspended, UserErased):
        user = kind()
        if event.payload.Unpack(user):
            revocations.revoke_user(user.user_id, issued_until=user.tokens_issued_before.seconds)
    if event.payload.Is(SigningKeysChanged.DESCRIPTOR):
        renew_keys()
