"""What the encoders do beside writing what `json_format` writes, which test_agreement.py shows."""

import math
from typing import cast

import orjson

from gateway import codec
from gateway.codec import LARGEST_WRITTEN, UNKNOWN_ENUM_VALUES, encoder
from propmubi.agents.v1.listings_pb2 import Facing, Listing, ListListingsResponse


def test_an_enum_value_that_is_not_known_is_left_out_and_counted() -> None:
    counter = UNKNOWN_ENUM_VALUES.labels("propmubi.agents.v1.Facing")
    before = counter._value.get()
    assert "facing" not in orjson.loads(
        encoder(Listing.DESCRIPTOR)(Listing(facing=cast("Facing.ValueType", 99)))
    )
    assert counter._value.get() == before + 1


def test_an_item_that_was_written_before_is_written_as_if_it_were_not() -> None:
    encode, alone = encoder(ListListingsResponse.DESCRIPTOR), encoder(Listing.DESCRIPTOR)
    listings = [Listing(id=str(number), version=number, amenities=["gym"]) for number in range(3)]
    listings.append(Listing(id="2", version=2, amenities=["gym"], floor=0))
    expected = [orjson.loads(alone(listing)) for listing in listings]
    codec._kept.cache_clear()
    for _ in range(2):
        assert orjson.loads(encode(ListListingsResponse(listings=listings))) == {
            "listings": expected,
            "next_page_token": "",
        }
    assert (codec._kept.cache_info().hits, codec._kept.cache_info().misses) == (4, 4)


def test_a_large_item_is_written_and_not_kept() -> None:
    encode = encoder(ListListingsResponse.DESCRIPTOR)
    large = Listing(id="1", version=1, public_remarks="a" * LARGEST_WRITTEN)
    codec._kept.cache_clear()
    [shown] = orjson.loads(encode(ListListingsResponse(listings=[large])))["listings"]
    assert shown["public_remarks"] == large.public_remarks
    assert codec._kept.cache_info().currsize == 0


def test_numbers_beyond_a_double_stay_exact() -> None:
    assert math.isclose(
        orjson.loads(encoder(Listing.DESCRIPTOR)(Listing(version=2**62)))["version"],
        2**62,
        rel_tol=0,
    )
