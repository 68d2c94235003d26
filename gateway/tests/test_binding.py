"""Requests as HTTP brings them, bound to messages."""

from collections.abc import Callable
from functools import cache
from typing import Any

import orjson
import pytest
from google.protobuf.message import Message

from chassis.errors import InvalidArgument, NotFound
from gateway.binding import Binder
from gateway.contract import load_contract
from gateway.errors import EdgeError
from propmubi.agents.v1 import listings_pb2 as listings

ID = "01935b0e-7f1c-7b1e-9a51-0c2f6f3a9c11"
ADDRESS = {
    "subdivision_name": "Wakad",
    "city": "Pune",
    "state": "Maharashtra",
    "postal_code": "411057",
}
LISTING: dict[str, Any] = {"listing_type": "sale", "property_type": "apartment"}
JSON = "application/json"


@cache
def binders() -> dict[str, Binder]:
    return {operation.operation_id: Binder(operation) for operation in load_contract().operations}


def bind(
    name: str,
    *,
    path: str = "",
    query: str = "",
    body: object = None,
    type_: str | None = JSON,
    tag: str | None = None,
) -> Message:
    parameters = binders()[name].operation.path_parameters
    sent = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    return binders()[name].bind(dict.fromkeys(parameters, path), query.encode(), sent, type_, tag)


def faults(attempt: Callable[[], object]) -> dict[str, str]:
    with pytest.raises(InvalidArgument) as error:
        attempt()
    return {violation.field: violation.message for violation in error.value.violations}


def create(**fields: object) -> listings.Listing:
    message = bind("createListing", body={**LISTING, **fields})
    assert isinstance(message, listings.CreateListingRequest)
    return message.listing


def create_faults(**fields: object) -> dict[str, str]:
    return faults(lambda: create(**fields))


def test_a_path_parameter_is_bound() -> None:
    assert bind("getListing", path=ID) == listings.GetListingRequest(listing_id=ID)


@pytest.mark.parametrize("path", ["", "1", "null", ID + "0", ID + "\n", f"{{{ID}}}", "\0"])
def test_an_id_that_cannot_exist_is_not_found(path: str) -> None:
    with pytest.raises(NotFound):
        bind("getListing", path=path)


def test_a_query_is_bound() -> None:
    query = "q=wakad+east%20&bhk=2&bhk=2.5&price_min=100&property_type=villa&property_type=plot&city=Pun%C3%A9"
    assert bind("listListings", query=f"{query}&page_size=7") == listings.ListListingsRequest(
        filters=listings.ListingFilters(
            q="wakad east ",
            bhk=[2, 2.5],
            price_min=100,
            property_type=[listings.PROPERTY_TYPE_VILLA, listings.PROPERTY_TYPE_PLOT],
            city="Puné",
        ),
        page_size=7,
    )


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("colour=red", "colour", "is not accepted here: leave it out"),
        ("filters=red", "filters", "is not accepted here: leave it out"),
        ("filters.city=Pune", "filters.city", "is not accepted here: leave it out"),
        ("city=Pune&city=Thane", "city", "must be given once"),
        ("page_size=0", "page_size", "must be at least 1"),
        ("page_size=101", "page_size", "must be at most 100"),
        ("page_size=1.0", "page_size", "must be a whole number"),
        ("page_size=+1", "page_size", "must be a whole number"),
        ("page_size=\u0661", "page_size", "must be a whole number"),
        ("page_size=", "page_size", "must be a whole number"),
        ("price_min=9007199254740992", "price_min", "must be at most 9007199254740991"),
        ("bhk=2.3", "bhk[0]", "must be a multiple of 0.5"),
        ("bhk=2&bhk=two", "bhk[1]", "must be a number, such as 2.5"),
        ("bhk=nan", "bhk[0]", "must be a number, such as 2.5"),
        ("listing_type=SALE", "listing_type", "must be one of sale, rent"),
        ("listing_type=unspecified", "listing_type", "must be one of sale, rent"),
        ("city=a", "city", "must have at least 2 characters"),
        ("city=Pune%00", "city", "must not contain the character U+0000"),
        ("city=%ff", "query", "must be UTF-8, percent-encoded"),
    ],
)
def test_a_query_that_breaks_a_rule(query: str, field: str, message: str) -> None:
    assert faults(lambda: bind("listListings", query=query)) == {field: message}


def test_empty_pairs_of_a_query_say_nothing() -> None:
    assert bind("listListings", query="&sort=price&&") == listings.ListListingsRequest(sort="price")


def test_all_faults_are_told_at_once() -> None:
    body = {
        "listing_type": "barter",
        "floor": "3",
        "address": {"city": "P"},
        "media": [{"url": "ftp://x"}],
        "id": ID,
    }
    assert faults(lambda: bind("createListing", query="a=1", body=body)) == {
        "listing_type": "must be one of sale, rent",
        "property_type": "is required",
        "floor": "must be a whole number",
        "address.city": "must have at least 2 characters",
        "address.subdivision_name": "is required",
        "address.state": "is required",
        "address.postal_code": "is required",
        "media[0].url": "must be an absolute http or https URL",
        "media[0].kind": "is required",
        "id": "is not accepted here: leave it out",
        "a": "is not accepted here: leave it out",
    }


def test_a_body_is_bound() -> None:
    listing = create(
        list_price=8500000, bhk=2, address=ADDRESS, amenities=["lift"], possession_date="2028-02-29"
    )
    assert listing == listings.Listing(
        listing_type=listings.LISTING_TYPE_SALE,
        property_type=listings.PROPERTY_TYPE_APARTMENT,
        list_price=8500000,
        bhk=2,
        address=listings.Address(**ADDRESS),
        amenities=["lift"],
        possession_date="2028-02-29",
    )


def test_json_has_one_kind_of_number() -> None:
    assert create(floor=3.0).floor == 3
    assert create(bhk=3).bhk == 3


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("floor", 3.5, "must be a whole number"),
        ("floor", True, "must be a whole number"),
        ("floor", 10**30, "must be at most 200"),
        ("bhk", "2", "must be a number"),
        ("bhk", None, "must be a number"),
        ("property_sub_type", 1, "must be a string"),
        ("property_sub_type", "a\0", "must not contain the character U+0000"),
        ("amenities", "lift", "must be an array"),
        ("amenities", ["lift", "lift"], "must not repeat an item"),
        ("amenities", ["lift"] * 61, "must have at most 60 items"),
        ("address", [], "must be an object"),
        ("project_id", "1", "must be a UUID"),
        (
            "possession_date",
            "2026-02-29",
            "must be a date, such as 2026-11-22, between the years 1900 and 2199",
        ),
        ("standard_status", "active", "is not accepted here: leave it out"),
    ],
)
def test_a_value_that_breaks_a_rule(field: str, value: object, message: str) -> None:
    if isinstance(value, int) and value > 2**63:
        body = b'{"listing_type":"sale","property_type":"plot","%s":%d}' % (field.encode(), value)
        assert faults(lambda: bind("createListing", body=body)) == {field: message}
    else:
        assert create_faults(**{field: value}) == {field: message}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"a":1,}',
        b"\xff",
        b'{"bhk":NaN,"listing_type":"sale","property_type":"plot"}',
        b'"\\ud800"',
    ],
)
def test_what_is_not_json(body: bytes) -> None:
    assert set(faults(lambda: bind("createListing", body=body))) <= {"body", "bhk"}


@pytest.mark.parametrize("body", [b"[]", b"null", b"3", b'"a"'])
def test_what_is_no_object(body: bytes) -> None:
    assert faults(lambda: bind("createListing", body=body)) == {"body": "must be an object"}


@pytest.mark.parametrize(
    "type_", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp"]
)
def test_a_body_that_does_not_say_it_is_json(type_: str | None) -> None:
    with pytest.raises(EdgeError) as error:
        bind("createListing", body=LISTING, type_=type_)
    assert error.value.status == 415


def test_a_charset_may_be_named() -> None:
    bind("createListing", body=LISTING, type_="Application/JSON; charset=utf-8")


def test_a_body_may_be_absent_when_nothing_in_it_is_required() -> None:
    bind("logout", type_=None)
    bind("verifyAgent", path=ID, type_=None)
    assert faults(lambda: bind("requestOtp", type_=None)) == {"phone": "is required"}


def test_the_keys_of_a_patch_are_its_mask() -> None:
    message = bind("updateListing", path=ID, body={"bhk": None, "floor": 0, "amenities": []})
    assert isinstance(message, listings.UpdateListingRequest)
    assert set(message.update_mask.paths) == {"bhk", "floor", "amenities"}
    assert message.listing == listings.Listing(floor=0)
    assert message.listing_id == ID


def test_a_patch_replaces_a_message_whole() -> None:
    assert set(
        faults(lambda: bind("updateListing", path=ID, body={"address": {"city": "Pune"}}))
    ) == {
        "address.subdivision_name",
        "address.state",
        "address.postal_code",
    }


def test_a_patch_changes_something_that_may_change() -> None:
    assert faults(lambda: bind("updateListing", path=ID, body={})) == {
        "body": "must have at least one field to change"
    }
    assert set(faults(lambda: bind("updateListing", path=ID, body={"listing_type": None}))) == {
        "listing_type"
    }
    assert set(faults(lambda: bind("updateListing", path=ID, body={"amenities": None}))) == {
        "amenities"
    }
    assert set(faults(lambda: bind("updateListing", path=ID, body={"version": 3}))) == {"version"}


@pytest.mark.parametrize(
    ("tag", "version"),
    [
        ('"7-0badcafe"', 7),
        ('"0-"', 0),
        ('W/"7-a"', -1),
        ('"7"', -1),
        ("7-a", -1),
        ('"7-a", "8-b"', -1),
        ("", -1),
    ],
)
def test_if_match_is_the_expected_version(tag: str, version: int) -> None:
    message = bind("deleteListing", path=ID, tag=tag)
    assert message == listings.DeleteListingRequest(listing_id=ID, expected_version=version)


@pytest.mark.parametrize("tag", [None, "*"])
def test_no_version_is_expected_of_any(tag: str | None) -> None:
    assert bind("deleteListing", path=ID, tag=tag) == listings.DeleteListingRequest(listing_id=ID)
