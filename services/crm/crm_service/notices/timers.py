"""The timer that sends what was written down to be sent."""

from collections.abc import Sequence

from chassis.database import Database
from crm_service.notices.domain import Notice
from crm_service.notices.repository import NoticeRepository
from crm_service.notices.service import NoticeService

BATCH = 20


class NoticeTimers:
    """Work of the clock."""

    def __init__(
        self, database: Database, notices: NoticeRepository, service: NoticeService
    ) -> None:
        self._database = database
        self._notices = notices
        self._service = service

    async def send_waiting(self) -> None:
        """Send all that waits. The claim is committed first, so that no transaction waits for an SMS; what can't be
        sent just now is claimed again when it expires.
        """
        while claimed := await self._claim():
            ended = await self._service.send(claimed)
            async with self._database.transaction() as tx:
                await self._notices.end(tx, ended)

    async def _claim(self) -> Sequence[Notice]:
        async with self._database.transaction() as tx:
            return await self._notices.claim(tx, BATCH)
