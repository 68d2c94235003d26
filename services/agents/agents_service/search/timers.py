"""What search does by the clock."""

from agents_service.search.service import SearchService
from chassis.database import Database

# A new locality is found by its name some minutes after its first listing; until then its listings are, by their words.
PLACES_SECONDS = 300.0


class SearchTimers:
    """Timers, each in a transaction of its own."""

    def __init__(self, database: Database, service: SearchService) -> None:
        self._database = database
        self._service = service

    async def count_places(self) -> None:
        async with self._database.transaction() as tx:
            await self._service.count_places(tx)
