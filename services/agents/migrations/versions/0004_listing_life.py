"""What the clock, relisting and the search for duplicates need of listings; what agents were told of registrations."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

SAME_UNIT = (
    "coalesce(unit_id::text, coalesce(fold(rera_project_no), postal_code) || '/' || fold(building_name) || '/'"
    " || regexp_replace(fold(unit_number), '[^a-z0-9]', '', 'g'))"
)
ALIKE = (
    "hashtextextended(listing_type || '/' || property_type || '/' || fold(city) || '/' || fold(subdivision_name)"
    " || '/' || floor || '/' || carpet_area || '/' || coalesce(bhk, 0), 0)"
)
LIVE = sa.text(
    "standard_status in ('coming_soon', 'active', 'active_under_contract', 'pending', 'hold')"
)


def upgrade() -> None:
    for column in (
        sa.Column("building_name", sa.Text),
        sa.Column("unit_number", sa.Text),
        sa.Column("activation_date", sa.Date),
        sa.Column("relist_of", sa.Uuid, unique=True),
        sa.Column("earlier_days_on_market", sa.Integer, nullable=False, server_default="0"),
    ):
        op.add_column("listings", column)
    for column in (
        sa.Column("same_unit", sa.Text, sa.Computed(SAME_UNIT, persisted=True)),
        sa.Column("alike", sa.BigInteger, sa.Computed(ALIKE, persisted=True)),
    ):
        op.add_column("listings", column)
    op.create_index(
        "listings_live_unit",
        "listings",
        ["same_unit", sa.text("coalesce(list_office_id, list_agent_id)"), "listing_type"],
        unique=True,
        postgresql_where=LIVE,
    )
    op.create_index("listings_alike", "listings", ["alike"], postgresql_where=LIVE)
    op.create_index(
        "listings_activation_date",
        "listings",
        ["activation_date"],
        postgresql_where=sa.text("standard_status = 'coming_soon'"),
    )
    op.create_index(
        "listings_expiration_date",
        "listings",
        ["expiration_date"],
        postgresql_where=sa.text("standard_status in ('active', 'withdrawn')"),
    )
    op.add_column("agents", sa.Column("registration_notice", sa.Text))
    op.create_index(
        "agents_rera_valid_to",
        "agents",
        ["rera_valid_to"],
        postgresql_where=sa.text("status = 'active'"),
    )


def downgrade() -> None:
    op.drop_index("agents_rera_valid_to", "agents")
    op.drop_column("agents", "registration_notice")
    for column in ("alike", "same_unit"):
        op.drop_column("listings", column)
    for name in ("listings_expiration_date", "listings_activation_date"):
        op.drop_index(name, "listings")
    for column in (
        "earlier_days_on_market",
        "relist_of",
        "activation_date",
        "unit_number",
        "building_name",
    ):
        op.drop_column("listings", column)
