"""Whom to leave alone, and how the timeline forgets a person."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# Run as the owner: the service itself may not change what is on a timeline.
MASK = """
create function mask_activities(of_leads uuid[]) returns void
language sql security definer set search_path = crm, pg_temp
begin atomic
    update activities set text = 'Erased.' where lead_id = any(of_leads) and kind <> 'system';
end
"""


def upgrade() -> None:
    op.add_column(
        "contacts",
        sa.Column("do_not_disturb", sa.Boolean, nullable=False, server_default="false"),
    )
    op.execute(MASK)
    op.execute("revoke execute on function mask_activities from public")
    op.execute("grant execute on function mask_activities to crm_app")


def downgrade() -> None:
    op.execute("drop function mask_activities")
    op.drop_column("contacts", "do_not_disturb")
