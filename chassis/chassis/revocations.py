"""What auth tells those who verify tokens: what was revoked, and that its keys are others."""

from redis.asyncio import Redis

from chassis import metrics
from chassis.events import follow
from chassis.identity import LEEWAY_SECONDS, Keys, Revocations
from propmubi.auth.v1.events_pb2 import (
    RoleRevoked,
    SessionRevoked,
    SigningKeysChanged,
    UserErased,
    UserSuspended,
)
from propmubi.common.v1.event_pb2 import Event

# As long as an access token can live: older revocations concern nobody.
BACK_SECONDS = 600.0 + 2 * LEEWAY_SECONDS


async def follow_revocations(redis: Redis, revocations: Revocations, keys: Keys) -> None:
    """Take into account what auth tells, until cancelled; whoever is on call hears when nothing arrives."""

    def on_gap(behind: bool) -> None:
        metrics.REVOCATIONS_BEHIND.set(behind)
        revocations.heard.set()

    await follow(redis, "auth", BACK_SECONDS, lambda event: heed(event, revocations, keys), on_gap)


def heed(event: Event, revocations: Revocations, keys: Keys) -> None:
    """Take into account what `event`, one of auth's, says."""
    session = SessionRevoked()
    if event.payload.Unpack(session):
        revocations.revoke_session(session.session_id)
    for kind in (RoleRevoked, UserSuspended, UserErased):
        user = kind()
        if event.payload.Unpack(user):
            revocations.revoke_user(user.user_id, issued_until=user.tokens_issued_before.seconds)
    if event.payload.Is(SigningKeysChanged.DESCRIPTOR):
        keys.renew()
