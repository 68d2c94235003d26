"""Finding what somebody holds and held."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_index("claims_user_id", "claims", ["user_id", "created_at"])


def downgrade() -> None:
    op.drop_index("claims_user_id", "claims")
