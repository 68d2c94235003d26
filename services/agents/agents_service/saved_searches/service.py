"""What can be done with saved searches, and how a home on offer finds those that want it."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

from agents_service.saved_searches.domain import (
    MOST_SEARCHES,
    Alert,
    Candidate,
    Match,
    SavedSearch,
    Told,
    anchors,
    anchors_of,
    matches,
    stored,
)
from agents_service.saved_searches.repository import SavedSearchRepository
from agents_service.search.service import SearchService
from chassis.database import Transaction
from chassis.errors import Conflict, InvalidArgument, Violation, check_version
from chassis.identity import Principal
from chassis.india import INDIA
from propmubi.agents.v1.events_pb2 import SavedSearchMatched

MORNING = time(9, tzinfo=INDIA)
# Matches told in one transaction of a morning.
BATCH = 500


class SavedSearchService:
    """The use cases of saved searches. Each that writes takes the transaction that its caller opened."""

    def __init__(self, repository: SavedSearchRepository, search: SearchService) -> None:
        self._repository = repository
        self._search = search

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

    async def silence(self, tx: Transaction, user_id: uuid.UUID) -> None:
        """Turn the alerts of a user off, who wants none any more; she turns on again which she wants."""
        await self._repository.silence(tx, user_id)

    async def matches(
        self,
        caller: Principal,
        saved_search_id: uuid.UUID,
        *,
        after: tuple[datetime, uuid.UUID] | None,
        limit: int,
    ) -> list[Match]:
        """A page of the matches of the caller's saved search, the last first; raises NotFound."""
        search = await self.get(caller, saved_search_id)
        return await self._repository.matches(search.id, after=after, limit=limit)

    async def offer(self, tx: Transaction, listing_id: uuid.UUID) -> None:
        """Match a listing that became active or cheaper, as it is now, with all who want such a one.

        Those who want to hear of it at once are told; nobody hears twice of a listing at one price.
        """
        home = await self._repository.offered(tx, listing_id)
        if home is None:
            return
        candidates = await self._repository.candidates(tx, anchors_of(home), home.list_price)
        found = [each for each in candidates if matches(home, each.wanted)]
        if found:
            new = await self._repository.match(tx, home, found)
            for each in found:
                if each.id in new and each.alert == Alert.INSTANT:
                    _tell(tx, each, [listing_id])

    async def tell_of_yesterday(self, tx: Transaction) -> int:
        """Tell some of those who are told daily of what matched until this morning; how many were told."""
        told = await self._repository.morning(tx, last_morning(datetime.now(UTC)), BATCH)
        for each in told:
            _tell(tx, each, each.listing_ids)
        return len(told)

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
        wanted = stored(asked.filters, asked.words)
        if not wanted:
            raise InvalidArgument(
                Violation("saved_search.filters", "must ask for something: everything matches")
            )
        return wanted


def last_morning(now: datetime) -> datetime:
    """The last nine o'clock of India that has been at `now`."""
    today = datetime.combine(now.astimezone(INDIA), MORNING)
    return today if today <= now else today - timedelta(days=1)


def _tell(tx: Transaction, search: Candidate | Told, listing_ids: Sequence[uuid.UUID]) -> None:
    tx.publish(
        SavedSearchMatched(
            saved_search_id=str(search.id),
            user_id=str(search.user_id),
            name=search.name,
            listing_ids=map(str, listing_ids),
        ),
        search.id,
    )
