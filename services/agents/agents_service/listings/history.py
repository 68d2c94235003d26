"""The SQL of listings' histories: who changed what, from, to, when and why; append-only."""

import uuid
from collections.abc import Collection, Iterable

from sqlalchemy import any_, bindparam, func, insert, select, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from agents_service.listings.domain import Change, Listing
from agents_service.listings.models import listing_history, listings
from agents_service.listings.search import COLUMNS
from chassis.database import Database, Transaction
from chassis.history import rows

# A listing before and after, and which of its fields are told of.
Noted = tuple[Listing, Listing, Collection[str]]

PUBLIC_HISTORY = ("standard_status", "list_price")
# What a listing was before it was one.
NOTHING_YET = Listing(*(None for _ in Listing._fields))  # type: ignore[arg-type]  # No field of it is ever read as such.
# After every id.
LAST = uuid.UUID(int=(1 << 128) - 1)


_CHANGES = (
    select(*(listing_history.c[name] for name in Change._fields))
    .where(
        listing_history.c.listing_id == listings.c.id,
        listing_history.c.field == any_(bindparam("fields", type_=ARRAY(Text))),
        listing_history.c.id < bindparam("before"),
    )
    .order_by(listing_history.c.id.desc())
    .limit(bindparam("limit"))
    .lateral()
)
# A listing without history gives one row of its own, so that one query tells both who may see it and what happened.
_HISTORY = (
    select(*_CHANGES.c, *COLUMNS)
    .select_from(listings.outerjoin(_CHANGES, true()))
    .where(listings.c.id == bindparam("id"))
    .order_by(_CHANGES.c.id.desc())
)
# One statement for all lines, since each costs a round trip.
_NOTED = ("id", "listing_id", "changed_by", "field", "from_value", "to_value", "reason")
_noted = func.unnest(
    *(bindparam(name, type_=ARRAY(listing_history.c[name].type)) for name in _NOTED)
).table_valued(*_NOTED, name="noted")
_NOTE = insert(listing_history).from_select(_NOTED, select(_noted.render_derived()))


async def page(
    database: Database, listing_id: uuid.UUID, *, before: uuid.UUID | None, limit: int
) -> tuple[Listing, list[Change]] | None:
    """The listing, if there is one, and a page of its public history, newest first, beginning after the id `before`."""
    found = await database.fetch(
        _HISTORY,
        {"id": listing_id, "fields": PUBLIC_HISTORY, "before": before or LAST, "limit": limit},
    )
    if not found:
        return None
    width = len(Change._fields)
    changes = [Change._make(tuple(row)[:width]) for row in found if row[0] is not None]
    return Listing._make(tuple(found[0])[width:]), changes


async def note(
    tx: Transaction, changes: Iterable[Noted], changed_by: str, reason: str | None
) -> None:
    """Append what fields were before and after."""
    noted = [
        row
        for before, after, fields in changes
        for row in rows(
            before,
            {field: getattr(after, field) for field in fields},
            changed_by,
            reason,
            listing_id=after.id,
        )
    ]
    if noted:
        await tx.run(_NOTE, {name: [row[name] for row in noted] for name in _NOTED})


def first(listing: Listing) -> Noted:
    """What the first lines of its history tell of a listing that was added."""
    return NOTHING_YET, listing, PUBLIC_HISTORY


async def note_new(
    tx: Transaction, added: Iterable[tuple[Listing, Listing]], added_by: str, reason: str
) -> None:
    """Write the first lines of the histories of listings that were added: as drafts, and then as they are."""
    changes = (
        change
        for draft, listing in added
        for change in (first(draft), (draft, listing, ("standard_status",)))
    )
    await note(tx, changes, added_by, reason)
