"""The table of notices."""

from sqlalchemy import Column, Date, DateTime, Index, Integer, SmallInteger, Table, Uuid, func

from crm_service.metadata import metadata

# Text messages to agents about leads they were given, or about the end of their registration. A row is claimed before
# its message is sent and ended after, so that replicas don't send it twice; one that dies in between leaves it to be
# claimed again.
notices = Table(
    "notices",
    metadata,
    Column("id", Uuid, primary_key=True),
    # One of these says about what.
    Column("lead_id", Uuid),
    Column("rera_valid_to", Date),
    Column("agent_id", Uuid, nullable=False),
    # Its number among the notices about leads that the agent gets in an hour by the clock, from its first claim on.
    Column("place", Integer),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("claimed_until", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # When it was sent, or given up.
    Column("ended_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
Index("notices_agent_id", notices.c.agent_id, notices.c.created_at)
Index("notices_waiting", notices.c.claimed_until, postgresql_where=notices.c.ended_at.is_(None))
