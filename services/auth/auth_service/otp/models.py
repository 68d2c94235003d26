"""The table of one-time passwords."""

from sqlalchemy import Column, Date, DateTime, Index, Integer, LargeBinary, Table, Text, Uuid, func

from auth_service.metadata import metadata

otp_challenges = Table(
    "otp_challenges",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("phone", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("code_hash", LargeBinary, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
# One live challenge for each phone and purpose.
Index(
    "otp_challenges_issued",
    otp_challenges.c.phone,
    otp_challenges.c.purpose,
    unique=True,
    postgresql_where=otp_challenges.c.status == "issued",
)
Index("otp_challenges_created_at", otp_challenges.c.created_at)

# How many codes were sent on each day of India's.
otp_days = Table(
    "otp_days",
    metadata,
    Column("day", Date, primary_key=True),
    Column("sent", Integer, nullable=False),
)
