"""The SQL of listings; that of pages is in search.py, that of their histories in history.py."""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import repeat
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    and_,
    any_,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import IntegrityError
from sqlalchemy.types import BigInteger, Text, Uuid

from agents_service.agents.models import agents
from agents_service.listings import history
from agents_service.listings.domain import (
    ON_MARKET,
    PUBLIC,
    Change,
    Duplicate,
    Listing,
    Mover,
    Owner,
    StandardStatus,
    sources,
)
from agents_service.listings.models import (
    LIVE_UNIT,
    account_of,
    listings,
    live,
    price_dropped_at,
    quoted,
)
from agents_service.listings.search import COLUMNS, Found, Search, statement_of
from chassis.database import Database, Transaction
from chassis.errors import AlreadyExists, NotFound, StaleVersion
from chassis.ids import new_id

NOTHING: Final[Mapping[str, Any]] = {}
MOST_DUPLICATES = 20
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
# The rows that are to be written, as they were read.
_AS_READ = select(
    func.unnest(bindparam("ids", type_=ARRAY(Uuid))),
    func.unnest(bindparam("versions", type_=ARRAY(BigInteger))),
)
# Of the same home: what others show the public, and what is live in the office itself.
_mine, _other = listings.alias("mine"), listings.alias("other")
_is_ours = account_of(_mine) == account_of(_other)


def _like(matches: ColumnElement[bool], same_unit: bool, *conditions: ColumnElement[bool]) -> Any:
    columns = (_other.c[name] for name in Duplicate._fields[1:-1])
    return (
        select(_other.c.id, *columns, literal(same_unit).label("same_unit"))
        .join(_mine, matches)
        .where(_mine.c.id == bindparam("id"), _other.c.id != _mine.c.id, live(_other), *conditions)
        .limit(literal_column(str(MOST_DUPLICATES)))
    )


_duplicates = union_all(
    _like(
        _other.c.same_unit == _mine.c.same_unit,
        True,
        case(
            (_is_ours, _other.c.listing_type == _mine.c.listing_type),
            else_=_other.c.standard_status.in_(map(quoted, sorted(PUBLIC))),
        ),
    ),
    _like(
        _other.c.alike == _mine.c.alike,
        False,
        ~_is_ours,
        _other.c.standard_status.in_(map(quoted, sorted(PUBLIC))),
        _other.c.same_unit.is_distinct_from(_mine.c.same_unit),
    ),
).subquery()
_DUPLICATES = (
    select(_duplicates)
    .order_by(_duplicates.c.same_unit.desc())
    .limit(literal_column(str(MOST_DUPLICATES)))
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
        """A page in order; where that is cut off before the page is full, gathered. Words are looked for as they are
        spelt, and give or take a typing error where these do not fill the page.
        """
        way = search.first_way
        while True:
            shape = search.shape(gathered=way.gathered)
            rows = await self._database.fetch(
                statement_of(shape),
                search.parameters(way),
                key=shape,
                planned_anew=way.gathered,
                bitmaps=search.needs_bitmaps,
            )
            found = [Found._make(row) for row in rows]
            cut = any(each.cut for each in found)
            if way.gathered or search.is_answered(len(found), cut=cut):
                return found
            way = search.way_after(way, sum(not each.cut for each in found), search.limit, cut=cut)

    async def those_in(
        self, statuses: Sequence[str], listing_ids: Sequence[uuid.UUID]
    ) -> list[Listing]:
        """Those of `listing_ids` that are in one of `statuses`, in any order."""
        rows = await self._database.fetch(_THOSE, {"ids": listing_ids, "statuses": statuses})
        return [Listing._make(row) for row in rows]

    async def duplicates(self, listing_id: uuid.UUID) -> list[Duplicate]:
        """What may be the same home as the listing, what surely is first, MOST_DUPLICATES at most."""
        rows = await self._database.fetch(_DUPLICATES, {"id": listing_id})
        return [Duplicate._make(row) for row in rows]

    async def history(
        self, listing_id: uuid.UUID, *, before: uuid.UUID | None, limit: int
    ) -> tuple[Listing, list[Change]]:
        """The listing and a page of its public history, newest first, from behind the id `before`; raises NotFound."""
        found = await history.page(self._database, listing_id, before=before, limit=limit)
        if found is None:
            raise not_found()
        return found

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
        self,
        tx: Transaction,
        agent_id: uuid.UUID,
        statuses: Iterable[str],
        limit: int | None = None,
    ) -> list[Listing]:
        """The agent's listings in `statuses`, locked; so many at most."""
        return await self._locked(
            tx,
            listings.c.list_agent_id == agent_id,
            listings.c.standard_status.in_(statuses),
            limit=limit,
        )

    async def locked_beside(
        self, tx: Transaction, agent_id: uuid.UUID, office_id: uuid.UUID
    ) -> list[Listing]:
        """The agent's live listings of homes that the office has a live listing of, locked."""
        ours = (
            select(_other.c.id)
            .where(
                _other.c.same_unit == listings.c.same_unit,
                _other.c.listing_type == listings.c.listing_type,
                _other.c.list_office_id == office_id,
                live(_other),
            )
            .exists()
        )
        return await self._locked(tx, listings.c.list_agent_id == agent_id, live(listings), ours)

    async def locked_of_project(
        self, tx: Transaction, project_id: uuid.UUID, statuses: Sequence[str]
    ) -> list[Listing]:
        """The listings of the project in `statuses`, locked."""
        return await self._locked(
            tx, listings.c.project_id == project_id, listings.c.standard_status.in_(statuses)
        )

    async def due(
        self, tx: Transaction, day: date, limit: int
    ) -> list[tuple[uuid.UUID, uuid.UUID]]:
        """Ids and agents of listings that are to become active by `day`."""
        found = await tx.execute(
            select(listings.c.id, listings.c.list_agent_id)
            .where(_coming_soon(day))
            .order_by(listings.c.activation_date)
            .limit(limit)
        )
        return [(row.id, row.list_agent_id) for row in found]

    async def locked_due(
        self, tx: Transaction, listing_ids: Sequence[uuid.UUID], day: date
    ) -> list[Listing]:
        """Those of the listings that are still to become active by `day`, locked; none that others have locked."""
        return await self._locked(
            tx, listings.c.id.in_(listing_ids), _coming_soon(day), skip_locked=True
        )

    async def locked_past_mandate(self, tx: Transaction, day: date, limit: int) -> list[Listing]:
        """Listings whose mandate ran out before `day`, locked; none that others have locked."""
        over = and_(
            listings.c.standard_status.in_(
                map(quoted, sources(StandardStatus.EXPIRED, Mover.CLOCK))
            ),
            listings.c.expiration_date < day,
        )
        return await self._locked(tx, over, limit=limit, skip_locked=True)

    async def locked_on_unit(
        self, tx: Transaction, unit_id: uuid.UUID, statuses: Sequence[str]
    ) -> list[Listing]:
        """The listings of the unit in `statuses`, locked."""
        return await self._locked(
            tx, listings.c.unit_id == unit_id, listings.c.standard_status.in_(statuses)
        )

    async def add(self, tx: Transaction, columns: Mapping[str, Any], added_by: str) -> Listing:
        """A new listing, with the first lines of its history."""
        with _telling_what_there_is():
            added = await tx.execute(
                insert(listings).values(id=new_id(), **columns).returning(*COLUMNS)
            )
        listing = Listing._make(added.one())
        await history.note(tx, [history.first(listing)], added_by, None)
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
        await history.note(tx, zip(before, after, repeat(changes)), changed_by, reason)
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
        left_at = listings.c.off_market_date
        if status == StandardStatus.ACTIVE:
            away = func.extract("epoch", func.now() - left_at)
            columns["on_market_date"] = func.coalesce(listings.c.on_market_date, func.now())
            columns["off_market_seconds"] = listings.c.off_market_seconds + func.coalesce(
                cast(away, BigInteger), 0
            )
            columns["original_list_price"] = func.coalesce(
                listings.c.original_list_price, listings.c.list_price
            )
        # What was never on the market does not leave it.
        columns["off_market_date"] = (
            None
            if status in ON_MARKET
            else case((listings.c.on_market_date.is_not(None), func.coalesce(left_at, func.now())))
        )
        after = await self._update(tx, before, columns)
        noted = ("standard_status", *closing)
        await history.note(tx, zip(before, after, repeat(noted)), changed_by, reason)
        return after

    async def delete(self, tx: Transaction, listing: Listing) -> None:
        """Delete `listing`; its history stays."""
        await tx.execute(delete(listings).where(listings.c.id == listing.id))

    async def _locked(
        self,
        tx: Transaction,
        *conditions: ColumnElement[bool],
        limit: int | None = None,
        skip_locked: bool = False,
    ) -> list[Listing]:
        # In the order of their ids, so that two transactions can't wait for each other.
        found = await tx.execute(
            select(*COLUMNS)
            .where(*conditions)
            .order_by(listings.c.id)
            .limit(limit)
            .with_for_update(of=listings, skip_locked=skip_locked)
        )
        return [Listing._make(row) for row in found]

    async def _update(
        self, tx: Transaction, before: Sequence[Listing], columns: Mapping[str, Any]
    ) -> list[Listing]:
        """What became of `before`, in its order; raises StaleVersion when one changed since it was read."""
        if columns.get("list_price") is not None:
            columns = {**columns, "price_dropped_at": price_dropped_at(columns["list_price"])}
        with _telling_what_there_is():
            changed = await tx.execute(
                update(listings)
                .where(tuple_(listings.c.id, listings.c.version).in_(_AS_READ))
                .values(**columns, version=listings.c.version + 1, updated_at=func.now())
                .returning(*COLUMNS),
                {
                    "ids": [listing.id for listing in before],
                    "versions": [listing.version for listing in before],
                },
            )
        after = {listing.id: listing for listing in map(Listing._make, changed)}
        if len(after) < len(before):
            raise StaleVersion
        return [after[listing.id] for listing in before]


@contextmanager
def _telling_what_there_is() -> Iterator[None]:
    """Raises AlreadyExists for what there may be one of and is."""
    try:
        yield
    except IntegrityError as error:
        name = getattr(error.driver_exception, "constraint_name", None)
        if name == LIVE_UNIT:
            raise AlreadyExists(
                "Your office has a live listing of this home: take that one off the market first. Its duplicates name it."
            ) from error
        if name == "listings_relist_of_key":
            raise AlreadyExists("The listing was listed again already.") from error
        raise


def _coming_soon(day: date) -> ColumnElement[bool]:
    return and_(
        listings.c.standard_status == quoted(StandardStatus.COMING_SOON),
        listings.c.activation_date <= day,
    )


def not_found() -> NotFound:
    return NotFound("There is no such listing.")
