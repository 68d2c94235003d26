"""What an enquiry is, and the lead that it makes."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from crm_service.leads.domain import Owner

TARGET_KINDS = ("listing", "project")


@dataclass(frozen=True, slots=True, kw_only=True)
class Enquiry:
    """What somebody sent. `target_kind` is one of TARGET_KINDS, `phone` in E.164 form."""

    target_kind: str
    target_id: uuid.UUID
    full_name: str
    phone: str
    message: str | None
    source: str | None
    sub_source: str | None
    campaign: str | None
    external_id: str | None

    @property
    def text(self) -> str:
        """What the timeline shows of it."""
        return self.message or "Enquired."

    @property
    def reference(self) -> str | None:
        """What makes it the same enquiry when it comes again."""
        return self.external_id and f"enquiry:{self.external_id}"


@dataclass(frozen=True, slots=True)
class NewLead:
    """The lead that an enquiry makes, unless it adds to one. `due` is when `owner` should have responded."""

    id: uuid.UUID
    enquiry: Enquiry
    owner: Owner | None
    due: datetime
