"""Listings as large as they may be, with fifty photos at long addresses, are found like others and break no list."""

from typing import Any

import orjson
import pytest_asyncio
from sqlalchemy import insert

from agents_service.saved_searches.models import matches
from chassis.page_tokens import ROOM_BYTES
from devstack.testing_service import Running, Tokens
from propmubi.agents.v1 import listing_files_pb2 as files_pb
from propmubi.agents.v1 import listings_pb2 as pb
from propmubi.agents.v1 import saved_searches_pb2, search_pb2
from propmubi.agents.v1.listing_files_pb2_grpc import ListingFileServiceStub
from propmubi.agents.v1.listings_pb2_grpc import ListingServiceStub
from propmubi.agents.v1.saved_searches_pb2_grpc import SavedSearchServiceStub
from propmubi.agents.v1.search_pb2_grpc import SearchServiceStub
from services.agents.tests.integration.conftest import MONDAY, Lister, found, row

PHOTOS = [
    {"url": f"https://photos.example.in/{number}/{'a' * 1_900}", "kind": "photo"}
    for number in range(50)
]
HOW_MANY = 24


async def all_pages(rpc: Any, request: Any) -> list[Any]:
    pages = [await rpc(request)]
    while pages[-1].next_page_token:
        request.page_token = pages[-1].next_page_token
        pages.append(await rpc(request))
    return pages


@pytest_asyncio.fixture
async def ids(fill: Any, asha: Any) -> list[str]:
    """Of homes, the newest first, that are more than two replies."""
    rows = (
        row(number, asha.agent_id, media=orjson.dumps(PHOTOS).decode(), bhk=2)
        for number in range(HOW_MANY)
    )
    return [*reversed(await fill(*rows))]


async def test_a_page_shows_what_one_reply_holds(public: Any, ids: list[str]) -> None:
    page = await public.ListListings(pb.ListListingsRequest(page_size=100))
    assert [each.id for each in page.listings] == ids[: len(page.listings)]
    assert ROOM_BYTES - 100_000 < page.ByteSize() < ROOM_BYTES + 1_000
    assert await found(public, page_size=100) == ids
    assert await found(public, page_size=100, sort="price") == ids[::-1]


async def test_a_file_has_all(agents: Running, asha: Lister, ids: list[str]) -> None:
    stub = ListingFileServiceStub(agents.caller(asha.token))
    pages = await all_pages(stub.ExportListings, files_pb.ExportListingsRequest(page_size=100))
    assert sorted(each.id for page in pages for each in page.listings) == sorted(ids)


async def test_a_batch_leaves_out_what_has_no_room(
    agents: Running, tokens: Tokens, ids: list[str]
) -> None:
    stub = ListingServiceStub(agents.caller(tokens.person()))
    batch = await stub.BatchGetListings(pb.BatchGetListingsRequest(listing_ids=ids))
    got = {each.id for each in batch.listings}
    assert 0 < len(got) < len(ids)
    assert got < {*ids}


async def test_similar_ones_are_as_many_as_have_room(agents: Running, ids: list[str]) -> None:
    stub = SearchServiceStub(agents.caller())
    request = search_pb2.ListSimilarListingsRequest(listing_id=ids[0])
    assert (await stub.ListSimilarListings(request)).listings


async def test_what_a_saved_search_found_is_cut_too(
    agents: Running, tokens: Tokens, ids: list[str]
) -> None:
    stub = SavedSearchServiceStub(agents.caller(tokens.person()))
    saved = saved_searches_pb2.SavedSearch(
        name="Pune",
        alert=saved_searches_pb2.ALERT_OFF,
        filters=pb.ListingFilters(city="Pune"),
    )
    search = await stub.CreateSavedSearch(
        saved_searches_pb2.CreateSavedSearchRequest(saved_search=saved)
    )
    async with agents.database.transaction() as tx:
        of_search = {"saved_search_id": search.id, "list_price": 1, "matched_at": MONDAY}
        await tx.execute(insert(matches), [{**of_search, "listing_id": each} for each in ids])
    request = saved_searches_pb2.ListSavedSearchMatchesRequest(
        saved_search_id=search.id, page_size=100
    )
    pages = await all_pages(stub.ListSavedSearchMatches, request)
    assert len(pages) > 1
    assert sorted(each.listing.id for page in pages for each in page.matches) == sorted(ids)
