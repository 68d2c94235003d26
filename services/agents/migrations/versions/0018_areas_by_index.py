"""The index of locations holds what searches ask for: the listings of an area are told apart without their rows.

It is made under another name first, so that searches wait for the change of names alone; writes wait for all of it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

KEYS = ("location", "price_key", "bhk")
HELD = (
    *("standard_status", "listing_type", "id", "newest_key", "city_key", "subdivision_name"),
    *("property_type", "furnishing", "facing", "possession_status", "possession_date"),
    *("price_per_sqft_key", "carpet_area", "floor", "price_dropped_at", "has_media"),
    *("rera_verified", "amenity_bits"),
)


def upgrade() -> None:
    make_anew(postgresql_include=HELD, postgresql_where=sa.text("location is not null"))


def downgrade() -> None:
    make_anew()


def make_anew(**options: object) -> None:
    op.create_index("listings_location_anew", "listings", KEYS, postgresql_using="gist", **options)
    op.drop_index("listings_location", "listings")
    op.execute("alter index listings_location_anew rename to listings_location")
