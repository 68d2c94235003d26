"""Listings and their history."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0002"
down_revision = "0001"

STATUSES = (
    "incomplete",
    "coming_soon",
    "active",
    "active_under_contract",
    "pending",
    "hold",
    "withdrawn",
    "canceled",
    "expired",
    "closed",
)
# unaccent depends on the dictionary of that name, which nobody changes: so it may be indexed.
FOLD = """
create function fold(value text) returns text
language sql immutable strict parallel safe
return lower(extensions.unaccent('extensions.unaccent'::regdictionary, value))
"""
WORDS = (
    "fold(coalesce(address_line, '') || ' ' || coalesce(subdivision_name, '') || ' ' || coalesce(city, '')"
    " || ' ' || coalesce(property_sub_type, ''))"
)
# What a page can be narrowed to by an index, and a condition of that index.
PLACES = {
    "": ("", None),
    "city_": ("lower(city)", None),
    "subdivision_name_": ("lower(subdivision_name)", None),
    "postal_code_": ("postal_code", None),
    "list_agent_id_": ("list_agent_id", None),
    "project_id_": ("project_id", "project_id is not null"),
}
ORDERS = {
    "newest": "coalesce(on_market_date, created_at)",
    "price": "coalesce(list_price, 0)",
}


def upgrade() -> None:
    op.execute(FOLD)
    op.create_table(
        "listings",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("listing_number", sa.BigInteger, sa.Identity(), nullable=False, unique=True),
        sa.Column("list_agent_id", sa.Uuid, sa.ForeignKey("agents.id"), nullable=False),
        sa.Column("list_office_id", sa.Uuid),
        sa.Column("listing_type", sa.Text, nullable=False),
        sa.Column("property_type", sa.Text, nullable=False),
        sa.Column("property_sub_type", sa.Text),
        sa.Column("standard_status", sa.Text, nullable=False),
        sa.Column("moved_by_unit", sa.Boolean, nullable=False, server_default="false"),
        sa.Column("list_price", sa.BigInteger),
        sa.Column("original_list_price", sa.BigInteger),
        sa.Column("close_price", sa.BigInteger),
        sa.Column("close_date", sa.Date),
        sa.Column("bhk", sa.Double),
        sa.Column("bedrooms_total", sa.Integer),
        sa.Column("bathrooms_total", sa.Integer),
        sa.Column("carpet_area", sa.Integer),
        sa.Column("built_up_area", sa.Integer),
        sa.Column("super_built_up_area", sa.Integer),
        sa.Column("furnishing", sa.Text),
        sa.Column("facing", sa.Text),
        sa.Column("floor", sa.Integer),
        sa.Column("total_floors", sa.Integer),
        sa.Column("year_built", sa.Integer),
        sa.Column("possession_status", sa.Text),
        sa.Column("possession_date", sa.Date),
        sa.Column("project_id", sa.Uuid),
        sa.Column("unit_id", sa.Uuid),
        sa.Column("rera_project_no", sa.Text),
        sa.Column("address_line", sa.Text),
        sa.Column("subdivision_name", sa.Text),
        sa.Column("city", sa.Text),
        sa.Column("state", sa.Text),
        sa.Column("postal_code", sa.Text),
        sa.Column("latitude", sa.Double),
        sa.Column("longitude", sa.Double),
        sa.Column("amenities", ARRAY(sa.Text), nullable=False, server_default="{}"),
        sa.Column("public_remarks", sa.Text),
        sa.Column("media", JSONB, nullable=False, server_default="[]"),
        sa.Column("listing_contract_date", sa.Date),
        sa.Column("on_market_date", sa.DateTime(timezone=True)),
        sa.Column("off_market_date", sa.DateTime(timezone=True)),
        sa.Column("expiration_date", sa.Date),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="1"),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.Column("search_text", sa.Text, sa.Computed(WORDS, persisted=True)),
        sa.CheckConstraint(f"standard_status in {STATUSES}", "listings_standard_status"),
        sa.CheckConstraint("listing_type in ('sale', 'rent')", "listings_listing_type"),
        sa.CheckConstraint(
            "standard_status <> 'active' or"
            " (list_price is not null and city is not null and on_market_date is not null)",
            "listings_active",
        ),
    )
    for place, (column, condition) in PLACES.items():
        for order, expression in ORDERS.items():
            columns = ("standard_status", "listing_type", expression, "id", "bhk")
            op.create_index(
                f"listings_{place}{order}",
                "listings",
                [sa.text(name) for name in (column, *columns) if name],
                postgresql_where=sa.text(condition) if condition else None,
            )
    op.create_index(
        "listings_unit_id",
        "listings",
        ["unit_id"],
        postgresql_where=sa.text("unit_id is not null"),
    )
    op.create_index(
        "listings_search_text",
        "listings",
        ["search_text"],
        postgresql_using="gin",
        postgresql_ops={"search_text": "gin_trgm_ops"},
    )
    op.create_table(
        "listing_history",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("listing_id", sa.Uuid, nullable=False),
        sa.Column("changed_by", sa.Text, nullable=False),
        sa.Column("field", sa.Text, nullable=False),
        sa.Column("from_value", sa.Text),
        sa.Column("to_value", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column(
            "changed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
    )
    op.create_index("listing_history_listing_id", "listing_history", ["listing_id", "id"])
    op.execute("revoke update, delete on listing_history from agents_app")


def downgrade() -> None:
    op.drop_table("listing_history")
    op.drop_table("listings")
    op.execute("drop function fold")
