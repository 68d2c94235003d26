"""The SQL of saved searches and their matches."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Text,
    Uuid,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from agents_service.listings.models import listings
from agents_service.saved_searches.domain import (
    Alert,
    Candidate,
    Home,
    Match,
    SavedSearch,
    Told,
)
from agents_service.saved_searches.models import matches, saved_searches
from chassis.database import Database, Transaction
from chassis.errors import NotFound, StaleVersion
from chassis.ids import new_id

_COLUMNS = tuple(saved_searches.c[name] for name in SavedSearch._fields)
_GET = select(*_COLUMNS).where(
    saved_searches.c.id == bindparam("id"), saved_searches.c.user_id == bindparam("user_id")
)
_OWN = (
    select(*_COLUMNS)
    .where(
        saved_searches.c.user_id == bindparam("user_id"),
        saved_searches.c.id < bindparam("before"),
    )
    .order_by(saved_searches.c.id.desc())
    .limit(bindparam("limit"))
)
# After every id.
_LAST = uuid.UUID(int=(1 << 128) - 1)

_SPECIAL: Mapping[str, Any] = {
    "city": func.lower(listings.c.city),
    "subdivision_name": func.lower(listings.c.subdivision_name),
    "has_media": cast(listings.c.media, Text) != "[]",
    "location": case(
        (listings.c.location.is_not(None), literal_column("array[location[0], location[1]]"))
    ),
}
_OFFERED = select(
    *(_SPECIAL.get(name, listings.c.get(name)).label(name) for name in Home._fields)
).where(listings.c.id == bindparam("id"), listings.c.standard_status == "active")

# Whatever the planner knows of them, the searches are found by their anchors.
_CANDIDATES = select(*(saved_searches.c[name] for name in Candidate._fields)).where(
    saved_searches.c.alert != literal_column(f"'{Alert.OFF}'"),
    saved_searches.c.anchors.overlap(bindparam("anchors", type_=ARRAY(Text))),
    or_(saved_searches.c.price_min.is_(None), saved_searches.c.price_min <= bindparam("price")),
    or_(saved_searches.c.price_max.is_(None), saved_searches.c.price_max >= bindparam("price")),
)


def _matches(*, continued: bool) -> Any:
    here = tuple_(matches.c.matched_at, matches.c.listing_id)
    found = select(matches.c.listing_id, matches.c.matched_at).where(
        matches.c.saved_search_id == bindparam("id")
    )
    if continued:
        found = found.where(
            here
            < tuple_(
                bindparam("matched_at", type_=matches.c.matched_at.type),
                bindparam("listing_id", type_=matches.c.listing_id.type),
            )
        )
    return found.order_by(matches.c.matched_at.desc(), matches.c.listing_id.desc()).limit(
        bindparam("limit")
    )


_MATCHES, _MORE_MATCHES = _matches(continued=False), _matches(continued=True)

# The searches of a morning, so many at a time; what belongs to each is told at once.
_MORNING = text("""
    with due as (
        select saved_search_id from saved_search_matches
        where told_at is null and matched_at < :until
        order by matched_at limit :most
    ), owned as (
        select id, user_id, name from saved_searches
        where id in (select saved_search_id from due) order by id
        for update skip locked
    ), told as (
        update saved_search_matches set told_at = now()
        from owned
        where saved_search_id = owned.id and told_at is null and matched_at < :until
        returning saved_search_id, listing_id
    )
    select owned.id, owned.user_id, owned.name, array_agg(told.listing_id order by told.listing_id) as listing_ids
    from owned join told on told.saved_search_id = owned.id
    group by owned.id, owned.user_id, owned.name
    """).bindparams(bindparam("until", type_=matches.c.matched_at.type))


# What is told at once counts as told. A search may have been deleted meanwhile.
_NOTE = text("""
    insert into saved_search_matches as known (saved_search_id, listing_id, list_price, told_at)
    select found.id, :listing_id, :list_price, case when at_once then now() end
    from unnest(:ids, :at_once) as found (id, at_once)
        join saved_searches on saved_searches.id = found.id
    order by found.id
    on conflict (saved_search_id, listing_id) do update
        set list_price = excluded.list_price, matched_at = now(), told_at = excluded.told_at
        where known.list_price > excluded.list_price
    returning saved_search_id
    """).bindparams(
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("at_once", type_=ARRAY(Boolean)),
    bindparam("listing_id", type_=Uuid()),
    bindparam("list_price", type_=BigInteger()),
)


class SavedSearchRepository:
    """Saved searches in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, user_id: uuid.UUID, saved_search_id: uuid.UUID) -> SavedSearch:
        """The saved search, if it is the user's; raises NotFound."""
        row = await self._database.fetch_one(_GET, {"id": saved_search_id, "user_id": user_id})
        return _existing(row)

    async def list_page(
        self, user_id: uuid.UUID, *, before: uuid.UUID | None, limit: int
    ) -> list[SavedSearch]:
        """The user's, newest first, beginning after the id `before`."""
        rows = await self._database.fetch(
            _OWN, {"user_id": user_id, "before": before or _LAST, "limit": limit}
        )
        return [SavedSearch._make(row) for row in rows]

    async def count(self, tx: Transaction, user_id: uuid.UUID) -> int:
        """How many the user has; until the transaction ends she gets no others."""
        await tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(str(user_id), 0))))
        found = await tx.execute(select(func.count()).where(saved_searches.c.user_id == user_id))
        return int(found.scalar_one())

    async def locked(
        self, tx: Transaction, user_id: uuid.UUID, saved_search_id: uuid.UUID
    ) -> SavedSearch:
        """The saved search, if it is the user's, locked until the transaction ends; raises NotFound."""
        found = await tx.execute(
            _GET.with_for_update(), {"id": saved_search_id, "user_id": user_id}
        )
        return _existing(found.first())

    async def add(self, tx: Transaction, columns: Mapping[str, Any]) -> SavedSearch:
        added = await tx.execute(
            insert(saved_searches).values(id=new_id(), **columns).returning(*_COLUMNS)
        )
        return SavedSearch._make(added.one())

    async def change(
        self, tx: Transaction, search: SavedSearch, changes: Mapping[str, Any]
    ) -> SavedSearch:
        """Write `changes` to a saved search, which is locked; raises StaleVersion when it changed since it was read."""
        changed = await tx.execute(
            update(saved_searches)
            .where(saved_searches.c.id == search.id, saved_searches.c.version == search.version)
            .values(**changes, version=saved_searches.c.version + 1, updated_at=func.now())
            .returning(*_COLUMNS)
        )
        row = changed.first()
        if row is None:
            raise StaleVersion
        return SavedSearch._make(row)

    async def delete(self, tx: Transaction, search: SavedSearch) -> None:
        """Delete a saved search and its matches."""
        await tx.execute(delete(saved_searches).where(saved_searches.c.id == search.id))

    async def delete_all(self, tx: Transaction, user_id: uuid.UUID) -> None:
        """Forget what a user looks for."""
        await tx.execute(delete(saved_searches).where(saved_searches.c.user_id == user_id))

    async def silence(self, tx: Transaction, user_id: uuid.UUID) -> None:
        """Tell a user of no more matches."""
        await tx.execute(
            update(saved_searches)
            .where(saved_searches.c.user_id == user_id, saved_searches.c.alert != Alert.OFF)
            .values(alert=Alert.OFF, version=saved_searches.c.version + 1, updated_at=func.now())
        )

    async def matches(
        self, saved_search_id: uuid.UUID, *, after: tuple[datetime, uuid.UUID] | None, limit: int
    ) -> list[Match]:
        """A page of matches, the last first."""
        matched_at, listing_id = after or (None, None)
        rows = await self._database.fetch(
            _MORE_MATCHES if after else _MATCHES,
            {
                "id": saved_search_id,
                "matched_at": matched_at,
                "listing_id": listing_id,
                "limit": limit,
            },
        )
        return [Match._make(row) for row in rows]

    async def offered(self, tx: Transaction, listing_id: uuid.UUID) -> Home | None:
        """The listing, if it is active now."""
        rows = await tx.run(_OFFERED, {"id": listing_id})
        return Home._make(rows[0]) if rows else None

    async def candidates(
        self, tx: Transaction, anchors: Sequence[str], price: int
    ) -> list[Candidate]:
        """The searches found by any of `anchors` that want something of this price."""
        rows = await tx.execute(_CANDIDATES, {"anchors": anchors, "price": price})
        return [Candidate._make(row) for row in rows]

    async def match(
        self, tx: Transaction, home: Home, found: Sequence[Candidate]
    ) -> set[uuid.UUID]:
        """Note that `home` matched those that were found; which of them have not heard of it at this price."""
        rows = await tx.run(
            _NOTE,
            {
                "ids": [each.id for each in found],
                "at_once": [each.alert == Alert.INSTANT for each in found],
                "listing_id": home.id,
                "list_price": home.list_price,
            },
        )
        return {row[0] for row in rows}

    async def morning(self, tx: Transaction, until: datetime, most: int) -> list[Told]:
        """Of the matches before `until` that nobody was told of, so many, by their searches; they count as told then."""
        rows = await tx.execute(_MORNING, {"until": until, "most": most})
        return [Told._make(row) for row in rows]


def _existing(row: Any) -> SavedSearch:
    if row is None:
        raise NotFound("There is no such saved search.")
    return SavedSearch._make(row)
