"""What can be done with saved searches, and how a home on offer finds those that want it."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

from agents_service.alerts.domain import Waiting
from agents_service.alerts.service import AlertService
from agents_service.saved_searches.domain import (
    MOST_SEARCHES,
    Match,
    News,
    Reason,
    SavedSearch,
    anchors,
    is_exact,
    matches,
    misspelt,
    stored,
)
from agents_service.saved_searches.repository import SavedSearchRepository
from agents_service.search.service import SearchService
from chassis.database import Transaction
from chassis.errors import Conflict, InvalidArgument, Violation, check_version
from chassis.identity import Principal
from chassis.ids import new_id
from chassis.india import INDIA
from propmubi.agents.v1.events_pb2 import SavedSearchAlert, SavedSearchMatched

MORNING = time(9, tzinfo=INDIA)
# Matches told in one transaction of a morning.
BATCH = 500
# Listings matched in one transaction, and alerts told by one event.
OFFERS, ALERTS = 100, 500
# Candidates looked into before others have their turn.
TURN = 1_000


class SavedSearchService:
    """The use cases of saved searches. Each write takes the transaction that its caller opened."""

    def __init__(
        self, repository: SavedSearchRepository, search: SearchService, alerts: AlertService
    ) -> None:
        self._repository = repository
        self._search = search
        self._alerts = alerts

    async def columns(self, given: Mapping[str, Any], filters: Mapping[str, Any]) -> dict[str, Any]:
        """The columns that the fields `given` of a saved search set; raises InvalidArgument. `filters` are theirs as
        they are searched by.
        """
        columns = dict(given)
        if "filters" in given:
            wanted = await self._wanted(filters)
            columns |= {
                "filters": given["filters"].SerializeToString(deterministic=True),
                "wanted": wanted,
                "anchors": anchors(wanted),
                "exact": is_exact(wanted),
                "price_min": wanted.get("price_min"),
                "price_max": wanted.get("price_max"),
            }
        return columns

    async def create(
        self, tx: Transaction, caller: Principal, columns: Mapping[str, Any]
    ) -> SavedSearch:
        """A saved search of the caller's; raises Conflict when she has as many as one may have."""
        user_id = uuid.UUID(caller.subject)
        if await self._repository.count(tx, user_id) >= MOST_SEARCHES:
            raise Conflict(f"You have {MOST_SEARCHES} saved searches: delete one first.")
        return await self._repository.add(tx, {**columns, "user_id": user_id})

    async def get(self, caller: Principal, saved_search_id: uuid.UUID) -> SavedSearch:
        """The saved search, if it is the caller's; raises NotFound."""
        return await self._repository.get(uuid.UUID(caller.subject), saved_search_id)

    async def list_page(
        self, caller: Principal, *, before: uuid.UUID | None, limit: int
    ) -> list[SavedSearch]:
        """The caller's, newest first."""
        return await self._repository.list_page(
            uuid.UUID(caller.subject), before=before, limit=limit
        )

    async def update(
        self,
        tx: Transaction,
        caller: Principal,
        saved_search_id: uuid.UUID,
        columns: Mapping[str, Any],
        expected_version: int | None,
    ) -> SavedSearch:
        """Change a saved search of the caller's."""
        before = await self._own(tx, caller, saved_search_id, expected_version)
        if all(getattr(before, name, value) == value for name, value in columns.items()):
            return before
        return await self._repository.change(tx, before, columns)

    async def delete(
        self,
        tx: Transaction,
        caller: Principal,
        saved_search_id: uuid.UUID,
        expected_version: int | None,
    ) -> None:
        """Delete a saved search of the caller's."""
        search = await self._own(tx, caller, saved_search_id, expected_version)
        await self._repository.delete(tx, search)

    async def forget(self, tx: Transaction, user_id: uuid.UUID) -> None:
        """Forget what a user looks for, who is to be forgotten."""
        await self._repository.delete_all(tx, user_id)
        await self._alerts.forget(tx, user_id)

    async def matches(
        self,
        caller: Principal,
        saved_search_id: uuid.UUID,
        *,
        after: tuple[datetime, uuid.UUID] | None,
        limit: int,
    ) -> tuple[SavedSearch, list[Match]]:
        """The caller's saved search and a page of its matches, the last first; raises NotFound."""
        search = await self.get(caller, saved_search_id)
        return search, await self._repository.matches(search.id, after=after, limit=limit)

    async def seen(
        self, tx: Transaction, caller: Principal, saved_search_id: uuid.UUID, until: datetime
    ) -> None:
        """The caller saw the matches of her saved search until then; raises NotFound."""
        search = await self._own(tx, caller, saved_search_id, None)
        await self._repository.seen(tx, search.id, min(until, datetime.now(UTC)))

    async def offer(self, tx: Transaction, listing_id: uuid.UUID, reason: Reason) -> None:
        """Have a listing that became active or cheaper matched."""
        await self._repository.offer(tx, listing_id, reason)

    async def match_offers(self, tx: Transaction) -> int:
        """Match some of the listings that wait, as they are now, with all who want such; how many waited.

        Those who want to hear of it at once are told; nobody hears twice of a listing at one price.
        """
        count, offers = await self._repository.take_offers(tx, OFFERS)
        if not offers:
            return count
        nearly = []
        for at, (search, offer) in enumerate(await self._repository.candidates(tx, offers)):
            if matches(offer.home, search.wanted):
                nearly.append((search.id, offer.home.id, misspelt(offer.home, search.wanted)))
            if at % TURN == 0:
                await asyncio.sleep(0)
        asked = {(home, word) for _, home, words in nearly for word in words}
        had = await self._repository.having(tx, asked) if asked else set()
        found = [
            (search, home)
            for search, home, words in nearly
            if had.issuperset((home, word) for word in words)
        ]
        await self._tell(tx, await self._repository.note(tx, offers, found))
        return count

    async def tell_of_yesterday(self, tx: Transaction) -> int:
        """Tell some of those who are told daily of what matched until this morning; how many were told."""
        told = await self._repository.morning(tx, last_morning(datetime.now(UTC)), BATCH)
        await self._tell(tx, told)
        return len(told)

    async def _tell(self, tx: Transaction, news: Sequence[News]) -> None:
        """Tell the owners, and the other services: of many searches by one event, for thousands may want one home."""
        waiting = [
            Waiting(
                each.user_id,
                each.saved_search_id,
                each.name,
                len(each.listing_ids),
                each.listing_ids[-1],
            )
            for each in news
        ]
        if waiting:
            await self._alerts.add(tx, waiting)
        for start in range(0, len(news), ALERTS):
            alerts = [
                SavedSearchAlert(
                    saved_search_id=str(each.saved_search_id),
                    user_id=str(each.user_id),
                    name=each.name,
                    listing_ids=map(str, each.listing_ids),
                )
                for each in news[start : start + ALERTS]
            ]
            tx.publish(SavedSearchMatched(alerts=alerts), new_id())

    async def _own(
        self,
        tx: Transaction,
        caller: Principal,
        saved_search_id: uuid.UUID,
        expected_version: int | None,
    ) -> SavedSearch:
        user_id = uuid.UUID(caller.subject)
        search = await self._repository.locked(tx, user_id, saved_search_id)
        check_version(expected_version, search.version)
        return search

    async def _wanted(self, filters: Mapping[str, Any]) -> dict[str, Any]:
        try:
            asked = await self._search.asked(filters)
        except InvalidArgument as error:
            raise InvalidArgument(
                *(
                    Violation(f"saved_search.{each.field}", each.message)
                    for each in error.violations
                )
            ) from error
        filters = dict(asked.filters)
        builders = [place.reference_id for place in asked.places if place.kind == "builder"]
        if builders:
            # The builders themselves: what they build later is wanted, too.
            named = [place.reference_id for place in asked.places if place.kind == "project"]
            filters["project_id"] = [*named, *builders]
        wanted = stored(filters, asked.words)
        if not wanted:
            raise InvalidArgument(
                Violation("saved_search.filters", "must ask for something: everything matches")
            )
        return wanted


def last_morning(now: datetime) -> datetime:
    """The last nine o'clock of India that has been at `now`."""
    today = datetime.combine(now.astimezone(INDIA), MORNING)
    return today if today <= now else today - timedelta(days=1)
