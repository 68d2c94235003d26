"""Leads about projects belong to their builders."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

OPEN = "stage not in ('booked', 'lost', 'junk')"


def upgrade() -> None:
    op.add_column("leads", sa.Column("owner_builder_id", sa.Uuid))
    op.create_index(
        "leads_owner_builder_id",
        "leads",
        ["owner_builder_id", "id"],
        postgresql_where=sa.text("owner_builder_id is not null"),
    )
    _index_unassigned(
        ["target_kind", "assign_after"],
        f"owner_agent_id is null and owner_builder_id is null and {OPEN}",
    )


def downgrade() -> None:
    _index_unassigned(
        ["assign_after"], f"owner_agent_id is null and target_kind = 'listing' and {OPEN}"
    )
    op.drop_column("leads", "owner_builder_id")


def _index_unassigned(columns: list[str], which: str) -> None:
    op.drop_index("leads_unassigned", "leads")
    op.create_index("leads_unassigned", "leads", columns, postgresql_where=sa.text(which))
