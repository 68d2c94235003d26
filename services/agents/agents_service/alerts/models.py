"""The tables of alerts."""

from sqlalchemy import Column, Date, DateTime, Index, Integer, SmallInteger, Table, Uuid

from agents_service.metadata import metadata

# What waits to be told, by person and saved search. A row is taken away before its message is sent: a second message is
# worse than none, and what it was about is among the matches. No phones: auth is asked for them.
alerts = Table(
    "alerts",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("saved_search_id", Uuid, primary_key=True),
    Column("homes", Integer, nullable=False),
    # The latest of them.
    Column("listing_id", Uuid, nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False),
)
Index("alerts_due_at", alerts.c.due_at, alerts.c.user_id)

# How many messages somebody was sent on the last day that she was sent any.
alerted = Table(
    "alerted",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("day", Date, nullable=False),
    Column("messages", SmallInteger, nullable=False),
)
