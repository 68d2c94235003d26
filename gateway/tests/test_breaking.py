"""Which changes of the contract break clients."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from gateway.breaking import differences
from gateway.contract import load_contract
from gateway.openapi import describe

Json = dict[str, Any]
DOCUMENT = describe(load_contract())


def schemas(document: Json) -> Json:
    found: Json = document["components"]["schemas"]
    return found


def change(edit: Callable[[Json], object]) -> list[str]:
    changed = copy.deepcopy(DOCUMENT)
    edit(changed)
    return differences(DOCUMENT, changed)


def test_nothing_changed() -> None:
    assert differences(DOCUMENT, copy.deepcopy(DOCUMENT)) == []


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d["paths"].update({"/v1/new": {"get": {}}}),
        lambda d: schemas(d)["Listing"]["properties"].update(new={"type": "string"}),
        lambda d: schemas(d)["ListingInput"]["properties"].update(new={"type": "string"}),
        lambda d: schemas(d)["ListingInput"]["required"].remove("listing_type"),
        lambda d: schemas(d)["ListingType"]["enum"].append("lease"),
        lambda d: schemas(d)["ListingInput"]["properties"]["floor"].update(maximum=300),
        lambda d: schemas(d)["Listing"].update(description="A home."),
    ],
)
def test_compatible(edit: Callable[[Json], object]) -> None:
    (line,) = change(edit)
    assert line.startswith("compatible: ")


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda d: d["paths"].pop("/v1/users/me"), "GET /v1/users/me is gone"),
        (lambda d: d["paths"]["/v1/users/me"].pop("patch"), "PATCH /v1/users/me is gone"),
        (lambda d: d["paths"]["/v1/users/me"]["get"].update(operationId="me"), "is now called me"),
        (
            lambda d: d["paths"]["/v1/listings"]["get"]["security"].pop(0),
            "GET /v1/listings now needs a token",
        ),
        (
            lambda d: d["paths"]["/v1/listings"]["get"]["parameters"].pop(0),
            "no longer takes query parameter q",
        ),
        (
            lambda d: d["paths"]["/v1/listings"]["get"]["parameters"][0].update(required=True),
            "now requires query",
        ),
        (lambda d: schemas(d)["ListingType"]["enum"].remove("rent"), "no longer knows rent"),
        (lambda d: schemas(d)["Listing"]["properties"].pop("bhk"), "has no bhk any more"),
        (lambda d: schemas(d)["Listing"]["required"].remove("id"), "may now lack id"),
        (
            lambda d: schemas(d)["Listing"]["properties"]["bhk"].update(type="string"),
            "has another type",
        ),
        (lambda d: schemas(d)["ListingInput"]["properties"].pop("bhk"), "has no bhk any more"),
        (lambda d: schemas(d)["ListingInput"]["required"].append("bhk"), "body now requires bhk"),
        (
            lambda d: schemas(d)["ListingInput"]["properties"]["floor"].update(maximum=100),
            "narrower maximum, 100",
        ),
        (
            lambda d: schemas(d)["ListingInput"]["properties"]["floor"].update(multipleOf=2),
            "another multipleOf",
        ),
        (
            lambda d: schemas(d)["AddressInput"]["properties"]["city"].update(minLength=3),
            "narrower minLength, 3",
        ),
        (
            lambda d: d["paths"]["/v1/listings"]["post"]["responses"].pop("201"),
            "no longer answers 201",
        ),
    ],
)
def test_breaking(edit: Callable[[Json], object], told: str) -> None:
    lines = change(edit)
    assert lines
    assert all(line.startswith("breaking: ") for line in lines)
    assert any(told in line for line in lines), lines
