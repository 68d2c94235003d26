"""The table of passwords."""

from sqlalchemy import Column, DateTime, ForeignKey, LargeBinary, Table, Uuid, func

from auth_service.metadata import metadata

passwords = Table(
    "passwords",
    metadata,
    Column("user_id", Uuid, ForeignKey("users.id"), primary_key=True),
    Column("encrypted_hash", LargeBinary, nullable=False),
    Column("set_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
