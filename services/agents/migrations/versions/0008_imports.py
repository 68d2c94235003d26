"""Imports, what is wrong with their rows, and what offices call their listings."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0008"
down_revision = "0007"

COUNTS = ("pieces", "pieces_read", "attempts", "rows", "created", "updated", "unchanged", "failed")


def upgrade() -> None:
    op.create_table(
        "imports",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("agent_id", sa.Uuid, nullable=False),
        sa.Column("office_id", sa.Uuid),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("failure", sa.Text),
        sa.Column("size", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("rest", sa.LargeBinary, nullable=False, server_default=""),
        sa.Column("header", ARRAY(sa.Text)),
        *(sa.Column(name, sa.Integer, nullable=False, server_default="0") for name in COUNTS),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint(
            "status in ('receiving', 'running', 'done', 'failed')", "imports_status"
        ),
    )
    op.create_index(
        "imports_under_way",
        "imports",
        ["created_by"],
        unique=True,
        postgresql_where=sa.text("status in ('receiving', 'running')"),
    )
    op.create_index("imports_created_at", "imports", ["created_at"])
    op.create_table(
        "import_pieces",
        sa.Column(
            "import_id",
            sa.Uuid,
            sa.ForeignKey("imports.id", ondelete="cascade"),
            primary_key=True,
        ),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("content", sa.LargeBinary),
    )
    op.create_table(
        "import_errors",
        sa.Column("position", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column(
            "import_id", sa.Uuid, sa.ForeignKey("imports.id", ondelete="cascade"), nullable=False
        ),
        sa.Column("row", sa.Integer, nullable=False),
        sa.Column("external_id", sa.Text),
        sa.Column("field", sa.Text),
        sa.Column("message", sa.Text, nullable=False),
    )
    op.create_index("import_errors_import_id", "import_errors", ["import_id", "position"])
    op.add_column("listings", sa.Column("external_id", sa.Text))
    op.create_index(
        "listings_external_id",
        "listings",
        ["list_agent_id", "external_id"],
        unique=True,
        postgresql_where=sa.text("external_id is not null"),
    )
    for owner in ("list_agent_id", "list_office_id"):
        op.create_index(f"listings_{owner}_id", "listings", [owner, "id"])


def downgrade() -> None:
    op.drop_index("listings_list_office_id_id", "listings")
    op.drop_index("listings_list_agent_id_id", "listings")
    op.drop_column("listings", "external_id")
    for table in ("import_errors", "import_pieces", "imports"):
        op.drop_table(table)
