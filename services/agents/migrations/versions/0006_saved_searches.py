"""Saved searches, and the listings that matched them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "saved_searches",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("filters", sa.LargeBinary, nullable=False),
        sa.Column("wanted", JSONB, nullable=False),
        sa.Column("anchors", ARRAY(sa.Text), nullable=False),
        sa.Column("price_min", sa.BigInteger),
        sa.Column("price_max", sa.BigInteger),
        sa.Column("alert", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="1"),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.CheckConstraint("alert in ('instant', 'daily', 'off')", "saved_searches_alert"),
    )
    op.create_index("saved_searches_user_id", "saved_searches", ["user_id", "id"])
    op.create_index(
        "saved_searches_anchors",
        "saved_searches",
        ["anchors"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
        postgresql_where=sa.text("alert <> 'off'"),
    )
    op.create_table(
        "saved_search_matches",
        sa.Column(
            "saved_search_id",
            sa.Uuid,
            sa.ForeignKey("saved_searches.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("listing_id", sa.Uuid, primary_key=True),
        sa.Column("list_price", sa.BigInteger, nullable=False),
        sa.Column(
            "matched_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.Column("told_at", sa.DateTime(timezone=True)),
    )
    op.create_index(
        "saved_search_matches_newest",
        "saved_search_matches",
        ["saved_search_id", "matched_at", "listing_id"],
    )
    op.create_index(
        "saved_search_matches_untold",
        "saved_search_matches",
        ["matched_at"],
        postgresql_where=sa.text("told_at is null"),
    )


def downgrade() -> None:
    op.drop_table("saved_search_matches")
    op.drop_table("saved_searches")
