"""What search needs: where a listing stands, its price per sq ft, when it became cheaper, an index for each way of
finding, and the places that words are read as.
"""

import sqlalchemy as sa
from alembic import op

from chassis import rera

revision = "0005"
down_revision = "0004"

# Mercator's projection, in metres of the equator: a box of it is a box on a map, and nearby distances are alike in all
# directions. Much smaller units would not do: Postgres takes what differs by a millionth for equal.
MERCATOR = """
create function mercator(longitude double precision, latitude double precision) returns point
language sql immutable strict parallel safe
return point(
    40075017 * (longitude + 180) / 360,
    40075017 * (0.5 - ln(tan(pi() / 4 + radians(latitude) / 2)) / (2 * pi()))
)
"""
PLACES = {
    "": ("", None),
    "city_": ("lower(city)", None),
    "subdivision_name_": ("lower(subdivision_name)", None),
    "postal_code_": ("postal_code", None),
    "list_agent_id_": ("list_agent_id", None),
    "project_id_": ("project_id", "project_id is not null"),
}
# What few listings of a place may have, and any mixture of it: found by one index. What half of all listings have is
# not worth its place there.
TRAITS = (
    "lower(city)",
    "lower(subdivision_name)",
    "postal_code",
    "list_agent_id",
    "list_office_id",
    "project_id",
    "bhk",
    "property_type",
    "furnishing",
    "facing",
    "amenities",
)


def rera_function() -> str:
    """chassis.rera.check of projects' numbers, as SQL: so that it holds however a listing was written."""
    cases = " ".join(
        f"when '{state}' then btrim(number) ~* '^({patterns['project']})$'"
        for state, patterns in rera.PATTERNS.items()
    )
    return f"""
        create function rera_well_formed(state text, number text) returns boolean
        language sql immutable parallel safe
        return coalesce(case lower(btrim(state)) {cases} end, false)
        """.replace(r"\d", "[0-9]")


def upgrade() -> None:
    op.execute(MERCATOR)
    op.execute(rera_function())
    # One statement, since each would write the whole table anew.
    op.execute("""
        alter table listings
            add column price_per_sqft bigint
                generated always as (list_price / nullif(carpet_area, 0)) stored,
            add column location point generated always as (mercator(longitude, latitude)) stored,
            add column rera_verified boolean
                generated always as (rera_well_formed(state, rera_project_no)) stored,
            add column price_dropped_at timestamptz
        """)
    for place, (column, condition) in PLACES.items():
        key = "coalesce(price_per_sqft, 9223372036854775807)"
        columns = (column, "standard_status", "listing_type", key, "id", "bhk")
        op.create_index(
            f"listings_{place}price_per_sqft",
            "listings",
            [sa.text(name) for name in columns if name],
            postgresql_where=sa.text(condition) if condition else None,
        )
    # With what maps are filtered by, so that the rows of an area need not all be read.
    op.create_index(
        "listings_location",
        "listings",
        ["location", "list_price", "bhk"],
        postgresql_using="gist",
    )
    # Without its list of what is not yet sorted in, which every search would have to read.
    op.create_index(
        "listings_traits",
        "listings",
        [sa.text(name) for name in TRAITS],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )
    op.create_table(
        "places",
        sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("gen_random_uuid()")),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("folded", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("city", sa.Text, nullable=False, server_default=""),
        sa.Column("reference_id", sa.Uuid),
        sa.Column("builder_id", sa.Uuid),
        sa.Column("listings", sa.Integer, nullable=False, server_default="0"),
        sa.CheckConstraint("kind in ('city', 'locality', 'project', 'builder')", "places_kind"),
        sa.UniqueConstraint(
            "kind",
            "folded",
            "city",
            "reference_id",
            name="places_name",
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index(
        "places_folded", "places", ["folded"], postgresql_ops={"folded": "text_pattern_ops"}
    )
    op.create_index(
        "places_trigrams",
        "places",
        ["folded"],
        postgresql_using="gin",
        postgresql_ops={"folded": "gin_trgm_ops"},
    )
    op.create_index("places_reference_id", "places", ["reference_id"])
    op.create_index("places_builder_id", "places", ["builder_id"])


def downgrade() -> None:
    op.drop_table("places")
    op.drop_index("listings_traits", "listings")
    for column in ("price_dropped_at", "rera_verified", "location", "price_per_sqft"):
        op.drop_column("listings", column)
    op.execute("drop function rera_well_formed")
    op.execute("drop function mercator")
