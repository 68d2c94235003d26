"""The tables that every service's schema has besides its own, and the SQL that creates them.

Names carry no schema: a service's role sees its own schema and the extensions, nothing else.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    text,
)

metadata = MetaData()

_now = text("now()")

# The log of events. Rows stay for a week, so that a lost Redis can be filled again.
outbox = Table(
    "outbox",
    metadata,
    # Rises with the sequence within an aggregate: it is drawn while the aggregate's counter is locked.
    Column("position", BigInteger, Identity(always=True), primary_key=True),
    Column("id", Uuid, nullable=False),
    Column("aggregate_id", Uuid, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    # The event's name, such as "listing.price_changed".
    Column("name", Text, nullable=False),
    # A serialised google.protobuf.Any.
    Column("payload", LargeBinary, nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("traceparent", Text, nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False, server_default=_now),
    Column("published_at", DateTime(timezone=True)),
)
Index("outbox_unpublished", outbox.c.position, postgresql_where=outbox.c.published_at.is_(None))
Index("outbox_aggregate_sequence", outbox.c.aggregate_id, outbox.c.sequence, unique=True)

# The last sequence of each aggregate; its row lock puts an aggregate's events in the order of their commits.
event_sequence = Table(
    "event_sequence",
    metadata,
    Column("aggregate_id", Uuid, primary_key=True),
    Column("last", BigInteger, nullable=False),
)

# How far each aggregate of another service was followed: an event at or below is a duplicate.
inbox = Table(
    "inbox",
    metadata,
    Column("source", Text, primary_key=True),
    Column("aggregate_id", Uuid, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("applied_at", DateTime(timezone=True), nullable=False, server_default=_now),
)

# Events that failed too often, and those of the same aggregate that wait behind them.
dead_letter = Table(
    "dead_letter",
    metadata,
    Column("source", Text, primary_key=True),
    Column("aggregate_id", Uuid, primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    # A serialised propmubi.common.v1.Event.
    Column("event", LargeBinary, nullable=False),
    Column("error", Text, nullable=False),
    # 0 for one that waits. Set to 0, it asks the consumer to try again: that is how an event is redriven.
    Column("attempts", Integer, nullable=False),
    Column("set_aside_at", DateTime(timezone=True), nullable=False, server_default=_now),
)

# Which replica does the work that only one may do.
lease = Table(
    "lease",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Uuid, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)

# What was answered to calls that carried an Idempotency-Key.
idempotency_key = Table(
    "idempotency_key",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("rpc", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request_hash", LargeBinary, nullable=False),
    Column("reply", LargeBinary, nullable=False),
    # Trailers of the first answer, as JSON.
    Column("trailers", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now),
)
Index("idempotency_key_created_at", idempotency_key.c.created_at)
