"""The tables of units, the claims on them, and bookings."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB

from projects_service.metadata import metadata

units = Table(
    "units",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("project_id", Uuid, ForeignKey("projects.id"), nullable=False),
    Column("tower_id", Uuid, ForeignKey("towers.id"), nullable=False),
    Column("unit_type_id", Uuid, ForeignKey("unit_types.id"), nullable=False),
    Column("unit_no", Text, nullable=False),
    Column("floor", Integer),
    Column("facing", Text),
    Column("preferential_location_charge", BigInteger, nullable=False),
    Column("floor_rise_charge", BigInteger, nullable=False),
    Column("parking_charge", BigInteger, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    # The active claim, as in `claims`: a page of units is read without looking there.
    Column("claim_id", Uuid),
    Column("claim_expires_at", DateTime(timezone=True)),
    Column("version", BigInteger, nullable=False, server_default="1"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("tower_id", "unit_no", name="units_tower_id_unit_no"),
)
Index("units_project_id", units.c.project_id, units.c.id)
# What the clock looks for.
Index(
    "units_claim_expires_at",
    units.c.claim_expires_at,
    postgresql_where=units.c.claim_expires_at.is_not(None),
)

claims = Table(
    "claims",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("unit_id", Uuid, ForeignKey("units.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("lead_id", Uuid),
    Column("user_id", Uuid, nullable=False),
    Column("agent_id", Uuid),
    Column("office_id", Uuid),
    Column("expires_at", DateTime(timezone=True)),
    Column("price_snapshot", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("ended_at", DateTime(timezone=True)),
    Column("end_reason", Text),
)
# At most one active claim per unit, whatever happens.
Index(
    "claims_one_active",
    claims.c.unit_id,
    unique=True,
    postgresql_where=claims.c.ended_at.is_(None),
)
# What somebody holds, and held.
Index("claims_user_id", claims.c.user_id, claims.c.created_at)

bookings = Table(
    "bookings",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("unit_id", Uuid, ForeignKey("units.id"), nullable=False),
    Column("project_id", Uuid, ForeignKey("projects.id"), nullable=False),
    Column("builder_id", Uuid, ForeignKey("builders.id"), nullable=False),
    Column("claim_id", Uuid, ForeignKey("claims.id"), nullable=False, unique=True),
    Column("lead_id", Uuid),
    Column("user_id", Uuid, nullable=False),
    Column("agent_id", Uuid),
    Column("office_id", Uuid),
    # A list of the domain's Buyer.
    Column("buyers", JSONB, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
Index("bookings_unit_id", bookings.c.unit_id)
