"""How soon agents answer."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    for name, kind in (
        ("answered_at", sa.DateTime(timezone=True)),
        ("answer_seconds", sa.BigInteger()),
    ):
        op.add_column("agents", sa.Column(name, ARRAY(kind), nullable=False, server_default="{}"))


def downgrade() -> None:
    for name in ("answer_seconds", "answered_at"):
        op.drop_column("agents", name)
