"""Pages are found by reading an index alone: it holds what most searches ask for, in columns and not in expressions,
for which Postgres would read the rows too. The version before finds the same without these, more slowly.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

AMENITY_BITS = """
create function amenity_bits(amenities text[]) returns bigint
language sql immutable parallel safe
return (
    select coalesce(bit_or(1::bigint << (('x' || left(md5(amenity), 2))::bit(8)::int % 63)), 0)
    from unnest(amenities) as each (amenity)
)
"""
COLUMNS = {
    "city_key": ("text", "lower(city)"),
    "subdivision_key": ("text", "lower(subdivision_name)"),
    "newest_key": ("timestamptz", "coalesce(on_market_date, created_at)"),
    "price_key": ("bigint", "coalesce(list_price, 0)"),
    "price_per_sqft_key": (
        "bigint",
        "coalesce(list_price / nullif(carpet_area, 0), 9223372036854775807)",
    ),
    "has_media": ("boolean", "media <> '[]'::jsonb"),
    "amenity_bits": ("bigint", "amenity_bits(amenities)"),
}
# What an index in order begins with, and whether it holds the rest.
PLACES = {
    "": ("", "", True),
    "city_": ("lower(city)", "city_key", True),
    "subdivision_name_": ("lower(subdivision_name)", "subdivision_key", True),
    "postal_code_": ("postal_code", "postal_code", True),
    "list_agent_id_": ("list_agent_id", "list_agent_id", False),
    "project_id_": ("project_id", "project_id", False),
}
ORDERS = {
    "newest": "coalesce(on_market_date, created_at)",
    "price": "coalesce(list_price, 0)",
    "price_per_sqft": "coalesce(price_per_sqft, 9223372036854775807)",
}
HELD = (
    *("city_key", "subdivision_name", "property_type", "furnishing", "facing", "possession_status"),
    *("possession_date", "price_key", "price_per_sqft_key", "carpet_area", "floor"),
    *("price_dropped_at", "has_media", "rera_verified", "amenity_bits"),
)
BEHIND = ("standard_status", "listing_type")
MIXTURE = (
    *(*BEHIND, "city_key", "rera_verified", "property_type", "facing", "furnishing", "bhk"),
    "price_key",
)
TRAITS = (
    *("lower(city)", "lower(subdivision_name)", "postal_code", "list_agent_id", "list_office_id"),
    *("project_id", "bhk", "property_type", "furnishing", "facing", "amenities"),
)


def upgrade() -> None:
    drop_indexes("listings_traits")
    op.execute(AMENITY_BITS)
    # One statement, since each would write the whole table anew. Pages that were vacuumed are found without their rows.
    added = ", ".join(
        f"add column {name} {kind} generated always as ({expression}) stored"
        for name, (kind, expression) in COLUMNS.items()
    )
    op.execute(
        f"alter table listings {added}, set"
        " (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02)"
    )
    for place, (_, column, holds) in PLACES.items():
        for order in ORDERS:
            keys = (column, *BEHIND, f"{order}_key", "id", "bhk")
            create(f"listings_{place}{order}", keys, HELD if holds else ())
    create("listings_mixture", MIXTURE, ("id", "newest_key", *HELD))
    create_location("price_key")


def downgrade() -> None:
    drop_indexes("listings_mixture")
    for name in COLUMNS:
        op.drop_column("listings", name)
    op.execute("drop function amenity_bits")
    op.execute(
        "alter table listings reset"
        " (autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_scale_factor)"
    )
    for place, (expression, _, _) in PLACES.items():
        for order, key in ORDERS.items():
            create(f"listings_{place}{order}", (expression, *BEHIND, key, "id", "bhk"), ())
    op.create_index(
        "listings_traits",
        "listings",
        [sa.text(name) for name in TRAITS],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )
    create_location("list_price")


def create(name: str, keys: Sequence[str], held: Sequence[str]) -> None:
    op.create_index(
        name,
        "listings",
        [sa.text(key) for key in keys if key],
        postgresql_include=[column for column in held if column not in keys] or None,
        postgresql_where=sa.text("project_id is not null") if keys[0] == "project_id" else None,
    )


def create_location(price: str) -> None:
    op.create_index(
        "listings_location", "listings", ["location", price, "bhk"], postgresql_using="gist"
    )


def drop_indexes(mixture: str) -> None:
    for place in PLACES:
        for order in ORDERS:
            op.drop_index(f"listings_{place}{order}", "listings")
    for name in (mixture, "listings_location"):
        op.drop_index(name, "listings")
