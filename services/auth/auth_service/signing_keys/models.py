"""The table of signing keys."""

from sqlalchemy import Column, DateTime, LargeBinary, Table, Text, func

from auth_service.metadata import metadata

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Text, primary_key=True),
    Column("algorithm", Text, nullable=False),
    # DER: SubjectPublicKeyInfo, and PKCS #8 under AES-256-GCM.
    Column("public_key", LargeBinary, nullable=False),
    Column("private_key", LargeBinary, nullable=False),
    # Signs from, and until.
    Column("not_before", DateTime(timezone=True), nullable=False),
    Column("retires_at", DateTime(timezone=True), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
