"""The tables of listings."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Computed,
    Date,
    DateTime,
    Double,
    ForeignKey,
    FromClause,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    and_,
    case,
    func,
    literal_column,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import UserDefinedType

from agents_service.listings.domain import LIVE
from agents_service.metadata import metadata


class JsonText(UserDefinedType[str]):
    """jsonb that goes in as the text it is."""

    cache_ok = True

    def get_col_spec(self, **_kw: object) -> str:
        return "JSONB"


class Geometric(UserDefinedType[Any]):
    """A point, box, circle or polygon of Postgres's own, as asyncpg takes them: tuples of numbers."""

    cache_ok = True

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def get_col_spec(self, **_kw: object) -> str:
        return self.kind


listings = Table(
    "listings",
    metadata,
    Column("id", Uuid, primary_key=True),
    # Shown as PM-000123.
    Column("listing_number", BigInteger, Identity(), nullable=False, unique=True),
    Column("list_agent_id", Uuid, ForeignKey("agents.id"), nullable=False),
    Column("list_office_id", Uuid),
    Column("listing_type", Text, nullable=False),
    Column("property_type", Text, nullable=False),
    Column("property_sub_type", Text),
    Column("standard_status", Text, nullable=False),
    # Whether the listing is where it is because of what happened to its unit.
    Column("moved_by_unit", Boolean, nullable=False, server_default="false"),
    Column("list_price", BigInteger),
    Column("original_list_price", BigInteger),
    Column("close_price", BigInteger),
    Column("close_date", Date),
    Column("bhk", Double),
    Column("bedrooms_total", Integer),
    Column("bathrooms_total", Integer),
    Column("carpet_area", Integer),
    Column("built_up_area", Integer),
    Column("super_built_up_area", Integer),
    Column("furnishing", Text),
    Column("facing", Text),
    Column("floor", Integer),
    Column("total_floors", Integer),
    Column("year_built", Integer),
    Column("possession_status", Text),
    Column("possession_date", Date),
    Column("project_id", Uuid),
    Column("unit_id", Uuid),
    Column("rera_project_no", Text),
    Column("address_line", Text),
    Column("building_name", Text),
    Column("unit_number", Text),
    Column("subdivision_name", Text),
    Column("city", Text),
    Column("state", Text),
    Column("postal_code", Text),
    Column("latitude", Double),
    Column("longitude", Double),
    Column("amenities", ARRAY(Text), nullable=False, server_default="{}"),
    Column("public_remarks", Text),
    # [{"url": …, "caption": …, "kind": "photo"}, …], in order.
    Column("media", JsonText, nullable=False, server_default="[]"),
    Column("listing_contract_date", Date),
    Column("on_market_date", DateTime(timezone=True)),
    # When it left the market; absent while it is on it.
    Column("off_market_date", DateTime(timezone=True)),
    # How long it was off the market before it last came back.
    Column("off_market_seconds", BigInteger, nullable=False, server_default="0"),
    Column("expiration_date", Date),
    Column("activation_date", Date),
    Column("relist_of", Uuid, unique=True),
    # What its office calls it where it keeps its own books.
    Column("external_id", Text),
    # Those of the listings that it lists again.
    Column("earlier_days_on_market", Integer, nullable=False, server_default="0"),
    Column("version", BigInteger, nullable=False, server_default="1"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # When its price last fell.
    Column("price_dropped_at", DateTime(timezone=True)),
    # Rupees per sq ft of carpet.
    Column(
        "price_per_sqft",
        BigInteger,
        Computed("list_price / nullif(carpet_area, 0)", persisted=True),
    ),
    # Where it stands on Mercator's map of the world, in metres of the equator.
    Column(
        "location", Geometric("point"), Computed("mercator(longitude, latitude)", persisted=True)
    ),
    # Whether its project's RERA number has the shape that its state gives to such numbers.
    Column(
        "rera_verified",
        Boolean,
        Computed("rera_well_formed(state, rera_project_no)", persisted=True),
    ),
    # The words it is found by, folded: those of its address and its sub-type, which a trigger writes.
    Column("search_text", Text),
)

NO_PRICE_PER_SQFT = 9_223_372_036_854_775_807

# What pages are narrowed to and ordered by, in columns of their own: an index of expressions would not be read without
# the rows that it is of. A draft is as new as its first word, and has no price; what has no carpet area comes last.
for _name, _kind, _expression in (
    ("city_key", Text, "lower(city)"),
    ("subdivision_key", Text, "lower(subdivision_name)"),
    ("newest_key", DateTime(timezone=True), "coalesce(on_market_date, created_at)"),
    ("price_key", BigInteger, "coalesce(list_price, 0)"),
    (
        "price_per_sqft_key",
        BigInteger,
        f"coalesce(list_price / nullif(carpet_area, 0), {NO_PRICE_PER_SQFT})",
    ),
    ("has_media", Boolean, "media <> '[]'::jsonb"),
    # A bit for each of its amenities.
    ("amenity_bits", BigInteger, "amenity_bits(amenities)"),
):
    listings.append_column(Column(_name, _kind, Computed(_expression, persisted=True)))

# Which home it is, as far as its listing tells, and what homes that look the same have in common.
SAME_UNIT = (
    "coalesce(unit_id::text, coalesce(fold(rera_project_no), postal_code) || '/' || fold(building_name) || '/'"
    " || regexp_replace(fold(unit_number), '[^a-z0-9]', '', 'g'))"
)
ALIKE = (
    "hashtextextended(listing_type || '/' || property_type || '/' || fold(city) || '/' || fold(subdivision_name)"
    " || '/' || floor || '/' || carpet_area || '/' || coalesce(bhk, 0), 0)"
)
listings.append_column(Column("same_unit", Text, Computed(SAME_UNIT, persisted=True)))
listings.append_column(Column("alike", BigInteger, Computed(ALIKE, persisted=True)))
LIVE_UNIT = "listings_live_unit"


def quoted(name: str) -> ColumnElement[str]:
    """A name of the contract's as a literal: the planner does not see that a parameter is what an index is for."""
    return literal_column(f"'{name}'", Text)


def account_of(table: FromClause) -> ColumnElement[Any]:
    """Whose a listing is: her office's or, without one, its agent's."""
    return func.coalesce(table.c.list_office_id, table.c.list_agent_id)


def live(table: FromClause) -> ColumnElement[bool]:
    return table.c.standard_status.in_(map(quoted, LIVE))


def price_dropped_at(list_price: Any) -> ColumnElement[Any]:
    """When the price of a listing last fell, once it is set to `list_price`. A draft's, that nobody saw, is none."""
    fell = and_(listings.c.list_price > list_price, listings.c.on_market_date.is_not(None))
    return case((fell, func.now()), else_=listings.c.price_dropped_at)


# An account has one live listing of a home for sale and one for rent.
Index(
    LIVE_UNIT,
    listings.c.same_unit,
    account_of(listings),
    listings.c.listing_type,
    unique=True,
    postgresql_where=live(listings),
)
Index("listings_alike", listings.c.alike, postgresql_where=live(listings))
Index(
    "listings_external_id",
    listings.c.list_agent_id,
    listings.c.external_id,
    unique=True,
    postgresql_where=listings.c.external_id.is_not(None),
)
# What is exported.
Index("listings_list_agent_id_id", listings.c.list_agent_id, listings.c.id)
Index("listings_list_office_id_id", listings.c.list_office_id, listings.c.id)
# What the clock has to do.
Index(
    "listings_activation_date",
    listings.c.activation_date,
    postgresql_where=listings.c.standard_status == quoted("coming_soon"),
)
Index(
    "listings_expiration_date",
    listings.c.expiration_date,
    postgresql_where=listings.c.standard_status.in_(map(quoted, ("active", "withdrawn"))),
)

# Pages are read in their order from an index, so that page 1,000 costs what page 1 does. The columns before the order
# are compared for equality; where a query names several values, the repository takes a page for each and merges them.
ORDER_KEYS = ("newest", "price", "price_per_sqft")
PLACES: Mapping[str, Column[Any] | None] = {
    "": None,
    "city": listings.c.city_key,
    "subdivision_name": listings.c.subdivision_key,
    "postal_code": listings.c.postal_code,
    "list_agent_id": listings.c.list_agent_id,
    "project_id": listings.c.project_id,
}
# What these hold of each listing besides, so that those which are not as asked for need not be read themselves: a page
# is found by reading an index alone. Agents and projects have too few listings for that to pay.
HELD = (
    *("city_key", "subdivision_name", "property_type", "furnishing", "facing", "possession_status"),
    *("possession_date", "price_key", "price_per_sqft_key", "carpet_area", "floor"),
    *("price_dropped_at", "has_media", "rera_verified", "amenity_bits"),
)
HOLDING = ("", "city", "subdivision_name", "postal_code")
_MARKET = (listings.c.standard_status, listings.c.listing_type)


def _held_besides(columns: Sequence[Column[Any]], *more: str) -> list[str]:
    keys = {column.name for column in columns}
    return [name for name in (*HELD, *more) if name not in keys]


for _place, _column in PLACES.items():
    for _order in ORDER_KEYS:
        _keys = [
            *(() if _column is None else (_column,)),
            *_MARKET,
            listings.c[f"{_order}_key"],
            listings.c.id,
            # What most searches ask for.
            listings.c.bhk,
        ]
        Index(
            "_".join(filter(None, ("listings", _place, _order))),
            *_keys,
            # Words are looked for among the newest.
            postgresql_include=(
                _held_besides(_keys, *(("search_text",) if _order == "newest" else ()))
                if _place in HOLDING
                else None
            ),
            postgresql_where=listings.c.project_id.is_not(None) if _place == "project_id" else None,
        )
# Where an order's index would have to be read for long: any mixture of traits, of which few listings have all. What is
# not asked for has few values, each of which is skipped through, from Postgres 18 on.
_keys = [
    *_MARKET,
    *(listings.c[name] for name in ("city_key", "rera_verified", "property_type", "facing")),
    *(listings.c[name] for name in ("furnishing", "bhk", "price_key")),
]
Index(
    "listings_mixture",
    *_keys,
    postgresql_include=["id", "newest_key", *_held_besides(_keys)],
)
Index("listings_unit_id", listings.c.unit_id, postgresql_where=listings.c.unit_id.is_not(None))
Index(
    "listings_search_text",
    listings.c.search_text,
    postgresql_using="gin",
    postgresql_ops={"search_text": "gin_trgm_ops"},
)
# The listings of an area. Only a search for one may use it: the planner takes it for cheaper than it is.
_keys = [*(listings.c[name] for name in ("location", "price_key", "bhk"))]
Index(
    "listings_location",
    *_keys,
    postgresql_using="gist",
    postgresql_include=[
        *("standard_status", "listing_type", "id", "newest_key"),
        *_held_besides(_keys),
    ],
    postgresql_where=listings.c.location.is_not(None),
)

# Append-only: who changed what, from, to, when and why. Prices and statuses are public.
listing_history = Table(
    "listing_history",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("listing_id", Uuid, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("field", Text, nullable=False),
    Column("from_value", Text),
    Column("to_value", Text),
    Column("reason", Text),
    Column("changed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
Index("listing_history_listing_id", listing_history.c.listing_id, listing_history.c.id)
