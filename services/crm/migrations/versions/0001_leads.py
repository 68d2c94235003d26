"""Contacts, leads, their timeline and the notices of them, and the tables every service has."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from chassis.migrate import create_platform_tables, drop_platform_tables

revision = "0001"
down_revision = None

STAGES = (
    "'new', 'assigned', 'contacted', 'qualified', 'site_visit_scheduled', 'site_visited', 'negotiation',"
    " 'booked', 'lost', 'junk', 'reengaged'"
)


def moment(name: str, *, now: bool = False) -> sa.Column[sa.DateTime]:
    default = sa.func.now() if now else None
    return sa.Column(name, sa.DateTime(timezone=True), nullable=not now, server_default=default)


def upgrade() -> None:
    create_platform_tables(op)
    op.create_table(
        "contacts",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("account_id", sa.Uuid),
        sa.Column("phone", sa.Text, nullable=False),
        sa.Column("full_name", sa.Text, nullable=False),
        moment("created_at", now=True),
    )
    op.create_index(
        "contacts_phone_account",
        "contacts",
        ["phone", "account_id"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    op.create_table(
        "leads",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("contact_id", sa.Uuid, sa.ForeignKey("contacts.id"), nullable=False),
        sa.Column("account_id", sa.Uuid),
        sa.Column("target_kind", sa.Text, nullable=False),
        sa.Column("target_id", sa.Uuid, nullable=False),
        sa.Column("source", sa.Text),
        sa.Column("sub_source", sa.Text),
        sa.Column("campaign", sa.Text),
        sa.Column("bhk", ARRAY(sa.Double)),
        sa.Column("budget_min", sa.BigInteger),
        sa.Column("budget_max", sa.BigInteger),
        sa.Column("localities", ARRAY(sa.Text)),
        sa.Column("possession", sa.Text),
        sa.Column("score", sa.SmallInteger),
        sa.Column("owner_agent_id", sa.Uuid),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("lost_reason", sa.Text),
        moment("sla_due_at"),
        moment("first_responded_at"),
        moment("assign_after", now=True),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="1"),
        moment("created_at", now=True),
        moment("updated_at", now=True),
        sa.CheckConstraint("target_kind in ('listing', 'project')", "leads_target_kind"),
        sa.CheckConstraint(f"stage in ({STAGES})", "leads_stage"),
        # An owner comes with her account, and with the clock.
        sa.CheckConstraint(
            "owner_agent_id is null or account_id is not null and sla_due_at is not null",
            "leads_owned",
        ),
    )
    op.create_index(
        "leads_contact_target",
        "leads",
        ["contact_id", "target_id"],
        unique=True,
        postgresql_where=sa.text("stage not in ('booked', 'junk')"),
    )
    op.create_index("leads_owner_id", "leads", ["owner_agent_id", "id"])
    op.create_index("leads_account_id", "leads", ["account_id", "id"])
    op.create_index(
        "leads_unassigned",
        "leads",
        ["assign_after"],
        postgresql_where=sa.text(
            "owner_agent_id is null and target_kind = 'listing'"
            " and stage not in ('booked', 'lost', 'junk')"
        ),
    )
    op.create_table(
        "suspended_agents",
        sa.Column("agent_id", sa.Uuid, primary_key=True),
        moment("since", now=True),
    )
    op.create_table(
        "activities",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("lead_id", sa.Uuid, sa.ForeignKey("leads.id"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("user_id", sa.Uuid),
        sa.Column("from_stage", sa.Text),
        sa.Column("to_stage", sa.Text),
        sa.Column("reference", sa.Text),
        moment("created_at", now=True),
        sa.CheckConstraint(
            "kind in ('call', 'note', 'message', 'meeting', 'system')", "activities_kind"
        ),
    )
    op.create_index("activities_lead_id", "activities", ["lead_id", "id"])
    op.create_index(
        "activities_reference",
        "activities",
        ["reference", "lead_id"],
        unique=True,
        postgresql_where=sa.text("reference is not null"),
    )
    op.execute("revoke update, delete on activities from crm_app")
    op.create_table(
        "notices",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("lead_id", sa.Uuid, nullable=False),
        sa.Column("agent_id", sa.Uuid, nullable=False),
        sa.Column("attempts", sa.SmallInteger, nullable=False, server_default="0"),
        moment("claimed_until", now=True),
        moment("ended_at"),
        moment("created_at", now=True),
    )
    op.create_index(
        "notices_waiting",
        "notices",
        ["claimed_until"],
        postgresql_where=sa.text("ended_at is null"),
    )


def downgrade() -> None:
    for table in ("notices", "activities", "suspended_agents", "leads", "contacts"):
        op.drop_table(table)
    drop_platform_tables(op)
