"""Users, how they sign in, their sessions, the signing keys and the audit log; the tables every service has."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from chassis.migrate import create_platform_tables, drop_platform_tables

revision = "0001"
down_revision = None

Moment = sa.DateTime(timezone=True)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, Moment, nullable=False, server_default=sa.func.now())


def upgrade() -> None:
    create_platform_tables(op)
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("phone", sa.Text, nullable=False, unique=True),
        sa.Column("email", sa.Text),
        sa.Column("full_name", sa.Text),
        sa.Column("roles", ARRAY(sa.Text), nullable=False),
        sa.Column("agent_id", sa.Uuid),
        sa.Column("office_id", sa.Uuid),
        sa.Column("builder_id", sa.Uuid),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("tokens_refused_until", Moment),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="1"),
        _now("created_at"),
        _now("updated_at"),
        sa.CheckConstraint(
            "status in ('pending', 'active', 'suspended', 'erased')", "users_status"
        ),
    )
    op.create_table(
        "role_grants",
        sa.Column(
            "user_id",
            sa.Uuid,
            sa.ForeignKey("users.id", name="role_grants_user_id"),
            primary_key=True,
        ),
        sa.Column("role", sa.Text, primary_key=True),
        sa.Column("granted_by", sa.Text, nullable=False),
        _now("granted_at"),
    )
    op.create_index("role_grants_granted_by", "role_grants", ["granted_by", "role"])
    op.create_table(
        "otp_challenges",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("phone", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("code_hash", sa.LargeBinary, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("expires_at", Moment, nullable=False),
        _now("created_at"),
        sa.CheckConstraint(
            "status in ('issued', 'verified', 'expired', 'locked')", "otp_challenges_status"
        ),
        sa.CheckConstraint("attempts between 0 and 5", "otp_challenges_attempts"),
    )
    op.create_index(
        "otp_challenges_issued",
        "otp_challenges",
        ["phone", "purpose"],
        unique=True,
        postgresql_where=sa.text("status = 'issued'"),
    )
    op.create_index("otp_challenges_created_at", "otp_challenges", ["created_at"])
    op.create_table(
        "allowances",
        sa.Column("subject", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("used", ARRAY(Moment), nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column(
            "user_id", sa.Uuid, sa.ForeignKey("users.id", name="sessions_user_id"), nullable=False
        ),
        sa.Column("user_agent", sa.Text, nullable=False),
        sa.Column("ip", sa.Text, nullable=False),
        _now("created_at"),
        _now("last_seen_at"),
        sa.Column("expires_at", Moment, nullable=False),
        sa.Column("revoked_at", Moment),
        sa.Column("revoked_reason", sa.Text),
    )
    op.create_index("sessions_user_id", "sessions", ["user_id"])
    op.create_index("sessions_expires_at", "sessions", ["expires_at"])
    op.create_table(
        "refresh_tokens",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column(
            "session_id",
            sa.Uuid,
            sa.ForeignKey("sessions.id", name="refresh_tokens_session_id", ondelete="cascade"),
            nullable=False,
        ),
        _now("issued_at"),
        sa.Column("expires_at", Moment, nullable=False),
        sa.Column("used_at", Moment),
        sa.Column("used_by", sa.Text),
        sa.Column("rotated_to", sa.LargeBinary),
    )
    op.create_index(
        "refresh_tokens_session_id_used_at", "refresh_tokens", ["session_id", "used_at"]
    )
    op.create_index("refresh_tokens_expires_at", "refresh_tokens", ["expires_at"])
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.Text, primary_key=True),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("private_key", sa.LargeBinary, nullable=False),
        sa.Column("not_before", Moment, nullable=False),
        sa.Column("retires_at", Moment, nullable=False),
        _now("created_at"),
    )
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("user_id", sa.Uuid),
        sa.Column("details", JSONB, nullable=False),
        sa.Column("correlation_id", sa.Text, nullable=False),
        sa.Column("client_address", sa.Text, nullable=False),
        _now("happened_at"),
    )
    op.create_index("audit_events_user_id", "audit_events", ["user_id", "id"])
    op.execute("revoke update, delete on audit_events from auth_app")


def downgrade() -> None:
    for table in (
        "audit_events",
        "signing_keys",
        "refresh_tokens",
        "sessions",
        "allowances",
        "otp_challenges",
        "role_grants",
        "users",
    ):
        op.drop_table(table)
    drop_platform_tables(op)
