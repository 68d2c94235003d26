"""What gRPC callers may send. gateway/tests/test_agreement.py proves that the edge judges the same."""

import math

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from chassis.constraints import validate
from chassis.rules import FORMATS, RuleError, enum_names, value_check
from propmubi.agents.v1 import agents_pb2 as agents
from propmubi.agents.v1 import listings_pb2 as listings
from propmubi.auth.v1 import auth_pb2 as auth
from propmubi.options.v1.options_pb2 import Format

ID = "01935b0e-7f1c-7b1e-9a51-0c2f6f3a9c11"


def faults(message: Message) -> dict[str, str]:
    return {violation.field: violation.message for violation in validate(message)}


def listing(**fields: object) -> listings.Listing:
    required = {
        "listing_type": listings.LISTING_TYPE_SALE,
        "property_type": listings.PROPERTY_TYPE_PLOT,
    }
    return listings.Listing(**{**required, **fields})  # type: ignore[arg-type]


def create_faults(**fields: object) -> dict[str, str]:
    found = faults(listings.CreateListingRequest(listing=listing(**fields)))
    return {name.removeprefix("listing."): message for name, message in found.items()}


def update(*paths: str, **fields: object) -> listings.UpdateListingRequest:
    changed = listings.Listing(**fields)  # type: ignore[arg-type]
    return listings.UpdateListingRequest(
        listing_id=ID, listing=changed, update_mask=FieldMask(paths=paths)
    )


def test_what_is_required() -> None:
    assert faults(listings.GetListingRequest()) == {"listing_id": "is required"}
    assert faults(listings.CreateListingRequest()) == {"listing": "is required"}
    assert faults(listings.CreateListingRequest(listing=listings.Listing())) == {
        "listing.listing_type": "is required",
        "listing.property_type": "is required",
    }
    assert faults(auth.LogoutRequest()) == {}


def test_rules_hold_for_what_is_there() -> None:
    assert create_faults() == {}
    assert create_faults(
        bhk=2.3, carpet_area=49, amenities=["a"], media=[{"url": "x", "kind": 9}]
    ) == {
        "bhk": "must be a multiple of 0.5",
        "carpet_area": "must be at least 50",
        "amenities[0]": "must have at least 2 characters",
        "media[0].url": "must be an absolute http or https URL",
        "media[0].kind": "must be one of photo, floor_plan, video",
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_are_finite(value: float) -> None:
    assert create_faults(latitude=value) == {"latitude": "must be a finite number"}


@pytest.mark.parametrize("character", ["\0", "\x1b", "\x85", "\u202e", "\u2066"])
def test_text_has_nothing_that_no_screen_shows(character: str) -> None:
    assert create_faults(public_remarks=f"a{character}") == {
        "public_remarks": f"must not contain the character U+{ord(character):04X}"
    }


def test_text_may_have_lines_and_what_the_scripts_of_india_are_joined_with() -> None:
    assert create_faults(public_remarks="2 BHK\r\n\tശ്രീ\u200dലക്ഷ്മി 👨\u200d👩\u200d👧") == {}


def test_64_bit_numbers_fit_a_javascript_number() -> None:
    assert faults(
        listings.ListListingsRequest(filters=listings.ListingFilters(price_max=2**53))
    ) == {"filters.price_max": "must be at most 9007199254740991"}


def test_what_only_the_server_sets_is_ignored() -> None:
    assert create_faults(id="mine", version=-1, standard_status=99) == {}


def test_an_update_is_checked_on_its_mask_alone() -> None:
    assert faults(update("bhk", bhk=2, floor=1000)) == {}
    assert faults(update("floor", bhk=2, floor=1000)) == {"listing.floor": "must be at most 200"}
    assert faults(update("bhk", "amenities")) == {}
    assert faults(update("listing_type")) == {"listing.listing_type": "is required"}


def test_an_update_names_what_may_change() -> None:
    assert faults(update()) == {"update_mask": "must name the fields to change"}
    for path in ("id", "colour", "address.city", "*"):
        assert faults(update(path)) == {"update_mask": f"names {path}, which can't be changed"}


GOOD = {
    Format.FORMAT_UUID: [ID, ID.upper()],
    Format.FORMAT_PHONE: ["+919876543210", "9876543210", "+12025550123"],
    Format.FORMAT_EMAIL: ["asha@example.in", "a.b+c@mail.example.co.in"],
    Format.FORMAT_URL: [
        "http://a.in",
        "https://example.in:8443/p?q=1#f",
        "http://[::1]/",
        "https://localhost",
    ],
    Format.FORMAT_DATE: ["2026-11-22", "2028-02-29"],
}
BAD = {
    Format.FORMAT_UUID: [ID[1:], ID + "\n", ID.replace("-", "")],
    Format.FORMAT_PHONE: [
        "987654321",
        "1234567890",
        "+0123456789",
        "+91 98765 43210",
        "98765४3210",
    ],
    Format.FORMAT_EMAIL: ["asha", "asha@example", "a b@example.in", "@example.in", "a@-x.in"],
    Format.FORMAT_URL: [
        "ftp://a.in",
        "//a.in",
        "https://",
        "https://u:p@a.in",
        "https://a b.in",
        "javascript:alert(1)",
    ],
    Format.FORMAT_DATE: ["2026-02-29", "22-11-2026", "2026-1-1", "1899-12-31", "20261122"],
}
FIELDS = {
    Format.FORMAT_UUID: listings.GetListingRequest.DESCRIPTOR.fields_by_name["listing_id"],
    Format.FORMAT_PHONE: auth.RequestOtpRequest.DESCRIPTOR.fields_by_name["phone"],
    Format.FORMAT_EMAIL: auth.User.DESCRIPTOR.fields_by_name["email"],
    Format.FORMAT_URL: listings.Media.DESCRIPTOR.fields_by_name["url"],
    Format.FORMAT_DATE: agents.Agent.DESCRIPTOR.fields_by_name["rera_valid_to"],
}


def test_each_format_is_known() -> None:
    assert set(FORMATS) == set(GOOD) == set(BAD) == set(FIELDS) == set(Format.values()) - {0}


@pytest.mark.parametrize("format_", FIELDS, ids=Format.Name)
def test_formats(format_: Format.ValueType) -> None:
    check = value_check(FIELDS[format_])
    assert check is not None
    assert {text: check(text) for text in GOOD[format_]} == dict.fromkeys(GOOD[format_])
    assert {text: check(text) for text in BAD[format_]} == dict.fromkeys(
        BAD[format_], FORMATS[format_][1]
    )


def test_enum_names() -> None:
    assert enum_names(listings.PossessionStatus.DESCRIPTOR) == {
        1: "ready_to_move",
        2: "under_construction",
    }
    with pytest.raises(
        RuleError, match="IDEMPOTENCY_UNKNOWN: values begin with IDEMPOTENCY_LEVEL_"
    ):
        enum_names(
            listings.DESCRIPTOR.pool.FindEnumTypeByName(
                "google.protobuf.MethodOptions.IdempotencyLevel"
            )
        )
