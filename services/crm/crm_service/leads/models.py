"""The tables of contacts and leads."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from crm_service.metadata import metadata

# Literal, so that the partial indexes serve the statements that say the same.
HOLDS_TARGET = text("leads.stage not in ('booked', 'junk')")
UNASSIGNED = text(
    "leads.owner_agent_id is null and leads.owner_builder_id is null"
    " and leads.stage not in ('booked', 'lost', 'junk')"
)

contacts = Table(
    "contacts",
    metadata,
    Column("id", Uuid, primary_key=True),
    # The office, solo agent or builder that knows her; null until her lead is assigned.
    Column("account_id", Uuid),
    Column("phone", Text, nullable=False),
    Column("full_name", Text, nullable=False),
    Column("do_not_disturb", Boolean, nullable=False, server_default="false"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
Index(
    "contacts_phone_account",
    contacts.c.phone,
    contacts.c.account_id,
    unique=True,
    postgresql_nulls_not_distinct=True,
)

leads = Table(
    "leads",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("contact_id", Uuid, ForeignKey("contacts.id"), nullable=False),
    # The contact's, repeated: an office's pipeline is read by it.
    Column("account_id", Uuid),
    Column("target_kind", Text, nullable=False),
    Column("target_id", Uuid, nullable=False),
    Column("source", Text),
    Column("sub_source", Text),
    Column("campaign", Text),
    Column("bhk", ARRAY(Double)),
    Column("budget_min", BigInteger),
    Column("budget_max", BigInteger),
    Column("localities", ARRAY(Text)),
    Column("possession", Text),
    Column("score", SmallInteger),
    # Who answers: one of them at most.
    Column("owner_agent_id", Uuid),
    Column("owner_builder_id", Uuid),
    Column("stage", Text, nullable=False),
    Column("lost_reason", Text),
    # When it was given to its owner, or made.
    Column("assigned_at", DateTime(timezone=True), server_default=func.now()),
    Column("sla_due_at", DateTime(timezone=True)),
    Column("first_responded_at", DateTime(timezone=True)),
    # When to ask again who is to own it.
    Column("assign_after", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("version", BigInteger, nullable=False, server_default="1"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
# One lead per person and target that a new enquiry adds to; the lost one is among them, because it is reengaged.
Index(
    "leads_contact_target",
    leads.c.contact_id,
    leads.c.target_id,
    unique=True,
    postgresql_where=HOLDS_TARGET,
)
# The pipelines, newest first: ids are UUIDv7.
Index("leads_owner_id", leads.c.owner_agent_id, leads.c.id)
Index(
    "leads_owner_builder_id",
    leads.c.owner_builder_id,
    leads.c.id,
    postgresql_where=leads.c.owner_builder_id.is_not(None),
)
Index("leads_account_id", leads.c.account_id, leads.c.id)
Index(
    "leads_unassigned",
    leads.c.target_kind,
    leads.c.assign_after,
    postgresql_where=UNASSIGNED,
)

# Agents who are given no leads, as agents told us. What is remembered of a listing's owner may be older.
suspended_agents = Table(
    "suspended_agents",
    metadata,
    Column("agent_id", Uuid, primary_key=True),
    Column("since", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
