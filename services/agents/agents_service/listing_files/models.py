"""The tables of imports."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
    func,
    literal_column,
)
from sqlalchemy.dialects.postgresql import ARRAY

from agents_service.metadata import metadata

imports = Table(
    "imports",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("created_by", Text, nullable=False),
    Column("agent_id", Uuid, nullable=False),
    Column("office_id", Uuid),
    Column("content_type", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("failure", Text),
    Column("pieces", Integer, nullable=False, server_default="0"),
    Column("size", BigInteger, nullable=False, server_default="0"),
    Column("pieces_read", Integer, nullable=False, server_default="0"),
    Column("rest", LargeBinary, nullable=False, server_default=""),
    Column("header", ARRAY(Text)),
    # How often the next piece was begun: one that ends the process each time must not do so for ever.
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("rows", Integer, nullable=False, server_default="0"),
    Column("created", Integer, nullable=False, server_default="0"),
    Column("updated", Integer, nullable=False, server_default="0"),
    Column("unchanged", Integer, nullable=False, server_default="0"),
    Column("failed", Integer, nullable=False, server_default="0"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("finished_at", DateTime(timezone=True)),
)
# One file at a time.
Index(
    "imports_under_way",
    imports.c.created_by,
    unique=True,
    postgresql_where=literal_column("status in ('receiving', 'running')", Boolean),
)
Index("imports_created_at", imports.c.created_at)

import_pieces = Table(
    "import_pieces",
    metadata,
    Column("import_id", Uuid, ForeignKey("imports.id", ondelete="cascade"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    # Null once it was read.
    Column("content", LargeBinary),
)

import_errors = Table(
    "import_errors",
    metadata,
    Column("position", BigInteger, Identity(), primary_key=True),
    Column("import_id", Uuid, ForeignKey("imports.id", ondelete="cascade"), nullable=False),
    Column("row", Integer, nullable=False),
    Column("external_id", Text),
    Column("field", Text),
    Column("message", Text, nullable=False),
)
Index("import_errors_import_id", import_errors.c.import_id, import_errors.c.position)
