"""A place is found by the words of its name: Dr. Ambedkar Veedhi is searched for as dr ambedkar veedhi.

Names that become the same are one place; how many listings it has is counted within minutes, as always.
"""

from alembic import op

revision = "0019"
down_revision = "0018"

# Only ASCII is named: fold() made ASCII of other points, and classes of letters end Indian words at each mark.
FOLD_NAME = r"""
create function fold_name(value text) returns text
language sql immutable strict parallel safe
return btrim(regexp_replace(fold(value), '[][!-/:-@\\^_`{-~\s]+', ' ', 'g'))
"""
RENAME = """
with pointed as (
    delete from places where folded <> fold_name(folded) returning *
)
insert into places (kind, folded, name, city, reference_id, builder_id, listings)
select kind, fold_name(folded), name, city, reference_id, builder_id, listings from pointed
on conflict on constraint places_name do nothing
"""


def upgrade() -> None:
    op.execute(FOLD_NAME)
    op.execute(RENAME)


def downgrade() -> None:
    op.execute("drop function fold_name")
