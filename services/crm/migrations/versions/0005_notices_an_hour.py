"""Notices about leads are counted, by agent and hour."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("notices", sa.Column("place", sa.Integer))
    op.create_index("notices_agent_id", "notices", ["agent_id", "created_at"])


def downgrade() -> None:
    op.drop_index("notices_agent_id", "notices")
    op.drop_column("notices", "place")
