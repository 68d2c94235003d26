"""Offices can be suspended, and their agents with them."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

STATUSES = "pending_verification", "active"


def upgrade() -> None:
    op.add_column(
        "agents",
        sa.Column("suspended_with_office", sa.Boolean, nullable=False, server_default="false"),
    )
    _allow(*STATUSES, "suspended")


def downgrade() -> None:
    # The version before knows no other way to keep it off the directory.
    op.execute(
        "update offices set office_status = 'pending_verification' where office_status = 'suspended'"
    )
    _allow(*STATUSES)
    op.drop_column("agents", "suspended_with_office")


def _allow(*statuses: str) -> None:
    op.drop_constraint("offices_office_status", "offices")
    op.create_check_constraint("offices_office_status", "offices", f"office_status in {statuses}")
