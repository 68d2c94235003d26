"""Enquiries that come at the same time, stored in one transaction: it costs about the same for one and for twenty."""

import uuid
from collections.abc import Mapping, Sequence

from chassis.coalesce import Coalescer
from chassis.database import Database
from chassis.errors import DeadlineExceeded
from crm_service.enquiries.domain import Enquiry
from crm_service.enquiries.service import Draft, EnquiryService
from crm_service.leads.domain import Owner

SECONDS = 10.0


class EnquiryBatches:
    """Opens the transactions of enquiries that nothing is known about yet."""

    def __init__(self, database: Database, service: EnquiryService) -> None:
        self._database = database
        self._service = service
        self._together: Coalescer[Draft, uuid.UUID] = Coalescer(
            "enquiries", self._add, seconds=SECONDS, in_flight=1
        )

    async def add(self, enquiry: Enquiry, owner: Owner | None) -> uuid.UUID | None:
        """The new lead of `enquiry`; None when it made none, because there is one or because its owner is suspended.

        Raises DeadlineExceeded when there was no time left to wait for it.
        """
        try:
            return await self._together.get(self._service.draft(enquiry, owner))
        except TimeoutError as error:
            raise DeadlineExceeded("It took too long: try again.") from error

    async def _add(self, drafts: Sequence[Draft]) -> Mapping[Draft, uuid.UUID]:
        async with self._database.transaction() as tx:
            added = await self._service.add(tx, drafts)
        return {draft: draft.lead.id for draft in added}
