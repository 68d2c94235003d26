"""Consenting, and withdrawing it."""

import uuid
from collections.abc import Sequence
from typing import Any

from auth_service import audit
from auth_service.consents.domain import Consent
from auth_service.consents.repository import ConsentRepository
from auth_service.users.domain import User
from auth_service.users.service import UserService
from chassis.database import Transaction
from chassis.errors import NotFound
from chassis.identity import Principal
from chassis.protobuf import numbers_of
from propmubi.auth.v1.consents_pb2 import ConsentChannel, ConsentPurpose
from propmubi.auth.v1.events_pb2 import ConsentGranted, ConsentWithdrawn


class ConsentService:
    """The use cases of consents. Each write takes the transaction that its caller opened."""

    def __init__(self, consents: ConsentRepository, users: UserService) -> None:
        self._consents = consents
        self._users = users

    async def list_page(
        self, user_id: uuid.UUID, *, before: uuid.UUID | None, limit: int
    ) -> list[Consent]:
        """A page of a user's consents; raises NotFound when there is no such user."""
        found = await self._consents.list_page(user_id, before=before, limit=limit)
        if not found:
            await self._users.get(user_id)
        return found

    async def reachable(
        self, user_ids: Sequence[uuid.UUID], purpose: str, channel: str
    ) -> list[tuple[uuid.UUID, str]]:
        """Those of the users who may be reached now for a purpose by a channel, with their phones."""
        return await self._consents.reachable(user_ids, purpose, channel)

    async def grant(
        self, tx: Transaction, caller: Principal, purpose: str, channel: str, notice_version: str
    ) -> tuple[Consent, bool]:
        """The caller's consent, and whether she had given it before. One to another notice takes its place."""
        user = await self._users.returning(tx, caller.user_id)
        live = await self._consents.live(tx, user.id, purpose, channel)
        if live is not None:
            if live.notice_version == notice_version:
                return live, True
            await self._consents.withdraw(tx, user.id, live.id)
        consent = await self._consents.add(
            tx, user.id, purpose=purpose, channel=channel, notice_version=notice_version
        )
        await _note(tx, "consent.granted", user, consent, caller.subject)
        tx.publish(ConsentGranted(**_said_of(user, consent)), user.id)
        return consent, False

    async def withdraw(self, tx: Transaction, caller: Principal, consent_id: uuid.UUID) -> None:
        """End the caller's consent; one that has ended stays as it is. Raises NotFound when it is not hers."""
        user = await self._users.returning(tx, caller.user_id)
        if await self._consents.of(tx, user.id, consent_id) is None:
            raise NotFound("There is no such consent.")
        await self._end(tx, user, caller.subject, consent_id)

    async def withdraw_all(self, tx: Transaction, user: User, actor: str) -> None:
        """End all consents of `user`, whom the transaction has locked."""
        await self._end(tx, user, actor, None)

    async def _end(
        self, tx: Transaction, user: User, actor: str, consent_id: uuid.UUID | None
    ) -> None:
        for consent in await self._consents.withdraw(tx, user.id, consent_id):
            await _note(tx, "consent.withdrawn", user, consent, actor)
            tx.publish(ConsentWithdrawn(**_said_of(user, consent)), user.id)


async def _note(tx: Transaction, action: str, user: User, consent: Consent, actor: str) -> None:
    await audit.record(
        tx,
        action,
        actor=actor,
        user_id=user.id,
        purpose=consent.purpose,
        channel=consent.channel,
        notice_version=consent.notice_version,
    )


def _said_of(user: User, consent: Consent) -> dict[str, Any]:
    """What the events say."""
    return {
        "user_id": str(user.id),
        "phone": user.phone,
        "purpose": numbers_of(ConsentPurpose.DESCRIPTOR)[consent.purpose],
        "channel": numbers_of(ConsentChannel.DESCRIPTOR)[consent.channel],
    }
