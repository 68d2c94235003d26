"""Telling people by SMS of what their saved searches found, as often as they agreed to, and so many a day at most."""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from agents_service.alerts.domain import Waiting, body_about, may_be_sent_from, next_morning
from agents_service.alerts.repository import AlertRepository
from agents_service.clients import People
from agents_service.listings.messages import summary_of
from agents_service.listings.repository import ListingRepository
from chassis.database import Transaction
from chassis.india import INDIA
from chassis.sms import SmsNotSent, SmsProvider

# What the provider did not take is tried again then.
AGAIN = timedelta(minutes=1)


class AlertService:
    """The use cases of alerts."""

    def __init__(
        self,
        repository: AlertRepository,
        listings: ListingRepository,
        people: People,
        sms: SmsProvider,
        *,
        most_a_day: int,
    ) -> None:
        self._repository = repository
        self._listings = listings
        self._people = people
        self._sms = sms
        self._most_a_day = most_a_day

    async def add(self, tx: Transaction, waiting: Sequence[Waiting]) -> None:
        """Have their owners told of these, by day."""
        await self._repository.add(tx, waiting, may_be_sent_from(datetime.now(UTC)))

    async def phones_of(self, user_ids: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, str]:
        """The phones of those who want to be told by SMS now; raises Unavailable without auth. To be asked outside any
        transaction.
        """
        return await self._people.alerted_by_sms(user_ids)

    async def take(
        self, tx: Transaction, user_ids: Sequence[uuid.UUID], phones: Mapping[uuid.UUID, str]
    ) -> list[list[Waiting]]:
        """Take what waits for those with phones, by person; what waits for the others, nobody is told of."""
        await self._repository.drop(tx, [each for each in user_ids if each not in phones])
        now = datetime.now(UTC)
        taken: dict[uuid.UUID, list[Waiting]] = defaultdict(list)
        for each in await self._repository.take(
            tx,
            [*phones],
            today=now.astimezone(INDIA).date(),
            most=self._most_a_day,
            morning=next_morning(now),
        ):
            taken[each.user_id].append(each)
        return [*taken.values()]

    async def send(
        self, taken: Sequence[Sequence[Waiting]], phones: Mapping[uuid.UUID, str]
    ) -> list[Sequence[Waiting]]:
        """Send one message to each, outside any transaction; of what certainly was not sent."""
        alone = [waiting[0].listing_id for waiting in taken if sum(w.homes for w in waiting) == 1]
        homes = {
            owner.listing_id: summary_of(owner) for owner in await self._listings.owners(alone)
        }
        sent = await asyncio.gather(
            *(
                self._send(
                    phones[waiting[0].user_id],
                    body_about(waiting, homes.get(waiting[0].listing_id)),
                )
                for waiting in taken
            )
        )
        return [waiting for waiting, ended in zip(taken, sent, strict=True) if not ended]

    async def put_back(self, tx: Transaction, waiting: Sequence[Waiting]) -> None:
        """Try again later what was not sent."""
        await self._repository.put_back(tx, waiting, datetime.now(UTC) + AGAIN)

    async def forget(self, tx: Transaction, user_id: uuid.UUID) -> None:
        """Forget that a user was told of anything, who is to be forgotten."""
        await self._repository.forget(tx, user_id)

    async def _send(self, phone: str, body: str) -> bool:
        try:
            await self._sms.send(phone, body)
        except SmsNotSent as error:
            return not error.may_be_repeated
        return True
