"""Agents and their history, and the tables every service has."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from chassis.migrate import create_platform_tables, drop_platform_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_platform_tables(op)
    op.create_table(
        "agents",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, nullable=False, unique=True),
        sa.Column("office_id", sa.Uuid),
        sa.Column("member_full_name", sa.Text, nullable=False),
        sa.Column("member_mobile_phone", sa.Text, nullable=False),
        sa.Column("rera_agent_no", sa.Text, nullable=False),
        sa.Column("rera_state", sa.Text, nullable=False),
        sa.Column("rera_valid_to", sa.Date, nullable=False),
        sa.Column("verification_status", sa.Text, nullable=False),
        sa.Column("languages", ARRAY(sa.Text), nullable=False),
        sa.Column("service_areas", ARRAY(sa.Text), nullable=False),
        sa.Column("bio", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="1"),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.CheckConstraint(
            "status in ('pending_verification', 'active', 'suspended')", "agents_status"
        ),
    )
    op.create_index("agents_status_id", "agents", ["status", "id"])
    op.create_index("agents_service_areas", "agents", ["service_areas"], postgresql_using="gin")
    op.create_table(
        "agent_history",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("agent_id", sa.Uuid, nullable=False),
        sa.Column("changed_by", sa.Text, nullable=False),
        sa.Column("field", sa.Text, nullable=False),
        sa.Column("from_value", sa.Text),
        sa.Column("to_value", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column(
            "changed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
    )
    op.create_index("agent_history_agent_id", "agent_history", ["agent_id", "id"])
    op.execute("revoke update, delete on agent_history from agents_app")


def downgrade() -> None:
    op.drop_table("agent_history")
    op.drop_table("agents")
    drop_platform_tables(op)
