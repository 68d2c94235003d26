"""The table of activities."""

from sqlalchemy import Column, DateTime, ForeignKey, Index, Table, Text, Uuid, func

from crm_service.metadata import metadata

# Append-only.
activities = Table(
    "activities",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("lead_id", Uuid, ForeignKey("leads.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("user_id", Uuid),
    Column("from_stage", Text),
    Column("to_stage", Text),
    # What it is about elsewhere, such as `enquiry:<external id>`. A lead hears of each once.
    Column("reference", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
# The timeline, newest first: ids are UUIDv7.
Index("activities_lead_id", activities.c.lead_id, activities.c.id)
Index(
    "activities_reference",
    activities.c.reference,
    activities.c.lead_id,
    unique=True,
    postgresql_where=activities.c.reference.is_not(None),
)
