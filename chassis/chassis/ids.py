"""Ids: UUIDv7, so that an index over them grows at its end."""

import uuid
from datetime import datetime

from uuid_utils.compat import uuid7


def new_id() -> uuid.UUID:
    """A new id; ids made later sort later, to the millisecond."""
    return uuid7()


def first_id(moment: datetime) -> uuid.UUID:
    """What is not above any id made at `moment`, to the millisecond, or later."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return uuid.UUID(bytes=milliseconds.to_bytes(6, "big") + b"\x70" + bytes(9))
