"""RERA numbers of newer forms, and Haryana's, count as well formed."""

from alembic import op

from chassis import rera

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    cases = " ".join(
        f"when '{state}' then btrim(number) ~* '^({patterns['project']})$'"
        for state, patterns in rera.PATTERNS.items()
    )
    function = f"""
        create or replace function rera_well_formed(state text, number text) returns boolean
        language sql immutable parallel safe
        return coalesce(case lower(btrim(state)) {cases} end, false)
        """
    op.execute(function.replace(r"\d", "[0-9]"))
    # What is generated from it is written anew where it may differ.
    op.execute(
        "update listings set state = state where rera_project_no is not null"
        " and lower(btrim(state)) in ('haryana', 'uttar pradesh')"
    )


def downgrade() -> None:
    """The version before knows fewer forms; what it makes of them is no other column."""
