"""What lists of users and of the audit log are read from."""

from alembic import op

revision = "0004"
down_revision = "0003"

INDEXES = {
    "users_status_id": ("users", ["status", "id"]),
    "role_grants_role_user_id": ("role_grants", ["role", "user_id"]),
    "audit_events_action_id": ("audit_events", ["action", "id"]),
    "audit_events_actor_id": ("audit_events", ["actor", "id"]),
}


def upgrade() -> None:
    for name, (table, columns) in INDEXES.items():
        op.create_index(name, table, columns)


def downgrade() -> None:
    for name, (table, _) in INDEXES.items():
        op.drop_index(name, table)
