"""The tables of sessions."""

from sqlalchemy import Column, DateTime, ForeignKey, Index, LargeBinary, Table, Text, Uuid, func

from auth_service.metadata import metadata

sessions = Table(
    "sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("user_agent", Text, nullable=False),
    Column("ip", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("last_seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    Column("revoked_reason", Text),
)
Index("sessions_user_id", sessions.c.user_id)
Index("sessions_expires_at", sessions.c.expires_at)

# A session is the family of its refresh tokens, of which at most one is unused.
refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("session_id", Uuid, ForeignKey("sessions.id", ondelete="cascade"), nullable=False),
    Column("issued_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("used_at", DateTime(timezone=True)),
    # The User-Agent that used it.
    Column("used_by", Text),
    Column("rotated_to", LargeBinary),
)
Index("refresh_tokens_session_id_used_at", refresh_tokens.c.session_id, refresh_tokens.c.used_at)
Index("refresh_tokens_expires_at", refresh_tokens.c.expires_at)
