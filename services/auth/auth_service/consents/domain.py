"""What a person agreed to have done with her data, and how it is told what for."""

import uuid
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """A consent to `purpose` by `channel`, as the notice of `notice_version` told it; live until it is withdrawn."""

    id: uuid.UUID
    user_id: uuid.UUID
    purpose: str
    channel: str
    notice_version: str
    granted_at: datetime
    withdrawn_at: datetime | None
