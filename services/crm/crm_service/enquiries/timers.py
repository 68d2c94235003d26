"""The timer that finds owners for leads that have none."""

import structlog

from chassis.database import Database
from chassis.errors import Conflict
from crm_service.enquiries.repository import EnquiryRepository
from crm_service.enquiries.service import EnquiryService

BATCH = 100
# A lead that can't be given to its listing's agent waits this long until she is asked for again.
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
        """Give waiting leads to their owners; while agents can't be asked (Unavailable), they wait on."""
        for lead_id, listing_id in await self._enquiries.waiting(BATCH):
            try:
                owner = await self._service.owner_now(listing_id)
                async with self._database.transaction() as tx:
                    await self._service.assign_later(tx, lead_id, owner)
            except Conflict as conflict:
                log.info("lead stays unassigned", lead_id=str(lead_id), reason=conflict.message)
                async with self._database.transaction() as tx:
                    await self._enquiries.ask_again_in(tx, lead_id, PATIENCE_SECONDS)
