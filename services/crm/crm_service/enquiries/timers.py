"""The timer that finds owners for leads that have none."""

import structlog

from chassis.database import Database
from chassis.errors import Conflict, Unavailable
from crm_service.enquiries.domain import TARGET_KINDS
from crm_service.enquiries.repository import EnquiryRepository
from crm_service.enquiries.service import EnquiryService

BATCH = 100
# A lead that can't be given to its target's owner waits this long until she is asked for again.
PATIENCE_SECONDS = 60.0

log = structlog.get_logger()


class EnquiryTimers:
    """Work of the clock."""

    def __init__(
        self, database: Database, enquiries: EnquiryRepository, service: EnquiryService
    ) -> None:
        self._database = database
        self._enquiries = enquiries
        self._service = service

    async def assign_waiting(self) -> None:
        """Give waiting leads to their owners; while those can't be asked for (Unavailable), they wait on."""
        away: Unavailable | None = None
        for target_kind in TARGET_KINDS:
            try:
                await self._assign(target_kind)
            except Unavailable as error:
                away = error  # Those of the others need not wait.
        if away is not None:
            raise away

    async def _assign(self, target_kind: str) -> None:
        for lead_id, target_id in await self._enquiries.waiting(target_kind, BATCH):
            try:
                owner = await self._service.owner_now(target_kind, target_id)
                async with self._database.transaction() as tx:
                    await self._service.assign_later(tx, lead_id, owner)
            except Conflict as conflict:
                log.info("lead stays unassigned", lead_id=str(lead_id), reason=conflict.message)
                async with self._database.transaction() as tx:
                    await self._enquiries.ask_again_in(tx, lead_id, PATIENCE_SECONDS)
