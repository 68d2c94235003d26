"""Builders, projects, units, claims and bookings, and the tables every service has."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from chassis.migrate import create_platform_tables, drop_platform_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_platform_tables(op)
    create_history()
    create_builders()
    create_projects()
    create_units()
    create_claims()


def downgrade() -> None:
    for table in (
        "bookings",
        "claims",
        "units",
        "unit_types",
        "towers",
        "projects",
        "builders",
        "history",
    ):
        op.drop_table(table)
    drop_platform_tables(op)


def create_history() -> None:
    op.create_table(
        "history",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("aggregate_id", sa.Uuid, nullable=False),
        sa.Column("changed_by", sa.Text, nullable=False),
        sa.Column("field", sa.Text, nullable=False),
        sa.Column("from_value", sa.Text),
        sa.Column("to_value", sa.Text),
        sa.Column("reason", sa.Text),
        moment("changed_at"),
    )
    op.create_index("history_aggregate_id", "history", ["aggregate_id", "id"])
    op.execute("revoke update, delete on history from projects_app")


def create_builders() -> None:
    op.create_table(
        "builders",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, nullable=False, unique=True),
        sa.Column("builder_name", sa.Text, nullable=False),
        sa.Column("rera_promoter_no", sa.Text, nullable=False),
        sa.Column("rera_state", sa.Text),
        sa.Column("gstin", sa.Text),
        sa.Column("verification_status", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="1"),
        moment("created_at"),
        moment("updated_at"),
        sa.CheckConstraint(
            "status in ('pending_verification', 'active', 'suspended')", "builders_status"
        ),
    )
    op.create_index("builders_status_id", "builders", ["status", "id"])


def create_projects() -> None:
    op.create_table(
        "projects",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("builder_id", sa.Uuid, sa.ForeignKey("builders.id"), nullable=False),
        sa.Column("project_name", sa.Text, nullable=False),
        sa.Column("rera_project_no", sa.Text),
        sa.Column("rera_valid_to", sa.Date),
        sa.Column("verification_status", sa.Text, nullable=False),
        sa.Column("address_line", sa.Text),
        sa.Column("subdivision_name", sa.Text),
        sa.Column("city", sa.Text),
        sa.Column("state", sa.Text),
        sa.Column("postal_code", sa.Text),
        sa.Column("latitude", sa.Double),
        sa.Column("longitude", sa.Double),
        sa.Column("possession_date", sa.Date),
        sa.Column("amenities", ARRAY(sa.Text), nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="1"),
        moment("created_at"),
        moment("updated_at"),
        sa.CheckConstraint(
            "status in ('draft', 'registered', 'selling', 'lapsed', 'completed')",
            "projects_status",
        ),
        sa.CheckConstraint(
            "status = 'draft' or (rera_project_no is not null and rera_valid_to is not null)",
            "projects_registered",
        ),
    )
    op.create_index("projects_status_id", "projects", ["status", "id"])
    op.create_index("projects_builder_id", "projects", ["builder_id", "id"])
    op.create_index("projects_city", "projects", [sa.text("lower(city)"), "id"])
    op.create_index(
        "projects_subdivision_name", "projects", [sa.text("lower(subdivision_name)"), "id"]
    )
    op.create_index("projects_postal_code", "projects", ["postal_code", "id"])
    op.create_index(
        "projects_rera_valid_to",
        "projects",
        ["rera_valid_to"],
        postgresql_where=sa.text("status = 'selling'"),
    )
    op.create_table(
        "towers",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("project_id", sa.Uuid, sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("total_floors", sa.Integer, nullable=False),
        moment("created_at"),
        sa.UniqueConstraint("project_id", "name", name="towers_project_id_name"),
    )
    op.create_index("towers_project_id", "towers", ["project_id", "id"])
    op.create_table(
        "unit_types",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("project_id", sa.Uuid, sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("bhk", sa.Double, nullable=False),
        sa.Column("carpet_area", sa.Integer, nullable=False),
        sa.Column("built_up_area", sa.Integer),
        sa.Column("super_built_up_area", sa.Integer),
        sa.Column("base_price", sa.BigInteger, nullable=False),
        moment("created_at"),
    )
    op.create_index("unit_types_project_id", "unit_types", ["project_id", "id"])


def create_units() -> None:
    op.create_table(
        "units",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("project_id", sa.Uuid, sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("tower_id", sa.Uuid, sa.ForeignKey("towers.id"), nullable=False),
        sa.Column("unit_type_id", sa.Uuid, sa.ForeignKey("unit_types.id"), nullable=False),
        sa.Column("unit_no", sa.Text, nullable=False),
        sa.Column("floor", sa.Integer),
        sa.Column("facing", sa.Text),
        sa.Column("preferential_location_charge", sa.BigInteger, nullable=False),
        sa.Column("floor_rise_charge", sa.BigInteger, nullable=False),
        sa.Column("parking_charge", sa.BigInteger, nullable=False),
        sa.Column("price", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("claim_id", sa.Uuid),
        sa.Column("claim_expires_at", sa.DateTime(timezone=True)),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="1"),
        moment("created_at"),
        moment("updated_at"),
        sa.UniqueConstraint("tower_id", "unit_no", name="units_tower_id_unit_no"),
        sa.CheckConstraint(
            "status in ('available', 'held', 'blocked', 'booked', 'agreement_executed',"
            " 'registered', 'possession_given', 'cancelled', 'frozen')",
            "units_status",
        ),
        sa.CheckConstraint(
            "(status in ('available', 'frozen', 'cancelled')) = (claim_id is null)", "units_claimed"
        ),
        sa.CheckConstraint(
            "(status in ('held', 'blocked')) = (claim_expires_at is not null)",
            "units_claim_expires",
        ),
    )
    op.create_index("units_project_id", "units", ["project_id", "id"])
    op.create_index(
        "units_claim_expires_at",
        "units",
        ["claim_expires_at"],
        postgresql_where=sa.text("claim_expires_at is not null"),
    )


def create_claims() -> None:
    op.create_table(
        "claims",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("unit_id", sa.Uuid, sa.ForeignKey("units.id"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("lead_id", sa.Uuid),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("agent_id", sa.Uuid),
        sa.Column("office_id", sa.Uuid),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("price_snapshot", sa.BigInteger, nullable=False),
        moment("created_at"),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("end_reason", sa.Text),
        sa.CheckConstraint("kind in ('hold', 'block', 'booking')", "claims_kind"),
        sa.CheckConstraint("(kind = 'booking') = (expires_at is null)", "claims_expire"),
        sa.CheckConstraint("(ended_at is null) = (end_reason is null)", "claims_ended"),
    )
    op.create_index(
        "claims_one_active",
        "claims",
        ["unit_id"],
        unique=True,
        postgresql_where=sa.text("ended_at is null"),
    )
    op.create_table(
        "bookings",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("unit_id", sa.Uuid, sa.ForeignKey("units.id"), nullable=False),
        sa.Column("project_id", sa.Uuid, sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("builder_id", sa.Uuid, sa.ForeignKey("builders.id"), nullable=False),
        sa.Column("claim_id", sa.Uuid, sa.ForeignKey("claims.id"), nullable=False, unique=True),
        sa.Column("lead_id", sa.Uuid),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("agent_id", sa.Uuid),
        sa.Column("office_id", sa.Uuid),
        sa.Column("buyers", JSONB, nullable=False),
        sa.Column("price", sa.BigInteger, nullable=False),
        moment("created_at"),
    )
    op.create_index("bookings_unit_id", "bookings", ["unit_id"])


def moment(name: str) -> sa.Column[sa.DateTime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
