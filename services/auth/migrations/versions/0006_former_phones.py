"""The phones that people had before: others may still know them by one when they are erased."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "former_phones",
        sa.Column(
            "user_id",
            sa.Uuid,
            sa.ForeignKey("users.id", name="former_phones_user_id"),
            primary_key=True,
        ),
        sa.Column("phone", sa.Text, primary_key=True),
    )


def downgrade() -> None:
    op.drop_table("former_phones")
