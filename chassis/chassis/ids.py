"""Ids: UUIDv7, so that an index over them grows at its end."""

import uuid

from uuid_utils.compat import uuid7


def new_id() -> uuid.UUID:
    """A new id; ids made later sort later, to the millisecond."""
    return uuid7()
