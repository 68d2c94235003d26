"""The tables of agents."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Index,
    Table,
    Text,
    Uuid,
    func,
    literal_column,
)
from sqlalchemy.dialects.postgresql import ARRAY

from agents_service.metadata import metadata

agents = Table(
    "agents",
    metadata,
    Column("id", Uuid, primary_key=True),
    # One application per person.
    Column("user_id", Uuid, nullable=False, unique=True),
    Column("office_id", Uuid),
    Column("member_full_name", Text, nullable=False),
    Column("member_mobile_phone", Text, nullable=False),
    Column("rera_agent_no", Text, nullable=False),
    Column("rera_state", Text, nullable=False),
    Column("rera_valid_to", Date, nullable=False),
    Column("verification_status", Text, nullable=False),
    Column("languages", ARRAY(Text), nullable=False),
    Column("service_areas", ARRAY(Text), nullable=False),
    Column("bio", Text),
    Column("status", Text, nullable=False),
    Column("suspended_by_office", Boolean, nullable=False, server_default="false"),
    Column("suspended_with_office", Boolean, nullable=False, server_default="false"),
    Column("registration_notice", Text),
    # While what she lists leaves the market: why, and by whom.
    Column("withdrawal", Text),
    Column("withdrawal_by", Text),
    # When she last answered leads first, and in how many seconds, the oldest first: as many as are counted.
    Column("answered_at", ARRAY(DateTime(timezone=True)), nullable=False, server_default="{}"),
    Column("answer_seconds", ARRAY(BigInteger), nullable=False, server_default="{}"),
    Column("version", BigInteger, nullable=False, server_default="1"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
# The directory, newest first: ids are UUIDv7.
Index("agents_status_id", agents.c.status, agents.c.id)
Index("agents_office_id", agents.c.office_id, agents.c.status, agents.c.id)
Index("agents_service_areas", agents.c.service_areas, postgresql_using="gin")

Index(
    "agents_rera_valid_to",
    agents.c.rera_valid_to,
    postgresql_where=agents.c.status == literal_column("'active'"),
)

Index("agents_withdrawal", agents.c.id, postgresql_where=agents.c.withdrawal.is_not(None))

# Append-only: who changed what, from, to, when and why.
agent_history = Table(
    "agent_history",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("agent_id", Uuid, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("field", Text, nullable=False),
    Column("from_value", Text),
    Column("to_value", Text),
    Column("reason", Text),
    Column("changed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
Index("agent_history_agent_id", agent_history.c.agent_id, agent_history.c.id)
