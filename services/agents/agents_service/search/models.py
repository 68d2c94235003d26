"""The table of places: what words may name."""

from sqlalchemy import Column, Index, Integer, Table, Text, UniqueConstraint, Uuid, text

from agents_service.metadata import metadata

# A row for each name that a place is found by: a city has several.
places = Table(
    "places",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    # city, locality, project or builder.
    Column("kind", Text, nullable=False),
    # The name it is found by, as fold() has it.
    Column("folded", Text, nullable=False),
    # What it is called.
    Column("name", Text, nullable=False),
    # Empty for a city or a builder.
    Column("city", Text, nullable=False, server_default=""),
    # The project or the builder that it is, and whose project it is.
    Column("reference_id", Uuid),
    Column("builder_id", Uuid),
    # How many listings are active there, as of the last look.
    Column("listings", Integer, nullable=False, server_default="0"),
    UniqueConstraint(
        "kind",
        "folded",
        "city",
        "reference_id",
        name="places_name",
        postgresql_nulls_not_distinct=True,
    ),
)
Index("places_folded", places.c.folded, postgresql_ops={"folded": "text_pattern_ops"})
Index(
    "places_trigrams",
    places.c.folded,
    postgresql_using="gin",
    postgresql_ops={"folded": "gin_trgm_ops"},
)
Index("places_reference_id", places.c.reference_id)
Index("places_builder_id", places.c.builder_id)
