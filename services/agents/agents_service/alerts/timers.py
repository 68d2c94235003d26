"""The timer that sends what waits to be told."""

from agents_service.alerts.repository import AlertRepository
from agents_service.alerts.service import AlertService
from chassis.database import Database

# People who are told at once.
BATCH = 50


class AlertTimers:
    """Work of the clock."""

    def __init__(
        self, database: Database, repository: AlertRepository, service: AlertService
    ) -> None:
        self._database = database
        self._repository = repository
        self._service = service

    async def send_waiting(self) -> None:
        """Send all that waits. It is taken before, in a transaction of its own, so that none waits for an SMS; without
        auth (Unavailable) it waits on.
        """
        while user_ids := await self._repository.due(BATCH):
            phones = await self._service.phones_of(user_ids)
            async with self._database.transaction() as tx:
                taken = await self._service.take(tx, user_ids, phones)
            for waiting in await self._service.send(taken, phones):
                async with self._database.transaction() as tx:
                    await self._service.put_back(tx, waiting)
