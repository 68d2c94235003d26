"""The tables of offices."""

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Index, Table, Text, Uuid, func

from agents_service.metadata import metadata

offices = Table(
    "offices",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("office_name", Text, nullable=False),
    Column("city", Text, nullable=False),
    Column("rera_office_no", Text),
    Column("rera_state", Text),
    Column("verification_status", Text, nullable=False),
    Column("office_status", Text, nullable=False),
    # One office for each admin.
    Column("admin_agent_id", Uuid, ForeignKey("agents.id"), nullable=False, unique=True),
    Column("version", BigInteger, nullable=False, server_default="1"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
# The directory, newest first: ids are UUIDv7.
Index("offices_status_id", offices.c.office_status, offices.c.id)
Index("offices_city_id", func.lower(offices.c.city), offices.c.office_status, offices.c.id)

# Append-only: who changed what, from, to, when and why.
office_history = Table(
    "office_history",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("office_id", Uuid, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("field", Text, nullable=False),
    Column("from_value", Text),
    Column("to_value", Text),
    Column("reason", Text),
    Column("changed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
Index("office_history_office_id", office_history.c.office_id, office_history.c.id)

# One of agent_id and member_mobile_phone says whom; an office invites nobody twice at a time.
invitations = Table(
    "invitations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("office_id", Uuid, ForeignKey("offices.id"), nullable=False),
    Column("agent_id", Uuid),
    Column("member_mobile_phone", Text),
    Column("status", Text, nullable=False),
    Column("invited_by", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("answered_at", DateTime(timezone=True)),
)
_open = invitations.c.status == "open"
for _whom in ("agent_id", "member_mobile_phone"):
    Index(
        f"invitations_{_whom}",
        invitations.c[_whom],
        invitations.c.office_id,
        unique=True,
        postgresql_where=_open,
    )
Index("invitations_office_id", invitations.c.office_id, invitations.c.id, postgresql_where=_open)
