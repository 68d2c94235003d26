"""The rows of an append-only history: who changed what, from, to and why. Each service has its own tables for them."""

from collections.abc import Mapping
from typing import Any

import orjson

from chassis.ids import new_id


def rows(
    before: Any, changes: Mapping[str, Any], changed_by: str, reason: str | None, **of: Any
) -> list[dict[str, Any]]:
    """A row for each of the `changes` to what was `before`, with the column `of` that says whose history it is.

    What stays as it was is no change.
    """
    return [
        {
            "id": new_id(),
            **of,
            "changed_by": changed_by,
            "field": field,
            "from_value": _text(getattr(before, field)),
            "to_value": _text(value),
            "reason": reason,
        }
        for field, value in changes.items()
        if getattr(before, field) != value
    ]


def _text(value: Any) -> str | None:
    """Words as they are, whatever else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value, default=str).decode().strip('"')
