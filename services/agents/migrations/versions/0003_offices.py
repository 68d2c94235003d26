"""Offices, their history and their invitations; who suspended an agent, and what she was told of her registration."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "offices",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("office_name", sa.Text, nullable=False),
        sa.Column("city", sa.Text, nullable=False),
        sa.Column("rera_office_no", sa.Text),
        sa.Column("rera_state", sa.Text),
        sa.Column("verification_status", sa.Text, nullable=False),
        sa.Column("office_status", sa.Text, nullable=False),
        sa.Column(
            "admin_agent_id", sa.Uuid, sa.ForeignKey("agents.id"), nullable=False, unique=True
        ),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="1"),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.CheckConstraint(
            "office_status in ('pending_verification', 'active')", "offices_office_status"
        ),
    )
    op.create_index("offices_status_id", "offices", ["office_status", "id"])
    op.create_index(
        "offices_city_id", "offices", [sa.text("lower(city)"), sa.text("office_status"), "id"]
    )
    op.create_table(
        "office_history",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("office_id", sa.Uuid, nullable=False),
        sa.Column("changed_by", sa.Text, nullable=False),
        sa.Column("field", sa.Text, nullable=False),
        sa.Column("from_value", sa.Text),
        sa.Column("to_value", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column(
            "changed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
    )
    op.create_index("office_history_office_id", "office_history", ["office_id", "id"])
    op.execute("revoke update, delete on office_history from agents_app")
    op.create_table(
        "invitations",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("office_id", sa.Uuid, sa.ForeignKey("offices.id"), nullable=False),
        sa.Column("agent_id", sa.Uuid),
        sa.Column("member_mobile_phone", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("invited_by", sa.Text, nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.Column("answered_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("num_nonnulls(agent_id, member_mobile_phone) = 1", "invitations_whom"),
        sa.CheckConstraint("status in ('open', 'accepted', 'declined')", "invitations_status"),
    )
    is_open = sa.text("status = 'open'")
    for whom in ("agent_id", "member_mobile_phone"):
        op.create_index(
            f"invitations_{whom}",
            "invitations",
            [whom, "office_id"],
            unique=True,
            postgresql_where=is_open,
        )
    op.create_index(
        "invitations_office_id", "invitations", ["office_id", "id"], postgresql_where=is_open
    )
    op.add_column(
        "agents",
        sa.Column("suspended_by_office", sa.Boolean, nullable=False, server_default="false"),
    )
    op.create_index("agents_office_id", "agents", ["office_id", "status", "id"])


def downgrade() -> None:
    op.drop_index("agents_office_id", "agents")
    op.drop_column("agents", "suspended_by_office")
    op.drop_table("invitations")
    op.drop_table("office_history")
    op.drop_table("offices")
