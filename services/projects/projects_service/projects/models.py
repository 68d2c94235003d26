"""The tables of projects, their towers and unit types."""

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY

from projects_service.metadata import metadata

projects = Table(
    "projects",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("builder_id", Uuid, ForeignKey("builders.id"), nullable=False),
    Column("project_name", Text, nullable=False),
    Column("rera_project_no", Text),
    Column("rera_valid_to", Date),
    Column("verification_status", Text, nullable=False),
    Column("address_line", Text),
    Column("subdivision_name", Text),
    Column("city", Text),
    Column("state", Text),
    Column("postal_code", Text),
    Column("latitude", Double),
    Column("longitude", Double),
    Column("possession_date", Date),
    Column("amenities", ARRAY(Text), nullable=False),
    Column("status", Text, nullable=False),
    Column("version", BigInteger, nullable=False, server_default="1"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
# The search, newest first: ids are UUIDv7. Names of places are compared without case.
Index("projects_status_id", projects.c.status, projects.c.id)
Index("projects_builder_id", projects.c.builder_id, projects.c.id)
Index("projects_city", func.lower(projects.c.city), projects.c.id)
Index("projects_subdivision_name", func.lower(projects.c.subdivision_name), projects.c.id)
Index("projects_postal_code", projects.c.postal_code, projects.c.id)
# What the clock looks for.
Index(
    "projects_rera_valid_to",
    projects.c.rera_valid_to,
    postgresql_where=projects.c.status == "selling",
)

towers = Table(
    "towers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("project_id", Uuid, ForeignKey("projects.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("total_floors", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("project_id", "name", name="towers_project_id_name"),
)
Index("towers_project_id", towers.c.project_id, towers.c.id)

unit_types = Table(
    "unit_types",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("project_id", Uuid, ForeignKey("projects.id"), nullable=False),
    Column("name", Text),
    Column("bhk", Double, nullable=False),
    Column("carpet_area", Integer, nullable=False),
    Column("built_up_area", Integer),
    Column("super_built_up_area", Integer),
    Column("base_price", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
Index("unit_types_project_id", unit_types.c.project_id, unit_types.c.id)
