"""How the history of agents forgets a person."""

from alembic import op

revision = "0007"
down_revision = "0006"

# Run as the owner: the service itself may not change what is in a history.
MASK = """
create function mask_agent_history(of_agent uuid) returns void
language sql security definer set search_path = agents, pg_temp
begin atomic
    update agent_history set from_value = null, to_value = null, reason = null
    where agent_id = of_agent and field <> 'status';
end
"""


def upgrade() -> None:
    op.execute(MASK)
    op.execute("revoke execute on function mask_agent_history from public")
    op.execute("grant execute on function mask_agent_history to agents_app")


def downgrade() -> None:
    op.execute("drop function mask_agent_history")
