"""Days off the market count no more once a listing is back; an agent's listings leave it in several transactions."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

# What is pending has left the market too.
PENDING = """
update listings set off_market_date = coalesce(
    (select max(changed_at) from listing_history
        where listing_id = listings.id and field = 'standard_status' and to_value = 'pending'),
    updated_at
)
where standard_status = 'pending' and on_market_date is not null
"""
# As their histories have it: whatever they were between leaving the market and coming back.
AWAY = """
with moves as (
    select listing_id, to_value, changed_at,
        lead(changed_at) over (partition by listing_id order by id) as next_at
    from listing_history where field = 'standard_status'
), away as (
    select listing_id, sum(extract(epoch from next_at - changed_at))::bigint as seconds
    from moves join listings on listings.id = moves.listing_id
    where to_value not in ('active', 'active_under_contract') and changed_at >= on_market_date
        and next_at is not null and changed_at < coalesce(off_market_date, 'infinity')
    group by listing_id
)
update listings set off_market_seconds = away.seconds from away
where away.listing_id = listings.id and away.seconds > 0
"""


def upgrade() -> None:
    op.add_column(
        "listings",
        sa.Column("off_market_seconds", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.execute(
        "update listings set off_market_date = null"
        " where on_market_date is null and off_market_date is not null"
    )
    op.execute(PENDING)
    op.execute(AWAY)
    for column in ("withdrawal", "withdrawal_by"):
        op.add_column("agents", sa.Column(column, sa.Text))
    op.create_index(
        "agents_withdrawal", "agents", ["id"], postgresql_where=sa.text("withdrawal is not null")
    )


def downgrade() -> None:
    op.execute("update listings set off_market_date = null where standard_status = 'pending'")
    for column in ("withdrawal_by", "withdrawal"):
        op.drop_column("agents", column)
    op.drop_column("listings", "off_market_seconds")
