"""A home is found by its building's name.

To generate the words anew would write all listings and their indexes anew, and nobody could read one for minutes. So a
trigger writes them from now on, for the release before as well: a column ceases to be generated in an instant. Then
those with a building are written in small transactions, each of which an agent's own change waits for a moment at most,
and a job that dies between two of them begins again.
"""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

# However a listing is written, and by whomever: the path of schemas is the function's own.
WRITES = """
create or replace function write_search_text() returns trigger
language plpgsql set search_path from current
as $$
begin
    new.search_text := fold(concat_ws(
        ' ', new.address_line, new.building_name, new.subdivision_name, new.city, new.property_sub_type
    ));
    return new;
end
$$
"""
TRIGGER = """
create or replace trigger listings_search_text
before insert or update of address_line, building_name, subdivision_name, city, property_sub_type
on listings for each row execute function write_search_text()
"""
AT_ONCE = 1_000
WRITE = sa.text("""
with piece as materialized (
    select id from listings where building_name is not null and id > :last
    order by id limit :at_once for update
), written as (
    update listings set building_name = building_name where id in (select id from piece)
)
select max(id::text)::uuid from piece
""").bindparams(sa.bindparam("last", type_=sa.Uuid), at_once=AT_ONCE)
BEFORE = (
    "fold(coalesce(address_line, '') || ' ' || coalesce(subdivision_name, '') || ' ' || coalesce(city, '')"
    " || ' ' || coalesce(property_sub_type, ''))"
)
# What holds the words.
INDEXES = {
    "listings_newest": (),
    "listings_city_newest": ("city_key",),
    "listings_subdivision_name_newest": ("subdivision_key",),
    "listings_postal_code_newest": ("postal_code",),
}
HELD = (
    *("city_key", "subdivision_name", "property_type", "furnishing", "facing", "possession_status"),
    *("possession_date", "price_key", "price_per_sqft_key", "carpet_area", "floor"),
    *("price_dropped_at", "has_media", "rera_verified", "amenity_bits", "search_text"),
)


def upgrade() -> None:
    op.execute("alter table listings alter column search_text drop expression if exists")
    op.execute(WRITES)
    op.execute(TRIGGER)
    with op.get_context().autocommit_block():
        last: uuid.UUID | None = uuid.UUID(int=0)
        while last:
            last = op.get_bind().execute(WRITE, {"last": last}).scalar_one()


def downgrade() -> None:
    op.execute("drop trigger listings_search_text on listings")
    op.execute("drop function write_search_text")
    op.execute(
        "alter table listings drop column search_text,"
        f" add column search_text text generated always as ({BEFORE}) stored"
    )
    for name, place in INDEXES.items():
        keys = (*place, "standard_status", "listing_type", "newest_key", "id", "bhk")
        held = [column for column in HELD if column not in keys]
        op.create_index(name, "listings", [*keys], postgresql_include=held)
    op.create_index(
        "listings_search_text",
        "listings",
        ["search_text"],
        postgresql_using="gin",
        postgresql_ops={"search_text": "gin_trgm_ops"},
    )
