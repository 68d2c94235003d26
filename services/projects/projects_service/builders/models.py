"""The tables of builders."""

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Index, Table, Text, Uuid, false, func

from projects_service.metadata import metadata

builders = Table(
    "builders",
    metadata,
    Column("id", Uuid, primary_key=True),
    # One application per person.
    Column("user_id", Uuid, nullable=False, unique=True),
    Column("builder_name", Text, nullable=False),
    Column("rera_promoter_no", Text, nullable=False),
    Column("rera_state", Text),
    Column("gstin", Text),
    Column("verification_status", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("version", BigInteger, nullable=False, server_default="1"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("person_erased", Boolean, nullable=False, server_default=false()),
)
# The directory, newest first: ids are UUIDv7.
Index("builders_status_id", builders.c.status, builders.c.id)
