"""The tables of saved searches and of the listings that matched them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Index,
    LargeBinary,
    Table,
    Text,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from agents_service.metadata import metadata

saved_searches = Table(
    "saved_searches",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    # The ListingFilters as they were sent.
    Column("filters", LargeBinary, nullable=False),
    # As they are matched.
    Column("wanted", JSONB, nullable=False),
    # What the search is found by.
    Column("anchors", ARRAY(Text), nullable=False),
    # Whether these, with its prices, are all it asks for.
    Column("exact", Boolean, nullable=False, server_default="false"),
    Column("price_min", BigInteger),
    Column("price_max", BigInteger),
    Column("alert", Text, nullable=False),
    Column("version", BigInteger, nullable=False, server_default="1"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # Matches until then were seen by its owner.
    Column("seen_until", DateTime(timezone=True)),
)
Index("saved_searches_user_id", saved_searches.c.user_id, saved_searches.c.id)
for _name, _which in (
    ("saved_searches_anchors", saved_searches.c.exact),
    ("saved_searches_inexact_anchors", ~saved_searches.c.exact),
):
    Index(
        _name,
        saved_searches.c.anchors,
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
        postgresql_where=(saved_searches.c.alert != "off") & _which,
    )

# Listings that became active or cheaper and wait to be matched, each as often as it did: many are matched at once.
offers = Table(
    "offers",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("listing_id", Uuid, nullable=False),
    Column("reason", Text, nullable=False),
    Column("offered_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

# Each listing once for each search, at the lowest price it matched at. Without a foreign key, whose checks cost as much
# as the rows: whoever notes matches locks their searches, and whoever deletes a search deletes its matches.
matches = Table(
    "saved_search_matches",
    metadata,
    Column("saved_search_id", Uuid, primary_key=True),
    Column("listing_id", Uuid, primary_key=True),
    Column("list_price", BigInteger, nullable=False),
    Column("reason", Text, nullable=False, server_default="new"),
    Column("matched_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # When its owner was told; absent for what waits for the morning.
    Column("told_at", DateTime(timezone=True)),
)
Index(
    "saved_search_matches_newest",
    matches.c.saved_search_id,
    matches.c.matched_at,
    matches.c.listing_id,
)
Index(
    "saved_search_matches_untold",
    matches.c.matched_at,
    postgresql_where=matches.c.told_at.is_(None),
)
