"""The segment table: literal beats parameter, and nothing is guessed."""

import pytest

from gateway.segments import SegmentTable


@pytest.fixture
def table() -> SegmentTable[str]:
    built: SegmentTable[str] = SegmentTable()
    for method, path in [
        ("GET", "/v1/listings"),
        ("POST", "/v1/listings"),
        ("GET", "/v1/listings/facets"),
        ("GET", "/v1/listings/{listing_id}"),
        ("PATCH", "/v1/listings/{listing_id}"),
        ("GET", "/v1/listings/{listing_id}/history"),
        ("POST", "/v1/units/{unit_id}/claims/{claim_id}"),
        ("GET", "/.well-known/jwks.json"),
    ]:
        built.add(method, path, f"{method} {path}")
    return built


@pytest.mark.parametrize(
    ("path", "methods", "values"),
    [
        (b"/v1/listings", {"GET", "POST"}, []),
        (b"/v1/listings/facets", {"GET"}, []),
        (b"/v1/listings/42", {"GET", "PATCH"}, ["42"]),
        (b"/v1/listings/facets/history", {"GET"}, ["facets"]),
        (b"/v1/units/a/claims/b", {"POST"}, ["a", "b"]),
        (b"/v1/listings/a%2Fb", {"GET", "PATCH"}, ["a/b"]),
        (b"/v1/%6cistings", {"GET", "POST"}, []),
        (b"/v1/listings/%E0%A4%85", {"GET", "PATCH"}, ["अ"]),
        (b"/.well-known/jwks.json", {"GET"}, []),
    ],
)
def test_found(table: SegmentTable[str], path: bytes, methods: set[str], values: list[str]) -> None:
    found = table.find(path)
    assert found is not None
    assert set(found[0]) == methods
    assert found[1] == values


@pytest.mark.parametrize(
    "path",
    [b"", b"/", b"/v1", b"/v1/", b"/v1/listings/", b"/v1//listings", b"//v1/listings", b"/v1/listings//history",
     b"/v1/listings/42/", b"/v1/listings/42/nothing", b"/v1/units/a/claims", b"/V1/listings", b"/v1/listings/%ff",
     b"/v1/listings/\xff", b"*"],
)  # fmt: skip
def test_not_found(table: SegmentTable[str], path: bytes) -> None:
    assert table.find(path) is None
