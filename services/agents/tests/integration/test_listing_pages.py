"""Pages of listings: stable, of their own query alone, one statement each, and no older than what they show."""

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest

from agents_service.listings.pages import Pages, together
from agents_service.listings.repository import ListingRepository
from agents_service.listings.search import Found, Search
from agents_service.search.repository import SearchRepository
from agents_service.search.service import SearchService
from chassis.errors import InvalidArgument, NotFound
from chassis.ids import new_id
from devstack.testing_service import Running, Tokens
from propmubi.agents.v1 import listings_pb2 as pb
from propmubi.agents.v1.listings_pb2_grpc import ListingServiceStub
from services.agents.tests.integration.conftest import MONDAY, row, searching


async def test_pages_are_stable_under_inserts(fill: Any, asha: Any, public: Any) -> None:
    ids = await fill(*(row(number, asha.agent_id) for number in range(30)))
    request, seen = searching(pb.ListListingsRequest, page_size=7, city="Pune"), []
    while True:
        page = await public.ListListings(request)
        seen += [listing.id for listing in page.listings]
        await fill(*(row(100 + number, asha.agent_id) for number in range(3)))
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == ids[::-1]


async def test_a_page_token_is_of_its_own_query_alone(fill: Any, asha: Any, public: Any) -> None:
    await fill(*(row(number, asha.agent_id) for number in range(3)))
    page = await public.ListListings(pb.ListListingsRequest(page_size=1))
    token = page.next_page_token
    for request in (
        searching(pb.ListListingsRequest, page_size=1, city="Pune", page_token=token),
        pb.ListListingsRequest(page_size=1, sort="price", page_token=token),
        searching(pb.ListListingsRequest, page_size=1, bbox="73,18,74,19", page_token=token),
        pb.ListListingsRequest(page_size=1, page_token=token.swapcase()),
        pb.ListListingsRequest(page_size=1, page_token="x"),
    ):
        with pytest.raises(InvalidArgument) as refused:
            await public.ListListings(request)
        assert refused.value.reason == "PAGE_TOKEN_INVALID"


async def test_a_page_by_relevance_ends_where_its_words_are_known_as_a_place(
    fill: Any, asha: Any, agents: Running
) -> None:
    """By a process that did not look up these words a moment ago, as the one of the page before did."""
    await fill(*(row(number, asha.agent_id, address_line="Blue Ridge") for number in range(3)))
    asked = {"q": "blue ridge"}
    after = (2.0, new_id())
    repository = SearchRepository(agents.database)

    async def second_page() -> Search:
        search, _ = await SearchService(repository).pages(
            None, asked, sort="relevance", after=after, limit=2
        )
        return search

    assert (await second_page()).sort == "relevance"
    async with agents.database.transaction() as tx:
        await repository.name_project(tx, new_id(), new_id(), "Blue Ridge", "Pune")
    with pytest.raises(InvalidArgument) as refused:
        await second_page()
    assert refused.value.reason == "PAGE_TOKEN_INVALID"


@asynccontextmanager
async def counted(agents: Running) -> AsyncIterator[list[str]]:
    """The statements that the service sends to Postgres, but for those of its relay and leases."""
    sent: list[str] = []
    reads = agents.database._reads
    fetch = reads.fetch

    async def noting(sql: str, values: Any, **how: Any) -> Any:
        if "FROM listings" in sql:
            sent.append(sql)
        return await fetch(sql, values, **how)

    reads.fetch = noting  # type: ignore[method-assign]
    yield sent
    reads.fetch = fetch  # type: ignore[method-assign]


async def test_each_read_is_one_query(
    agents: Running, fill: Any, asha: Any, public: Any, tokens: Tokens
) -> None:
    ids = await fill(*(row(number, asha.agent_id) for number in range(30)))
    crm = ListingServiceStub(agents.caller(tokens.service("crm")))
    reads: list[Callable[[], Any]] = [
        lambda: public.GetListing(pb.GetListingRequest(listing_id=ids[0])),
        lambda: public.ListListingHistory(pb.ListListingHistoryRequest(listing_id=ids[0])),
        lambda: crm.BatchGetListingOwners(pb.BatchGetListingOwnersRequest(listing_ids=ids)),
    ]
    for read in reads:
        async with counted(agents) as sent:
            await read()
        assert len(sent) == 1


async def test_a_page_is_one_query_and_another_for_listings_that_are_new_or_changed(
    agents: Running, fill: Any, asha: Any, public: Any
) -> None:
    ids = await fill(*(row(number, asha.agent_id) for number in range(30)))
    page = pb.ListListingsRequest()
    by_words = searching(pb.ListListingsRequest, q="wakad", sort="-price", page_size=5)
    for request, queries in ((page, 2), (page, 1), (by_words, 1)):
        async with counted(agents) as sent:
            await public.ListListings(request)
        assert len(sent) == queries
    change = pb.UpdateListingRequest(listing_id=ids[29], listing=pb.Listing(list_price=7))
    change.update_mask.paths.append("list_price")
    await asha.listings.UpdateListing(change)
    for queries in (2, 1):
        async with counted(agents) as sent:
            first = (await public.ListListings(page)).listings[0]
        assert (first.id, first.list_price, first.version) == (ids[29], 7, 2)
        assert len(sent) == queries


@pytest.fixture
def pages(agents: Running) -> Pages:
    return Pages(ListingRepository(agents.database))


ACTIVE = Search(standard_status=["active"], listing_type=["sale"], filters={}, limit=21)


async def show(pages: Pages, found: Sequence[Found], now: datetime) -> list[pb.Listing]:
    shown = await pages.show(["active"], found, now)
    return [*together(shown[each.id] for each in found if each.id in shown).listings]


async def test_what_changed_since_it_was_found_is_shown_as_it_is_or_not_at_all(
    pages: Pages, fill: Any, asha: Any, public: Any
) -> None:
    sold, dearer, same = await fill(*(row(number, asha.agent_id) for number in (3, 2, 1)))
    found = await pages.find(ACTIVE)
    await pages.show(["active"], found, MONDAY)
    found = [each._replace(version=0) for each in found]
    await asha.move(pb.Listing(id=sold), "hold")
    change = pb.UpdateListingRequest(listing_id=dearer, listing=pb.Listing(list_price=7))
    change.update_mask.paths.append("list_price")
    await asha.listings.UpdateListing(change)
    shown = await show(pages, found, MONDAY)
    assert [(each.id, each.list_price) for each in shown] == [(dearer, 7), (same, 2_000_000)]


async def test_what_is_kept_grows_a_day_older_every_day(pages: Pages, fill: Any, asha: Any) -> None:
    await fill(row(0, asha.agent_id, on_market_date=MONDAY))
    found = await pages.find(ACTIVE)
    day = timedelta(days=1)
    for age in (0 * day, day - timedelta.resolution, day, 1.5 * day, 9 * day):
        [listing] = await show(pages, found, MONDAY + age)
        assert listing.days_on_market == age.days


async def test_no_more_is_kept_than_there_is_room_for(
    pages: Pages, fill: Any, asha: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents_service.listings.pages.KEPT", 2)
    ids = await fill(*(row(number, asha.agent_id) for number in range(4)))
    shown = await show(pages, await pages.find(ACTIVE), MONDAY)
    assert [each.id for each in shown] == ids[::-1]
    assert len(pages._kept) == 2


async def test_a_large_one_is_not_kept(pages: Pages, fill: Any, asha: Any) -> None:
    media = orjson.dumps([{"url": f"https://example.in/{'a' * 1_900}", "kind": "photo"}] * 10)
    large, _ = await fill(
        row(1, asha.agent_id, media=media.decode()), row(0, asha.agent_id, media="[]")
    )
    assert len(await show(pages, await pages.find(ACTIVE), MONDAY)) == 2
    assert len(pages._kept) == 1
    assert uuid.UUID(large) not in pages._kept


async def test_an_unknown_listing_is_not_found(public: Any) -> None:
    with pytest.raises(NotFound):
        await public.ListListingHistory(pb.ListListingHistoryRequest(listing_id=str(new_id())))
