"""What people wait to be told of by SMS, and how often they were in a day."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("saved_search_id", sa.Uuid, primary_key=True),
        sa.Column("homes", sa.Integer, nullable=False),
        sa.Column("listing_id", sa.Uuid, nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("alerts_due_at", "alerts", ["due_at", "user_id"])
    op.create_table(
        "alerted",
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("messages", sa.SmallInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("alerted")
    op.drop_table("alerts")
