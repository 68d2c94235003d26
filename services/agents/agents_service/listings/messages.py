"""Listings as the contract has them. What is read in bulk is written by hand: generic filling costs ten times that."""

import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Any

import orjson
from google.protobuf.message import Message

from agents_service.listings.domain import PUBLIC, Change, Duplicate, Listing, Owner
from chassis.errors import InvalidArgument, Violation
from chassis.protobuf import moment, names_of, numbers_of, values
from chassis.rules import is_blank
from propmubi.agents.v1 import agents_pb2
from propmubi.agents.v1 import listings_pb2 as pb

_LISTING_TYPE: Mapping[str, Any] = numbers_of(pb.ListingType.DESCRIPTOR)
_PROPERTY_TYPE: Mapping[str, Any] = numbers_of(pb.PropertyType.DESCRIPTOR)
_STATUS: Mapping[str, Any] = numbers_of(pb.StandardStatus.DESCRIPTOR)
_FURNISHING: Mapping[str, Any] = numbers_of(pb.Furnishing.DESCRIPTOR)
_FACING: Mapping[str, Any] = numbers_of(pb.Facing.DESCRIPTOR)
_POSSESSION: Mapping[str, Any] = numbers_of(pb.PossessionStatus.DESCRIPTOR)
_MEDIA_KIND: Mapping[str, Any] = numbers_of(pb.MediaKind.DESCRIPTOR)
_AGENT_STATUS: Mapping[str, Any] = numbers_of(agents_pb2.AgentStatus.DESCRIPTOR)

# What an agent says of a home, besides its address and media.
_PLAIN = (
    "listing_type",
    "property_type",
    "property_sub_type",
    "list_price",
    "bhk",
    "bedrooms_total",
    "bathrooms_total",
    "carpet_area",
    "built_up_area",
    "super_built_up_area",
    "furnishing",
    "facing",
    "floor",
    "total_floors",
    "year_built",
    "possession_status",
    "possession_date",
    "project_id",
    "unit_id",
    "rera_project_no",
    "latitude",
    "longitude",
    "amenities",
    "public_remarks",
    "listing_contract_date",
    "expiration_date",
    "activation_date",
)
INPUT = (*_PLAIN, "address", "media")
_DATES = {"possession_date", "listing_contract_date", "expiration_date", "activation_date"}
_IDS = {"project_id", "unit_id"}
_ADDRESS = {
    "line": "address_line",
    "building_name": "building_name",
    "unit_number": "unit_number",
    "subdivision_name": "subdivision_name",
    "city": "city",
    "state": "state",
    "postal_code": "postal_code",
}

_MEDIUM = ("url", "caption", "kind")

# The columns of what an agent says of a home.
SAID = (*_PLAIN, *_ADDRESS.values(), "media")


def folded(words: Iterable[str]) -> list[str]:
    """`words` as they are compared: lower case, each once."""
    return list(dict.fromkeys(word.strip().lower() for word in words))


def _names(enum: Any) -> Callable[[Iterable[int]], list[str]]:
    names = names_of(enum)
    return lambda numbers: list(dict.fromkeys(names[number] for number in numbers))


def _once(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


_listing_types = _names(pb.ListingType.DESCRIPTOR)
_possession_statuses = names_of(pb.PossessionStatus.DESCRIPTOR)
# How each filter of a search is read; what may have several values becomes a list.
_FILTERS: Mapping[str, Callable[[Any], Any]] = {
    "q": str,
    "listing_type": lambda number: _listing_types([number]),
    "city": lambda city: folded([city]),
    "subdivision_name": folded,
    "postal_code": _once,
    "bhk": _once,
    "price_min": int,
    "price_max": int,
    "carpet_area_min": int,
    "carpet_area_max": int,
    "property_type": _names(pb.PropertyType.DESCRIPTOR),
    "furnishing": _names(pb.Furnishing.DESCRIPTOR),
    "facing": _names(pb.Facing.DESCRIPTOR),
    "possession_status": lambda number: _possession_statuses[number],
    "amenities": folded,
    "list_agent_id": lambda agent_id: [uuid.UUID(agent_id)],
    "project_id": lambda project_id: [uuid.UUID(project_id)],
    "standard_status": _names(pb.StandardStatus.DESCRIPTOR),
    "price_per_sqft_min": int,
    "price_per_sqft_max": int,
    "floor_min": int,
    "floor_max": int,
    "ready_by": date.fromisoformat,
    "posted_since": moment,
    "price_dropped_since": moment,
    "has_media": bool,
    "rera_verified": bool,
    "list_office_id": lambda office_id: [uuid.UUID(office_id)],
    "bbox": str,
    "near": str,
    "radius_m": int,
    "polygon": str,
}


def to_proto(listing: Listing, now: datetime) -> pb.Listing:
    """`listing` as it is shown at `now`."""
    on_market = listing.on_market_date
    return pb.Listing(
        id=str(listing.id),
        listing_number=_number(listing.listing_number),
        list_agent_id=str(listing.list_agent_id),
        list_office_id=_id(listing.list_office_id),
        listing_type=_LISTING_TYPE[listing.listing_type],
        property_type=_PROPERTY_TYPE[listing.property_type],
        property_sub_type=listing.property_sub_type,
        standard_status=_STATUS[listing.standard_status],
        list_price=listing.list_price,
        original_list_price=listing.original_list_price,
        close_price=listing.close_price,
        close_date=_day(listing.close_date),
        bhk=listing.bhk,
        bedrooms_total=listing.bedrooms_total,
        bathrooms_total=listing.bathrooms_total,
        carpet_area=listing.carpet_area,
        built_up_area=listing.built_up_area,
        super_built_up_area=listing.super_built_up_area,
        furnishing=_FURNISHING[listing.furnishing] if listing.furnishing else None,
        facing=_FACING[listing.facing] if listing.facing else None,
        floor=listing.floor,
        total_floors=listing.total_floors,
        year_built=listing.year_built,
        possession_status=(
            _POSSESSION[listing.possession_status] if listing.possession_status else None
        ),
        possession_date=_day(listing.possession_date),
        project_id=_id(listing.project_id),
        unit_id=_id(listing.unit_id),
        rera_project_no=listing.rera_project_no,
        address=_address(listing),
        latitude=listing.latitude,
        longitude=listing.longitude,
        amenities=listing.amenities,
        public_remarks=listing.public_remarks,
        media=_media(listing.media),
        listing_contract_date=_day(listing.listing_contract_date),
        on_market_date=_time(on_market) if on_market else None,
        expiration_date=_day(listing.expiration_date),
        days_on_market=listing.days_on_market(now),
        activation_date=_day(listing.activation_date),
        relist_of=_id(listing.relist_of),
        cumulative_days_on_market=listing.cumulative_days_on_market(now),
        version=listing.version,
        created_at=_time(listing.created_at),
        updated_at=_time(listing.updated_at),
        price_per_sqft=listing.price_per_sqft,
    )


def duplicate_to_proto(duplicate: Duplicate) -> pb.Duplicate:
    return pb.Duplicate(
        listing_id=str(duplicate.listing_id),
        listing_number=_number(duplicate.listing_number),
        list_agent_id=str(duplicate.list_agent_id),
        list_office_id=_id(duplicate.list_office_id),
        standard_status=_STATUS[duplicate.standard_status],
        list_price=duplicate.list_price,
        grounds=(
            pb.DUPLICATE_GROUNDS_SAME_UNIT if duplicate.same_unit else pb.DUPLICATE_GROUNDS_ALIKE
        ),
    )


def owner_to_proto(owner: Owner) -> pb.ListingOwner:
    return pb.ListingOwner(
        listing_id=str(owner.listing_id),
        public=owner.standard_status in PUBLIC,
        agent_id=str(owner.agent_id),
        user_id=str(owner.user_id),
        office_id=_id(owner.office_id),
        agent_status=_AGENT_STATUS[owner.agent_status],
        member_mobile_phone=owner.member_mobile_phone,
        summary=summary_of(owner),
    )


def change_to_proto(change: Change) -> pb.ListingChange:
    return pb.ListingChange(
        id=str(change.id),
        field=change.field,
        from_value=change.from_value,
        to_value=change.to_value or "",
        changed_at=_time(change.changed_at),
    )


def from_wire(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that the fields `wanted` of a listing, as `values` reads them, set; raises InvalidArgument."""
    given = dict(wanted)
    if given.get("address") is not None:
        given["address"] = values(given["address"], *_ADDRESS)
    if "media" in given:
        given["media"] = [values(medium, *_MEDIUM) for medium in given["media"]]
    return columns_of(given)


def columns_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that fields set, where the address and each of the media is a mapping; raises InvalidArgument."""
    columns = dict(given)
    for name in _DATES & columns.keys():
        columns[name] = columns[name] and date.fromisoformat(columns[name])
    for name in _IDS & columns.keys():
        columns[name] = columns[name] and uuid.UUID(columns[name])
    if "amenities" in columns:
        columns["amenities"] = folded(columns["amenities"])
    if "media" in columns:
        columns["media"] = orjson.dumps([_medium(medium) for medium in columns["media"]]).decode()
    if "address" in columns:
        columns |= _address_columns(columns.pop("address"))
    return columns


def filters_from_wire(*asking: Message) -> dict[str, Any]:
    """What the messages of a search ask for, by the names of their fields."""
    return {
        field.name: read(value)
        for message in asking
        for field, value in message.ListFields()
        if (read := _FILTERS.get(field.name)) is not None
    }


def field_of(column: str) -> str:
    """The field of a listing that `column` is part of."""
    return "address" if column in _ADDRESS.values() else column


def status_number(status: str) -> Any:
    return _STATUS[status]


def _address(listing: Listing) -> Any:
    if listing.city is None:
        return None
    return {
        "line": listing.address_line,
        "building_name": listing.building_name,
        "unit_number": listing.unit_number,
        "subdivision_name": listing.subdivision_name,
        "city": listing.city,
        "state": listing.state,
        "postal_code": listing.postal_code,
    }


def _address_columns(address: Mapping[str, str | None] | None) -> dict[str, str | None]:
    if address is None:
        return dict.fromkeys(_ADDRESS.values())
    stripped = {name: value and " ".join(value.split()) for name, value in address.items()}
    blank = [name for name, value in stripped.items() if value is not None and is_blank(value)]
    if blank:
        raise InvalidArgument(
            *(Violation(f"listing.address.{name}", "must not be blank") for name in blank)
        )
    return {column: stripped.get(name) for name, column in _ADDRESS.items()}


def _media(stored: str) -> Any:
    if stored == "[]":
        return None
    return [{**medium, "kind": _MEDIA_KIND[medium["kind"]]} for medium in orjson.loads(stored)]


def _medium(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: given[name] for name in _MEDIUM if given.get(name) is not None}


def summary_of(owner: Owner) -> str:
    """Such as "2 BHK apartment for sale in Wakad, Pune"."""
    size = f"{owner.bhk:g} BHK" if owner.bhk else None
    words = (size, owner.property_type.replace("_", " "), f"for {owner.listing_type}")
    place = ", ".join(filter(None, (owner.subdivision_name, owner.city)))
    return " ".join(filter(None, (*words, place and f"in {place}")))


def _number(number: int) -> str:
    return f"PM-{number:06d}"


def _id(value: uuid.UUID | None) -> str | None:
    return None if value is None else str(value)


def _day(value: date | None) -> str | None:
    return None if value is None else value.isoformat()


def _time(moment: datetime) -> Any:
    # A mapping where a Timestamp belongs is copied in at half the cost of one.
    return {"seconds": int(moment.timestamp()), "nanos": moment.microsecond * 1000}
