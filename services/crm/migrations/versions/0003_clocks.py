"""When a lead was given to its owner; notices about the end of a registration."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # Not known of the leads that there are.
    op.add_column("leads", sa.Column("assigned_at", sa.DateTime(timezone=True)))
    op.alter_column("leads", "assigned_at", server_default=sa.func.now())
    op.alter_column("notices", "lead_id", nullable=True)
    op.add_column("notices", sa.Column("rera_valid_to", sa.Date))
    op.create_check_constraint(
        "notices_about", "notices", "num_nonnulls(lead_id, rera_valid_to) = 1"
    )


def downgrade() -> None:
    op.execute("delete from notices where lead_id is null")
    op.drop_column("notices", "rera_valid_to")
    op.alter_column("notices", "lead_id", nullable=False)
    op.drop_column("leads", "assigned_at")
