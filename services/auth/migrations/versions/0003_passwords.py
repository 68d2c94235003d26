"""Passwords."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "passwords",
        sa.Column(
            "user_id",
            sa.Uuid,
            sa.ForeignKey("users.id", name="passwords_user_id"),
            primary_key=True,
        ),
        sa.Column("encrypted_hash", sa.LargeBinary, nullable=False),
        sa.Column(
            "set_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
    )


def downgrade() -> None:
    op.drop_table("passwords")
