"""The tables of users."""

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Index, Table, Text, Uuid, func
from sqlalchemy.dialects.postgresql import ARRAY

from auth_service.metadata import metadata

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("phone", Text, nullable=False, unique=True),
    Column("email", Text),
    Column("full_name", Text),
    Column("roles", ARRAY(Text), nullable=False),
    Column("agent_id", Uuid),
    Column("office_id", Uuid),
    Column("builder_id", Uuid),
    Column("status", Text, nullable=False),
    Column("tokens_refused_until", DateTime(timezone=True)),
    Column("version", BigInteger, nullable=False, server_default="1"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
# The lists, newest first: ids are UUIDv7.
Index("users_status_id", users.c.status, users.c.id)

# The phones that somebody had before the one she has.
former_phones = Table(
    "former_phones",
    metadata,
    Column("user_id", Uuid, ForeignKey("users.id"), primary_key=True),
    Column("phone", Text, primary_key=True),
)

# Who gave each role that somebody has; what was given and taken over time is in the audit log.
role_grants = Table(
    "role_grants",
    metadata,
    Column("user_id", Uuid, ForeignKey("users.id"), primary_key=True),
    Column("role", Text, primary_key=True),
    Column("granted_by", Text, nullable=False),
    Column("granted_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
Index("role_grants_granted_by", role_grants.c.granted_by, role_grants.c.role)
Index("role_grants_role_user_id", role_grants.c.role, role_grants.c.user_id)
