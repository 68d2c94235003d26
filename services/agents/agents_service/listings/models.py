"""The tables of listings."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    func,
    literal_column,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import UserDefinedType

from agents_service.metadata import metadata


class JsonText(UserDefinedType[str]):
    """jsonb that goes in as the text it is."""

    cache_ok = True

    def get_col_spec(self, **_kw: object) -> str:
        return "JSONB"


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
    Column("expiration_date", Date),
    Column("version", BigInteger, nullable=False, server_default="1"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # The words it is found by, folded.
    Column(
        "search_text",
        Text,
        Computed(
            "fold(coalesce(address_line, '') || ' ' || coalesce(subdivision_name, '') || ' ' || coalesce(city, '')"
            " || ' ' || coalesce(property_sub_type, ''))",
            persisted=True,
        ),
    ),
)

# What pages are ordered by. A draft is as new as its first word, and has no price to be ordered by.
newest = func.coalesce(listings.c.on_market_date, listings.c.created_at)
price = func.coalesce(listings.c.list_price, literal_column("0"))

# Pages are read in their order from an index, so that page 1,000 costs what page 1 does. The columns before the order
# are compared for equality; where a query names several values, the repository takes a page for each and merges them.
PLACES = {
    "": (),
    "city": (func.lower(listings.c.city),),
    "subdivision_name": (func.lower(listings.c.subdivision_name),),
    "postal_code": (listings.c.postal_code,),
    "list_agent_id": (listings.c.list_agent_id,),
    "project_id": (listings.c.project_id,),
}
for _place, _column in PLACES.items():
    for _order, _expression in (("newest", newest), ("price", price)):
        Index(
            "_".join(filter(None, ("listings", _place, _order))),
            *_column,
            listings.c.standard_status,
            listings.c.listing_type,
            _expression,
            listings.c.id,
            # What most searches ask for: so the others' rows need not be read.
            listings.c.bhk,
            postgresql_where=listings.c.project_id.is_not(None) if _place == "project_id" else None,
        )
Index("listings_unit_id", listings.c.unit_id, postgresql_where=listings.c.unit_id.is_not(None))
Index(
    "listings_search_text",
    listings.c.search_text,
    postgresql_using="gin",
    postgresql_ops={"search_text": "gin_trgm_ops"},
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
