"""What surrounds a search, as the contract has it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agents_service.search.domain import PRICE_BANDS, Place
from agents_service.search.geometry import degrees
from agents_service.search.repository import Cluster
from chassis.protobuf import numbers_of
from propmubi.agents.v1 import listings_pb2, search_pb2

# Enums of what is read from words, by field.
_ENUMS: Mapping[str, Any] = {
    name: numbers_of(enum.DESCRIPTOR)
    for name, enum in {
        "listing_type": listings_pb2.ListingType,
        "property_type": listings_pb2.PropertyType,
        "furnishing": listings_pb2.Furnishing,
        "facing": listings_pb2.Facing,
        "possession_status": listings_pb2.PossessionStatus,
    }.items()
}
_KINDS: Mapping[str, Any] = numbers_of(listings_pb2.PlaceKind.DESCRIPTOR)
MOST_LOCALITIES = 20


def read_as_to_proto(
    filters: Mapping[str, Any], places: Iterable[Place], words: Iterable[str]
) -> listings_pb2.ReadAs:
    read: dict[str, Any] = {}
    for name, value in filters.items():
        enum = _ENUMS.get(name)
        if enum is None:
            read[name] = value
        elif isinstance(value, str):
            read[name] = enum[value]
        else:
            read[name] = [enum[item] for item in value]
    if "listing_type" in read:
        [read["listing_type"]] = read["listing_type"]
    return listings_pb2.ReadAs(**read, places=map(place_to_proto, places), words=words)


def place_to_proto(place: Place) -> listings_pb2.Place:
    return listings_pb2.Place(
        kind=_KINDS[place.kind],
        name=place.name,
        city=place.city or None,
        id=str(place.reference_id) if place.reference_id else None,
        listings=place.listings,
    )


def facets_to_proto(
    counts: Mapping[str, Sequence[tuple[str, int]]], total: int, capped: bool
) -> search_pb2.ListingFacets:
    def facet(name: str) -> list[search_pb2.FacetCount]:
        return [search_pb2.FacetCount(value=value, count=count) for value, count in counts[name]]

    bands = sorted((int(value), count) for value, count in counts["band"])
    return search_pb2.ListingFacets(
        localities=facet("locality")[:MOST_LOCALITIES],
        bhk=sorted(facet("bhk"), key=lambda each: float(each.value)),
        price_bands=[_band(number, count) for number, count in bands],
        property_types=facet("property_type"),
        total=total,
        capped=capped,
    )


def _band(number: int, count: int) -> search_pb2.PriceBandCount:
    """Bands are counted from 1, as Postgres does."""
    above = PRICE_BANDS[number] if number < len(PRICE_BANDS) else None
    return search_pb2.PriceBandCount(
        price_min=PRICE_BANDS[number - 1], price_below=above, count=count
    )


def cluster_to_proto(cluster: Cluster) -> search_pb2.Cluster:
    longitude, latitude = degrees(cluster.x, cluster.y)
    return search_pb2.Cluster(
        latitude=round(latitude, 6),
        longitude=round(longitude, 6),
        count=cluster.listings,
        price_min=cluster.price_min,
        listing_id=cluster.listing_id if cluster.listings == 1 else None,
    )
