"""The SQL of what surrounds a search: places, counts, clusters, likeness. That of pages is in listings/search.py."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Double,
    Select,
    Text,
    Uuid,
    any_,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY

from agents_service.listings.search import Found, Search, Shape, statement_of
from agents_service.search.domain import PRICE_BANDS, Place, names_of_cities
from agents_service.search.models import places
from chassis.database import Database, Transaction
from chassis.errors import NotFound

# How many listings are looked at to find those like one, and how many are shown.
NEIGHBOURS, MOST_SIMILAR = 1_000, 12
SUGGESTIONS = 10
# What a window found so much of is a fair sample of the rest; of what it found less, there is little enough to gather.
FAIR_SAMPLE = 50
# A map with more is no map.
MOST_CLUSTERS = 1_000

_PLACE = tuple(places.c[name] for name in Place._fields)
# The trigrams find what is at all alike; how much so, the domain judges.
_said = (
    func.unnest(bindparam("phrases", type_=ARRAY(Text)))
    .table_valued("phrase", name="said")
    .render_derived()
)
_NAMED = select(*_PLACE).where(places.c.folded == any_(bindparam("phrases", type_=ARRAY(Text))))
_NEARLY_NAMED = (
    select(*_PLACE)
    .select_from(_said.join(places, places.c.folded.op("%")(_said.c.phrase)))
    .distinct()
)
_PROJECTS = select(places.c.reference_id).where(
    places.c.kind == "project",
    places.c.builder_id == any_(bindparam("builder_ids", type_=ARRAY(Uuid))),
)


_NAME = insert(places).values(
    kind=bindparam("kind"),
    folded=func.fold_name(bindparam("name")),
    name=bindparam("name"),
    city=bindparam("city"),
    reference_id=bindparam("reference_id"),
    builder_id=bindparam("builder_id"),
)


def _named(kind: str, reference_id: uuid.UUID, name: str) -> dict[str, Any]:
    return {"kind": kind, "reference_id": reference_id, "name": name}


def _suggested(*, of_city: bool) -> Select[Any]:
    """Names that begin so, and those that are nearly so, each once."""
    typed = func.fold_name(bindparam("typed", type_=Text))
    begins = select(*_PLACE, literal_column("1.0").label("likeness")).where(
        places.c.folded.like(bindparam("beginning", type_=Text))
    )
    alike = select(*_PLACE, func.similarity(places.c.folded, typed).label("likeness")).where(
        places.c.folded.op("%")(typed)
    )
    branches = [begins, alike]
    if of_city:
        cities = any_(bindparam("cities", type_=ARRAY(Text)))
        branches = [branch.where(func.lower(places.c.city) == cities) for branch in branches]
    branches = [
        branch.order_by(
            literal_column("likeness").desc() if at else places.c.listings.desc()
        ).limit(3 * SUGGESTIONS)
        for at, branch in enumerate(branches)
    ]
    found = union_all(*(select(branch.subquery()) for branch in branches)).subquery("found")
    columns = [found.c[name] for name in Place._fields]
    best = func.max(found.c.likeness)
    return (
        select(*columns)
        .group_by(*columns)
        .order_by(best.desc(), found.c.listings.desc(), found.c.name, found.c.city)
        .limit(3 * SUGGESTIONS)
    )


_SUGGESTED, _SUGGESTED_IN_CITY = _suggested(of_city=False), _suggested(of_city=True)

# Localities and cities are those that listings stand in. They are counted anew, whoever wrote the listings.
_COUNT = text("""
    with counted as materialized (
        select min(subdivision_name) as locality, min(city) as city, count(*) as listings
        from listings
        where standard_status = 'active' and city is not null
        group by lower(city), lower(subdivision_name)
    ), named (kind, folded, name, city, listings) as (
        select 'locality', fold_name(locality), locality, city, listings
        from counted where locality is not null
        union all
        select 'city', fold_name(min(city)), min(city), '', sum(listings)
        from counted group by lower(city)
        union all
        select 'city', alias.folded, min(city), '', sum(listings)
        from counted join unnest(:folded, :names) as alias (folded, name)
            on lower(city) in (lower(alias.name), alias.folded)
        where lower(city) <> alias.folded
        group by alias.folded
    ), written as (
        insert into places (kind, folded, name, city, listings)
        select kind, folded, min(name), city, sum(listings) from named group by kind, folded, city
        on conflict on constraint places_name do update
            set listings = excluded.listings, name = excluded.name
            where (places.listings, places.name) is distinct from (excluded.listings, excluded.name)
        returning 1
    ), emptied as (
        update places set listings = 0
        where listings > 0 and kind in ('city', 'locality') and not exists (
            select from named
            where (named.kind, named.folded, named.city) = (places.kind, places.folded, places.city)
        )
        returning 1
    )
    select (select count(*) from written) + (select count(*) from emptied)
    """).bindparams(bindparam("folded", type_=ARRAY(Text)), bindparam("names", type_=ARRAY(Text)))

# Like it are those near it, of its type and kind. A kilometre away counts as a fifth of the price or of the area.
_NEIGHBOURS = text("""
    with wanted as (
        select * from listings
        where id = :id
            and standard_status in ('coming_soon', 'active', 'active_under_contract', 'pending')
    ), near as materialized (
        select near.*, (near.location <-> wanted.location)
            / 1000 * cos(radians(wanted.latitude)) as kilometres
        from wanted, lateral (
            select * from listings where location is not null
            order by location <-> wanted.location limit :neighbours
        ) near
        where wanted.location is not null
        union all
        select near.*, 0
        from wanted, lateral (
            select * from listings
            where subdivision_key = wanted.subdivision_key
                and standard_status = 'active' and listing_type = wanted.listing_type
            order by newest_key desc, id desc limit :neighbours
        ) near
        where wanted.location is null and near.city_key = wanted.city_key
    )
    select near.id, likeness as order_key, false as cut, near.version
    from wanted left join near on near.id <> wanted.id
        and near.standard_status = 'active'
        and near.listing_type = wanted.listing_type
        and near.property_type = wanted.property_type
        and near.list_price between wanted.list_price * 0.6 and wanted.list_price * 1.6
        and coalesce(abs(near.bhk - wanted.bhk), 0) <= 1, lateral (
        select coalesce(kilometres, 0)
            + 5 * abs(ln(near.list_price::float / nullif(wanted.list_price, 0)))
            + 5 * coalesce(abs(ln(near.carpet_area::float / wanted.carpet_area)), 0.2)
            + coalesce(abs(near.bhk - wanted.bhk), 1) as likeness
    ) likeness
    order by likeness, near.id
    limit :most
    """).bindparams(bindparam("id", type_=Uuid()), neighbours=NEIGHBOURS, most=MOST_SIMILAR)


class Counts(NamedTuple):
    """How many listings have a value, by facet: a price band is its number. Of how many, and whether there are more."""

    of: Mapping[str, Sequence[tuple[str, int]]]
    total: int
    capped: bool


class Cluster(NamedTuple):
    """Listings together on the map: their middle on it, their number, least price and, of one alone, its id."""

    x: float
    y: float
    listings: int
    price_min: int
    listing_id: str


@lru_cache(maxsize=500)
def _facets_of(shape: Shape) -> Select[Any]:
    """A row for each value of each facet."""
    sample = statement_of(shape, "subdivision_name", "bhk", "price_key", "property_type").cte(
        "sample"
    )
    bands = bindparam("bands", type_=ARRAY(BigInteger))
    # However people write a locality's name, it is one locality, and goes by the same spelling as its place.
    facets = {
        "locality": sample.c.subdivision_name,
        "bhk": sample.c.bhk,
        "band": func.width_bucket(sample.c.price_key, bands),
        "property_type": sample.c.property_type,
    }
    # Each counts the sample anew, which costs less than to make a row of each value of each listing.
    counts = union_all(
        *(
            select(
                literal_column(f"'{facet}'", Text).label("facet"),
                cast(func.min(value), Text).label("value"),
                func.count().filter(~sample.c.cut).label("listings"),
            )
            .where(value.is_not(None))
            .group_by(func.lower(value) if facet == "locality" else value)
            for facet, value in facets.items()
        )
    ).subquery("counts")
    return select(counts, *_of_all(sample)).order_by(counts.c.listings.desc(), counts.c.value)


@lru_cache(maxsize=500)
def _clusters_of(shape: Shape) -> Select[Any]:
    """A row for each cell of the map that holds listings, the fullest first."""
    sample = statement_of(shape, "location", "price_key").cte("sample")
    x, y = (literal_column(f"sample.location[{axis}]", Double) for axis in (0, 1))
    cell = bindparam("cell", type_=Double)
    shown = ~sample.c.cut
    counted = func.count().filter(shown)
    return (
        select(
            func.avg(x).label("x"),
            func.avg(y).label("y"),
            counted.label("listings"),
            func.min(sample.c.price_key).label("price_min"),
            func.min(cast(sample.c.id, Text)).filter(shown).label("listing_id"),
            *_of_all(sample),
        )
        .group_by(func.floor(x / cell), func.floor(y / cell))
        .order_by(counted.desc(), func.min(cast(sample.c.id, Text)))
        .limit(MOST_CLUSTERS)
    )


def _of_all(sample: Any) -> tuple[Any, Any]:
    """How many listings are in the sample, and whether it was cut off, in every row."""
    total = select(func.count().filter(~sample.c.cut)).select_from(sample)
    cut = select(func.coalesce(func.bool_or(sample.c.cut), False)).select_from(sample)
    return total.scalar_subquery().label("total"), cut.scalar_subquery().label("cut")


class SearchRepository:
    """Places, counts and clusters in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def named(self, phrases: Sequence[str], *, nearly: bool) -> list[Place]:
        """All places whose name is one of `phrases`, which are folded, or is at all like one."""
        statement = _NEARLY_NAMED if nearly else _NAMED
        rows = await self._database.fetch(statement, {"phrases": phrases})
        return [Place._make(row) for row in rows]

    async def projects_of(self, builder_ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
        """The projects of builders."""
        rows = await self._database.fetch(_PROJECTS, {"builder_ids": builder_ids})
        return [row[0] for row in rows]

    async def suggested(self, typed: str, cities: Sequence[str]) -> list[Place]:
        """Places whose name begins with what was typed, folded, or is nearly it; in `cities` unless that is empty."""
        beginning = typed.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        rows = await self._database.fetch(
            _SUGGESTED_IN_CITY if cities else _SUGGESTED,
            {"typed": typed, "beginning": beginning, "cities": cities},
        )
        return [Place._make(row) for row in rows]

    async def count_places(self, tx: Transaction) -> None:
        """Bring places up to date with the listings that are active."""
        aliases = [*names_of_cities()]
        await tx.execute(
            _COUNT,
            {"folded": [alias for alias, _ in aliases], "names": [name for _, name in aliases]},
        )

    async def name_project(
        self, tx: Transaction, project_id: uuid.UUID, builder_id: uuid.UUID, name: str, city: str
    ) -> None:
        """The project is found by this name and no other."""
        await self.forget(tx, project_id)
        await tx.execute(
            _NAME, {**_named("project", project_id, name), "city": city, "builder_id": builder_id}
        )

    async def name_builder(self, tx: Transaction, builder_id: uuid.UUID, name: str) -> None:
        """The builder is found by this name and no other, if any of its projects is found."""
        await self.forget(tx, builder_id)
        if await self._has_projects(tx, builder_id):
            await tx.execute(
                _NAME, {**_named("builder", builder_id, name), "city": "", "builder_id": None}
            )

    async def is_named(self, tx: Transaction, reference_id: uuid.UUID) -> bool:
        """Whether a project or builder is found by a name."""
        found = await tx.execute(select(places.c.id).where(places.c.reference_id == reference_id))
        return found.first() is not None

    async def forget(self, tx: Transaction, reference_id: uuid.UUID) -> None:
        """A project or builder is found by no name."""
        await tx.execute(delete(places).where(places.c.reference_id == reference_id))

    async def forget_project(
        self, tx: Transaction, project_id: uuid.UUID, builder_id: uuid.UUID
    ) -> None:
        """A project is found by no name, nor is its builder, if that was its last."""
        await self.forget(tx, project_id)
        if not await self._has_projects(tx, builder_id):
            await self.forget(tx, builder_id)

    async def _has_projects(self, tx: Transaction, builder_id: uuid.UUID) -> bool:
        found = await tx.execute(
            select(places.c.id).where(places.c.builder_id == builder_id).limit(1)
        )
        return found.first() is not None

    async def similar(self, listing_id: uuid.UUID) -> list[Found]:
        """The listings most like a public one, the likest first; raises NotFound."""
        rows = await self._database.fetch(_NEIGHBOURS, {"id": listing_id})
        if not rows:
            raise NotFound("There is no such listing.")
        return [Found._make(row) for row in rows if row["id"] is not None]

    async def facets(self, search: Search) -> Counts:
        """How many of what `search` finds have which values, the most frequent first."""
        rows, capped = await self._sampled(search, _facets_of, {"bands": [*PRICE_BANDS]})
        counts: dict[str, list[tuple[str, int]]] = {}
        for row in rows:
            if row["listings"]:
                counts.setdefault(row["facet"], []).append((row["value"], row["listings"]))
        return Counts(counts, rows[0]["total"] if rows else 0, capped)

    async def clusters(self, search: Search, cell: float) -> tuple[list[Cluster], bool]:
        """What `search` finds, by cells of the map that are so wide; and whether there is more than that."""
        rows, capped = await self._sampled(search, _clusters_of, {"cell": cell})
        clusters = (Cluster._make([row[name] for name in Cluster._fields]) for row in rows)
        return [cluster for cluster in clusters if cluster.listings], capped

    async def _sampled(
        self,
        search: Search,
        statement: Callable[[Shape], Select[Any]],
        parameters: Mapping[str, Any],
    ) -> tuple[list[Any], bool]:
        way = search.first_way
        while True:
            shape = search.shape(gathered=way.gathered)
            rows = await self._database.fetch(
                statement(shape),
                {**search.parameters(way), **parameters},
                key=(statement.__name__, shape),
                planned_anew=way.gathered,
                bitmaps=search.needs_bitmaps,
            )
            total, cut = (rows[0]["total"], rows[0]["cut"]) if rows else (0, False)
            is_fair = total >= FAIR_SAMPLE or search.is_answered(total, cut=cut)
            if way.gathered or is_fair:
                break
            way = search.way_after(way, total, FAIR_SAMPLE, cut=cut)
        return rows, cut or total >= search.limit
