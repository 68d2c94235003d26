"""The SQL of saved searches and their matches."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import (
    BigInteger,
    Text,
    Uuid,
    any_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from agents_service.listings.models import listings
from agents_service.saved_searches.domain import (
    Candidate,
    Home,
    Match,
    News,
    Offer,
    Reason,
    SavedSearch,
    anchors_of,
)
from agents_service.saved_searches.models import matches, offers, saved_searches
from agents_service.search.models import places
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
    "city": listings.c.city_key,
    "subdivision_name": listings.c.subdivision_key,
    "builder_id": select(places.c.builder_id)
    .where(places.c.reference_id == listings.c.project_id)
    .limit(1)
    .scalar_subquery(),
    "location": case(
        (listings.c.location.is_not(None), literal_column("array[location[0], location[1]]"))
    ),
}
# Those that wait longest, each listing once: as it is now, if it is active still.
_TAKE_OFFERS = (
    delete(offers)
    .where(
        offers.c.id.in_(
            select(offers.c.id)
            .order_by(offers.c.id)
            .limit(bindparam("limit"))
            .with_for_update(skip_locked=True)
        )
    )
    .returning(offers.c.listing_id, offers.c.reason)
)
_HOMES = select(
    *(_SPECIAL.get(name, listings.c.get(name)).label(name) for name in Home._fields)
).where(
    listings.c.id == any_(bindparam("ids", type_=ARRAY(Uuid))),
    listings.c.standard_status == "active",
)

_OFFERED = """
    with offer as materialized (
        select * from unnest(:listing_ids, :list_prices, :reasons, :anchors)
            as offer (listing_id, list_price, reason, anchors)
    )"""
_WANTING = """
    alert <> 'off' and anchors && string_to_array(offer.anchors, chr(10))
        and (price_min is null or price_min <= list_price)
        and (price_max is null or price_max >= list_price)
    """
_OFFER_PARAMETERS = (
    bindparam("listing_ids", type_=ARRAY(Uuid)),
    bindparam("list_prices", type_=ARRAY(BigInteger)),
    bindparam("reasons", type_=ARRAY(Text)),
    bindparam("anchors", type_=ARRAY(Text)),
)

# For each home, whatever the planner knows, the searches are found by their anchors. What they want is read quicker as
# text.
_CANDIDATES = text(f"""
    {_OFFERED}
    select listing_id, search.id, search.wanted::text
    from offer, lateral (select id, wanted from saved_searches where {_WANTING} and not exact) search
    """).bindparams(*_OFFER_PARAMETERS)  # noqa: S608  Its parts are those above.


# As `listings.conditions.has_word` has it.
_HAVING = text("""
    select id, word from unnest(:ids, :words) as asked (id, word) join listings using (id)
    where search_text %> fold(word)
    """).bindparams(bindparam("ids", type_=ARRAY(Uuid)), bindparam("words", type_=ARRAY(Text)))


def _matches(*, continued: bool) -> Any:
    here = tuple_(matches.c.matched_at, matches.c.listing_id)
    found = select(*(matches.c[name] for name in Match._fields)).where(
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


# The exact ones are found here, the others were. What is told at once counts as told. Searches may be deleted
# meanwhile: those that are left stay until this is committed, and are locked in one order. So are matches noted, of
# which others may note the same.
_NOTE = text(f"""
    {_OFFERED}, found as materialized (
        select search.id, listing_id
        from offer, lateral (select id from saved_searches where {_WANTING} and exact) search
        union all
        select * from unnest(:ids, :found) as found (id, listing_id)
    ), owned as materialized (
        select id, user_id, name, alert from saved_searches
        where id in (select id from found) and alert <> 'off'
        order by id for key share
    ), noted as (
        insert into saved_search_matches as known
            (saved_search_id, listing_id, list_price, reason, told_at)
        select id, listing_id, list_price, reason, case when alert = 'instant' then now() end
        from found join owned using (id) join offer using (listing_id)
        order by id, listing_id
        on conflict (saved_search_id, listing_id) do update
            set list_price = excluded.list_price, reason = 'cheaper', matched_at = now(), told_at = excluded.told_at
            where known.list_price > excluded.list_price
        returning saved_search_id, listing_id
    )
    select id, user_id, name, array_agg(listing_id order by listing_id)
    from noted join owned on id = saved_search_id
    where alert = 'instant'
    group by id, user_id, name
    """).bindparams(  # noqa: S608  Its parts are those above.
    *_OFFER_PARAMETERS,
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("found", type_=ARRAY(Uuid)),
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
        """Delete a saved search, which is locked, and its matches."""
        await self._delete(tx, [search.id])

    async def delete_all(self, tx: Transaction, user_id: uuid.UUID) -> None:
        """Forget what a user looks for."""
        # Locked in the order in which those that match are.
        hers = await tx.execute(
            select(saved_searches.c.id)
            .where(saved_searches.c.user_id == user_id)
            .order_by(saved_searches.c.id)
            .with_for_update()
        )
        await self._delete(tx, [row.id for row in hers])

    async def _delete(self, tx: Transaction, ids: Sequence[uuid.UUID]) -> None:
        await tx.execute(delete(matches).where(matches.c.saved_search_id.in_(ids)))
        await tx.execute(delete(saved_searches).where(saved_searches.c.id.in_(ids)))

    async def seen(self, tx: Transaction, saved_search_id: uuid.UUID, until: datetime) -> None:
        """The matches of a search until then were seen, as those were that were before."""
        await tx.execute(
            update(saved_searches)
            .where(saved_searches.c.id == saved_search_id)
            .values(seen_until=func.greatest(saved_searches.c.seen_until, until))
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

    async def offer(self, tx: Transaction, listing_id: uuid.UUID, reason: Reason) -> None:
        """The listing waits to be matched."""
        await tx.execute(insert(offers).values(listing_id=listing_id, reason=reason))

    async def take_offers(self, tx: Transaction, limit: int) -> tuple[int, list[Offer]]:
        """Take so many offers that wait: how many there were, and the homes that are active still, each once."""
        taken = (await tx.execute(_TAKE_OFFERS, {"limit": limit})).all()
        reasons: dict[uuid.UUID, Reason] = {}
        for offer in taken:
            if reasons.get(offer.listing_id) is not Reason.NEW:
                reasons[offer.listing_id] = Reason(offer.reason)
        rows = await tx.run(_HOMES, {"ids": [*reasons]}) if reasons else []
        homes = map(Home._make, rows)
        return len(taken), [Offer(home, reasons[home.id]) for home in homes]

    async def candidates(
        self, tx: Transaction, offers: Sequence[Offer]
    ) -> list[tuple[Candidate, Offer]]:
        """The searches that may want one of `offers`, and want more of it than what they are found by and a price."""
        rows = await tx.run(_CANDIDATES, _parameters(offers))
        by_id = {offer.home.id: offer for offer in offers}
        return [
            (Candidate(search_id, orjson.loads(wanted)), by_id[listing_id])
            for listing_id, search_id, wanted in rows
        ]

    async def having(
        self, tx: Transaction, asked: Collection[tuple[uuid.UUID, str]]
    ) -> set[tuple[uuid.UUID, str]]:
        """Of these listings, each with a word, those that have it, give or take a typing error."""
        ids, words = zip(*asked, strict=True)
        rows = await tx.run(_HAVING, {"ids": [*ids], "words": [*words]})
        return {(listing_id, word) for listing_id, word in rows}

    async def note(
        self, tx: Transaction, offers: Sequence[Offer], found: Sequence[tuple[uuid.UUID, uuid.UUID]]
    ) -> list[News]:
        """Note which searches want which of `offers`: those `found`, by their ids, and those that are exact.

        Whose owners are to be told of it now: of each home once at a price.
        """
        ids = {"ids": [search_id for search_id, _ in found], "found": [home for _, home in found]}
        rows = await tx.run(_NOTE, _parameters(offers) | ids)
        return [News._make(row) for row in rows]

    async def morning(self, tx: Transaction, until: datetime, most: int) -> list[News]:
        """So many of the matches before `until` that nobody was told of, by their searches; they count as told then."""
        rows = await tx.execute(_MORNING, {"until": until, "most": most})
        return [News._make(row) for row in rows]


def _parameters(offers: Sequence[Offer]) -> dict[str, Any]:
    return {
        "listing_ids": [offer.home.id for offer in offers],
        "list_prices": [offer.home.list_price for offer in offers],
        "reasons": [offer.reason for offer in offers],
        "anchors": ["\n".join(anchors_of(offer.home)) for offer in offers],
    }


def _existing(row: Any) -> SavedSearch:
    if row is None:
        raise NotFound("There is no such saved search.")
    return SavedSearch._make(row)
