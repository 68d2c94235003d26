"""The indexes of what is newest hold the words, too: those that many listings have are found without their rows."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

PLACES = {
    "listings_newest": (),
    "listings_city_newest": ("city_key",),
    "listings_subdivision_name_newest": ("subdivision_key",),
    "listings_postal_code_newest": ("postal_code",),
}
HELD = (
    *("city_key", "subdivision_name", "property_type", "furnishing", "facing", "possession_status"),
    *("possession_date", "price_key", "price_per_sqft_key", "carpet_area", "floor"),
    *("price_dropped_at", "has_media", "rera_verified", "amenity_bits"),
)


def upgrade() -> None:
    make_anew("search_text")


def downgrade() -> None:
    make_anew()


def make_anew(*more: str) -> None:
    for name, place in PLACES.items():
        op.drop_index(name, "listings")
        keys = (*place, "standard_status", "listing_type", "newest_key", "id", "bhk")
        held = [column for column in (*HELD, *more) if column not in keys]
        op.create_index(name, "listings", [sa.text(key) for key in keys], postgresql_include=held)
