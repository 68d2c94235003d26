"""What became active or cheaper waits to be matched; why a listing matched, and until when matches were seen."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


FOREIGN_KEY = "saved_search_matches_saved_search_id_fkey"
# What a search is found by, apart for those that ask for nothing else.
ANCHORS = {
    "saved_searches_anchors": "alert <> 'off' and exact",
    "saved_searches_inexact_anchors": "alert <> 'off' and not exact",
}


def upgrade() -> None:
    op.create_table(
        "offers",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("listing_id", sa.Uuid, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column(
            "offered_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.CheckConstraint("reason in ('new', 'cheaper')", "offers_reason"),
    )
    op.add_column(
        "saved_search_matches",
        sa.Column("reason", sa.Text, nullable=False, server_default="new"),
    )
    # Those that were saved before are looked into, as all were.
    op.add_column(
        "saved_searches", sa.Column("exact", sa.Boolean, nullable=False, server_default="false")
    )
    op.add_column("saved_searches", sa.Column("seen_until", sa.DateTime(timezone=True)))
    op.drop_index("saved_searches_anchors", "saved_searches")
    for name, which in ANCHORS.items():
        _index_anchors(name, which)
    op.drop_constraint(FOREIGN_KEY, "saved_search_matches")


def downgrade() -> None:
    op.execute(
        "delete from saved_search_matches where not exists"
        " (select from saved_searches where id = saved_search_id)"
    )
    op.create_foreign_key(
        FOREIGN_KEY,
        "saved_search_matches",
        "saved_searches",
        ["saved_search_id"],
        ["id"],
        ondelete="CASCADE",
    )
    for name in ANCHORS:
        op.drop_index(name, "saved_searches")
    _index_anchors("saved_searches_anchors", "alert <> 'off'")
    op.drop_column("saved_searches", "seen_until")
    op.drop_column("saved_searches", "exact")
    op.drop_column("saved_search_matches", "reason")
    op.drop_table("offers")


def _index_anchors(name: str, which: str) -> None:
    op.create_index(
        name,
        "saved_searches",
        ["anchors"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
        postgresql_where=sa.text(which),
    )
