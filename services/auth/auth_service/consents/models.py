"""The table of consents."""

from sqlalchemy import Column, DateTime, ForeignKey, Index, Table, Text, Uuid, func

from auth_service.metadata import metadata

# Rows are kept when the account is erased, as the proof of what was agreed: they hold nothing personal but the id.
consents = Table(
    "consents",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("purpose", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("notice_version", Text, nullable=False),
    Column("granted_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("withdrawn_at", DateTime(timezone=True)),
)
# One live consent for each purpose and channel.
Index(
    "consents_live",
    consents.c.user_id,
    consents.c.purpose,
    consents.c.channel,
    unique=True,
    postgresql_where=consents.c.withdrawn_at.is_(None),
)
Index("consents_user_id_id", consents.c.user_id, consents.c.id)
