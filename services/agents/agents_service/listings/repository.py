"""The SQL of listings; that of pages is in search.py."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    any_,
    bindparam,
    delete,
    func,
    insert,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text, Uuid

from agents_service.agents.models import agents
from agents_service.listings.domain import PUBLIC, Change, Listing, Owner, StandardStatus
from agents_service.listings.models import listing_history, listings
from agents_service.listings.search import COLUMNS, Found, Search, statement_of
from chassis.database import Database, Transaction
from chassis.errors import NotFound, StaleVersion
from chassis.ids import new_id

PUBLIC_HISTORY = ("standard_status", "list_price")
NOTHING: Final[Mapping[str, Any]] = {}
# After every id.
LAST = uuid.UUID(int=(1 << 128) - 1)

_GET = select(*COLUMNS).where(listings.c.id == bindparam("id"))
_THOSE = select(*COLUMNS).where(
    listings.c.id == any_(bindparam("ids", type_=ARRAY(Uuid))),
    listings.c.standard_status == any_(bindparam("statuses", type_=ARRAY(Text))),
)
_OWNERS = (
    select(
        listings.c.id,
        listings.c.standard_status,
        agents.c.id,
        agents.c.user_id,
        agents.c.office_id,
        agents.c.status,
        agents.c.member_mobile_phone,
        listings.c.listing_type,
        listings.c.property_type,
        listings.c.bhk,
        listings.c.subdivision_name,
        listings.c.city,
    )
    .join(agents, agents.c.id == listings.c.list_agent_id)
    .where(listings.c.id == any_(bindparam("ids", type_=ARRAY(Uuid))))
)
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


class ListingRepository:
    """Listings in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, listing_id: uuid.UUID) -> Listing:
        """The listing; raises NotFound."""
        row = await self._database.fetch_one(_GET, {"id": listing_id})
        if row is None:
            raise not_found()
        return Listing._make(row)

    async def owners(self, listing_ids: Sequence[uuid.UUID]) -> list[Owner]:
        """Who is to get enquiries about those of the listings that exist, in no particular order."""
        rows = await self._database.fetch(_OWNERS, {"ids": [*listing_ids]})
        return [Owner._make(row) for row in rows]

    async def list_page(self, search: Search) -> list[Found]:
        shape = search.shape
        rows = await self._database.fetch(statement_of(shape), search.parameters, key=shape)
        return [Found._make(row) for row in rows]

    async def those_in(
        self, statuses: Sequence[str], listing_ids: Sequence[uuid.UUID]
    ) -> list[Listing]:
        """Those of `listing_ids` that are in one of `statuses`, in any order."""
        rows = await self._database.fetch(_THOSE, {"ids": listing_ids, "statuses": statuses})
        return [Listing._make(row) for row in rows]

    async def history(
        self, listing_id: uuid.UUID, *, before: uuid.UUID | None, limit: int
    ) -> tuple[Listing, list[Change]]:
        """The listing and a page of its public history, newest first, beginning after the id `before`; raises NotFound."""
        rows = await self._database.fetch(
            _HISTORY,
            {
                "id": listing_id,
                "fields": PUBLIC_HISTORY,
                "before": before or LAST,
                "limit": limit,
            },
        )
        if not rows:
            raise not_found()
        width = len(Change._fields)
        changes = [Change._make(tuple(row)[:width]) for row in rows if row[0] is not None]
        return Listing._make(tuple(rows[0])[width:]), changes

    async def agent_of(self, tx: Transaction, listing_id: uuid.UUID) -> uuid.UUID:
        """The listing's agent, who never changes; raises NotFound."""
        found = await tx.execute(
            select(listings.c.list_agent_id).where(listings.c.id == listing_id)
        )
        agent_id: uuid.UUID | None = found.scalar()
        if agent_id is None:
            raise not_found()
        return agent_id

    async def locked(self, tx: Transaction, listing_id: uuid.UUID) -> Listing:
        """The listing, locked until the transaction ends; raises NotFound."""
        found = await self._locked(tx, listings.c.id == listing_id)
        if not found:
            raise not_found()
        return found[0]

    async def locked_of_agent(
        self, tx: Transaction, agent_id: uuid.UUID, statuses: Iterable[str]
    ) -> list[Listing]:
        """The agent's listings in `statuses`, locked."""
        return await self._locked(
            tx,
            listings.c.list_agent_id == agent_id,
            listings.c.standard_status.in_(statuses),
        )

    async def locked_on_unit(
        self, tx: Transaction, unit_id: uuid.UUID, statuses: Sequence[str]
    ) -> list[Listing]:
        """The listings of the unit in `statuses`, locked."""
        return await self._locked(
            tx, listings.c.unit_id == unit_id, listings.c.standard_status.in_(statuses)
        )

    async def add(self, tx: Transaction, columns: Mapping[str, Any], added_by: str) -> Listing:
        """A new listing, with the first lines of its history."""
        added = await tx.execute(
            insert(listings).values(id=new_id(), **columns).returning(*COLUMNS)
        )
        listing = Listing._make(added.one())
        await _note(tx, [(None, listing)], PUBLIC_HISTORY, added_by, None)
        return listing

    async def change(
        self,
        tx: Transaction,
        before: Sequence[Listing],
        changes: Mapping[str, Any],
        changed_by: str,
        reason: str | None = None,
    ) -> list[Listing]:
        """Write `changes` to listings, which are locked, and to their histories."""
        after = await self._update(tx, before, changes)
        await _note(tx, zip(before, after, strict=True), changes, changed_by, reason)
        return after

    async def move(
        self,
        tx: Transaction,
        before: Sequence[Listing],
        status: str,
        changed_by: str,
        reason: str | None = None,
        *,
        by_unit: bool = False,
        closing: Mapping[str, Any] = NOTHING,
    ) -> list[Listing]:
        """Move listings, which are locked, to `status`, with the price and day of a closing one."""
        columns = {**closing, "standard_status": status, "moved_by_unit": by_unit}
        if status == StandardStatus.ACTIVE:
            columns["on_market_date"] = func.coalesce(listings.c.on_market_date, func.now())
            columns["original_list_price"] = func.coalesce(
                listings.c.original_list_price, listings.c.list_price
            )
        columns["off_market_date"] = (
            None if status in PUBLIC else func.coalesce(listings.c.off_market_date, func.now())
        )
        after = await self._update(tx, before, columns)
        noted = ("standard_status", *closing)
        await _note(tx, zip(before, after, strict=True), noted, changed_by, reason)
        return after

    async def delete(self, tx: Transaction, listing: Listing) -> None:
        """Delete `listing`; its history stays."""
        await tx.execute(delete(listings).where(listings.c.id == listing.id))

    async def _locked(self, tx: Transaction, *conditions: ColumnElement[bool]) -> list[Listing]:
        # In the order of their ids, so that two transactions can't wait for each other.
        found = await tx.execute(
            select(*COLUMNS).where(*conditions).order_by(listings.c.id).with_for_update()
        )
        return [Listing._make(row) for row in found]

    async def _update(
        self, tx: Transaction, before: Sequence[Listing], columns: Mapping[str, Any]
    ) -> list[Listing]:
        """What became of `before`, in its order; raises StaleVersion when one changed since it was read."""
        versions = [(listing.id, listing.version) for listing in before]
        changed = await tx.execute(
            update(listings)
            .where(tuple_(listings.c.id, listings.c.version).in_(versions))
            .values(**columns, version=listings.c.version + 1, updated_at=func.now())
            .returning(*COLUMNS)
        )
        after = {listing.id: listing for listing in map(Listing._make, changed)}
        if len(after) < len(before):
            raise StaleVersion
        return [after[listing.id] for listing in before]


async def _note(
    tx: Transaction,
    changes: Iterable[tuple[Listing | None, Listing]],
    fields: Iterable[str],
    changed_by: str,
    reason: str | None,
) -> None:
    """Append what became of `fields` to the history."""
    rows = [
        {
            "id": new_id(),
            "listing_id": after.id,
            "changed_by": changed_by,
            "field": field,
            "from_value": _text(getattr(before, field)) if before else None,
            "to_value": _text(getattr(after, field)),
            "reason": reason,
        }
        for before, after in changes
        for field in fields
        if before or getattr(after, field) is not None
    ]
    await tx.execute(insert(listing_history), rows)


def not_found() -> NotFound:
    return NotFound("There is no such listing.")


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
