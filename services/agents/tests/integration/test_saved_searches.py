"""Saved searches: one's own alone, matched once with what becomes active or cheaper, told at once, daily or never."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from sqlalchemy import insert, select, text, update

from agents_service.saved_searches.consumers import SavedSearchConsumers
from agents_service.saved_searches.models import matches, saved_searches
from agents_service.saved_searches.repository import _CANDIDATES, SavedSearchRepository
from agents_service.saved_searches.service import SavedSearchService, last_morning
from agents_service.search.repository import SearchRepository
from agents_service.search.service import SearchService
from chassis.errors import Conflict, InvalidArgument, NotFound, StaleVersion
from chassis.ids import new_id
from chassis.tables import outbox
from devstack.testing_service import Running, Tokens
from propmubi.agents.v1 import listings_pb2
from propmubi.agents.v1 import saved_searches_pb2 as pb
from propmubi.agents.v1.events_pb2 import ListingPublished, SavedSearchMatched
from propmubi.agents.v1.listings_pb2 import ListingFilters
from propmubi.agents.v1.saved_searches_pb2_grpc import SavedSearchServiceStub
from propmubi.common.v1.event_pb2 import Event

WITHIN = 10.0


@pytest.fixture
def meera(agents: Running, tokens: Tokens) -> Any:
    """The SavedSearchService as a buyer has it."""
    return SavedSearchServiceStub(agents.caller(tokens.person()))


@pytest.fixture
def service(agents: Running) -> SavedSearchService:
    search = SearchService(SearchRepository(agents.database))
    return SavedSearchService(SavedSearchRepository(agents.database), search)


async def save(stub: Any, alert: str = "instant", **filters: Any) -> pb.SavedSearch:
    saved = pb.SavedSearch(
        name="A flat",
        alert=pb.Alert.Value(f"ALERT_{alert.upper()}"),
        filters=ListingFilters(**filters),
    )
    answer: pb.SavedSearch = await stub.CreateSavedSearch(
        pb.CreateSavedSearchRequest(saved_search=saved)
    )
    return answer


async def matched(stub: Any, search: pb.SavedSearch, **page: Any) -> list[str]:
    """The ids of the listings that matched, over all pages."""
    request, ids = pb.ListSavedSearchMatchesRequest(saved_search_id=search.id, **page), []
    while True:
        answer = await stub.ListSavedSearchMatches(request)
        ids += [match.listing.id for match in answer.matches]
        if not answer.next_page_token:
            return ids
        request.page_token = answer.next_page_token


async def told(agents: Running) -> list[tuple[str, list[str]]]:
    """What was told, by saved search."""
    async with agents.database.transaction() as tx:
        rows = await tx.execute(
            select(outbox.c.payload)
            .where(outbox.c.name == "saved_search.matched")
            .order_by(outbox.c.position)
        )
        events = []
        for (payload,) in rows:
            event = SavedSearchMatched()
            AnyMessage.FromString(payload).Unpack(event)
            events.append(event)
    return [(event.saved_search_id, list(event.listing_ids)) for event in events]


async def eventually(agents: Running, count: int) -> None:
    """Until so many were told; what follows them is seen by what is told next."""
    async with asyncio.timeout(WITHIN):
        # The consumer sets no event of ours.
        while len(await told(agents)) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_each_person_has_saved_searches_of_her_own(
    agents: Running, tokens: Tokens, meera: Any
) -> None:
    saved = await save(meera, city="Pune", bhk=[2])
    assert saved.filters == ListingFilters(city="Pune", bhk=[2])
    assert (saved.name, saved.alert, saved.version) == ("A flat", pb.ALERT_INSTANT, 1)
    other = await save(meera, alert="off", q="wakad")
    answer = await meera.ListSavedSearches(pb.ListSavedSearchesRequest(page_size=1))
    assert list(answer.saved_searches) == [other]
    again = pb.ListSavedSearchesRequest(page_size=1, page_token=answer.next_page_token)
    assert list((await meera.ListSavedSearches(again)).saved_searches) == [saved]
    change = pb.UpdateSavedSearchRequest(
        saved_search_id=saved.id,
        saved_search=pb.SavedSearch(filters=ListingFilters(price_max=7)),
        expected_version=1,
    )
    change.update_mask.paths.append("filters")
    changed = await meera.UpdateSavedSearch(change)
    assert (changed.filters, changed.version) == (ListingFilters(price_max=7), 2)
    with pytest.raises(StaleVersion):
        await meera.UpdateSavedSearch(change)
    get = pb.GetSavedSearchRequest(saved_search_id=saved.id)
    assert await meera.GetSavedSearch(get) == changed
    stranger = SavedSearchServiceStub(agents.caller(tokens.person()))
    change.ClearField("expected_version")
    for ask in (
        stranger.GetSavedSearch(get),
        stranger.UpdateSavedSearch(change),
        stranger.DeleteSavedSearch(pb.DeleteSavedSearchRequest(saved_search_id=saved.id)),
        stranger.ListSavedSearchMatches(pb.ListSavedSearchMatchesRequest(saved_search_id=saved.id)),
    ):
        with pytest.raises(NotFound):
            await ask
    assert not (await stranger.ListSavedSearches(pb.ListSavedSearchesRequest())).saved_searches
    await meera.DeleteSavedSearch(pb.DeleteSavedSearchRequest(saved_search_id=saved.id))
    with pytest.raises(NotFound):
        await meera.GetSavedSearch(get)


async def test_bad_input_names_its_field(meera: Any) -> None:
    for filters, field in (
        ({}, ""),
        ({"price_min": 2, "price_max": 1}, ".price_max"),
        ({"polygon": "73,18;74,19;74,18;73,19"}, ".polygon"),
        ({"near": "99,200"}, ".near"),
        ({"q": "x" * 10_000}, ".q"),
        ({"bhk": [0.3]}, ".bhk[0]"),
    ):
        with pytest.raises(InvalidArgument) as refused:
            await save(meera, **filters)
        fields = [violation.field for violation in refused.value.violations]
        assert fields == [f"saved_search.filters{field}"]


async def test_a_person_has_fifty_at_most_however_many_she_asks_for_at_once(
    agents: Running, meera: Any
) -> None:
    saved = await asyncio.gather(
        *(save(meera, city="Pune") for _ in range(55)), return_exceptions=True
    )
    assert sum(isinstance(each, Conflict) for each in saved) == 5
    assert sum(isinstance(each, pb.SavedSearch) for each in saved) == 50


async def test_what_becomes_active_or_cheaper_reaches_its_searches_once(
    agents: Running, asha: Any, meera: Any
) -> None:
    wanted = await save(meera, q="2bhk wakad under 80 lakh")
    await save(meera, subdivision_name=["Baner"])
    await save(meera, alert="off", city="Pune")
    dear = await asha.publish(list_price=9_000_000)
    listing = await asha.publish()
    assert await matched(meera, wanted) == []

    async def ask(listing: Any, price: int) -> None:
        change = listings_pb2.UpdateListingRequest(
            listing_id=listing.id, listing=listings_pb2.Listing(list_price=price)
        )
        change.update_mask.paths.append("list_price")
        await asha.listings.UpdateListing(change)

    await ask(listing, 8_000_000)
    await eventually(agents, 1)
    assert await told(agents) == [(wanted.id, [listing.id])]
    # It went and came back, was dearer for a while, and is as cheap as before: that is no news. Cheaper is.
    await asha.move(listing, "hold")
    await asha.move(listing, "active")
    await ask(listing, 8_500_000)
    await ask(listing, 8_000_000)
    await ask(listing, 7_500_000)
    await ask(dear, 7_900_000)
    await eventually(agents, 3)
    assert sorted(await told(agents)) == sorted(
        [(wanted.id, [listing.id])] * 2 + [(wanted.id, [dear.id])]
    )
    assert set(await matched(meera, wanted, page_size=1)) == {dear.id, listing.id}
    await asha.move(listing, "withdrawn")
    assert await matched(meera, wanted, page_size=1) == [dear.id]


async def test_an_event_that_comes_late_or_twice_tells_nothing_new(
    agents: Running, asha: Any, meera: Any, service: SavedSearchService
) -> None:
    await save(meera, city="Pune")
    listing = await asha.publish()
    await eventually(agents, 1)
    consumers = SavedSearchConsumers(service)
    event = ListingPublished(listing=listing)
    await asyncio.gather(*(_apply(agents, consumers, event) for _ in range(10)))
    await asha.move(listing, "hold")
    await save(meera, postal_code=["411057"])
    await _apply(agents, consumers, event)
    assert len(await told(agents)) == 1


async def _apply(agents: Running, consumers: SavedSearchConsumers, event: Any) -> None:
    async with agents.database.transaction() as tx:
        await consumers.published(tx, event, Event())


async def test_the_daily_ones_are_told_in_the_morning_of_all_until_then(
    agents: Running, asha: Any, meera: Any, service: SavedSearchService
) -> None:
    daily = await save(meera, alert="daily", city="Pune")
    instant = await save(meera, city="Pune")
    first, second, today = [(await asha.publish(address=_flat(number))).id for number in range(3)]
    await eventually(agents, 3)
    morning = last_morning(datetime.now(UTC))
    async with agents.database.transaction() as tx:
        for listing_id, at in ((first, -1), (second, -23), (today, 1)):
            await tx.execute(
                update(matches)
                .where(matches.c.listing_id == uuid.UUID(listing_id))
                .values(matched_at=morning + timedelta(hours=at))
            )
    await asyncio.gather(*(_sweep(agents, service) for _ in range(5)))
    news = [each for each in await told(agents) if each[0] == daily.id]
    assert news == [(daily.id, sorted([first, second]))]
    assert len([each for each in await told(agents) if each[0] == instant.id]) == 3
    assert await matched(meera, daily) == [today, first, second]


def _flat(number: int) -> Any:
    return listings_pb2.Address(
        line=f"A-{number}, Blue Ridge",
        subdivision_name="Wakad",
        city="Pune",
        state="Maharashtra",
        postal_code="411057",
    )


async def _sweep(agents: Running, service: SavedSearchService) -> None:
    async with agents.database.transaction() as tx:
        await service.tell_of_yesterday(tx)


def test_a_morning_begins_at_nine_in_india() -> None:
    assert last_morning(datetime(2026, 11, 16, 3, 29, tzinfo=UTC)) == datetime(
        2026, 11, 15, 3, 30, tzinfo=UTC
    )
    assert last_morning(datetime(2026, 11, 16, 3, 30, tzinfo=UTC)) == datetime(
        2026, 11, 16, 3, 30, tzinfo=UTC
    )


async def test_searches_are_found_by_the_index_of_their_anchors(agents: Running) -> None:
    rows = [
        {
            "id": new_id(),
            "user_id": new_id(),
            "name": "A flat",
            "filters": b"",
            "wanted": {},
            "anchors": [f"sale/2/subdivision_name:{number}"],
            "alert": "instant",
        }
        for number in range(200)
    ]
    async with agents.database.transaction() as tx:
        await tx.execute(insert(saved_searches), rows)
        await tx.execute(text("set local enable_seqscan = off"))
        compiled = _CANDIDATES.compile(dialect=tx.connection.dialect)
        given: dict[str, Any] = {"anchors": ["sale/2/subdivision_name:7"], "price": 1}
        connection: Any = (await tx.connection.get_raw_connection()).driver_connection
        [answer] = await connection.fetch(
            f"explain (format json) {compiled}",
            *(given[name] for name in compiled.positiontup or ()),
        )
    plan = answer[0] if isinstance(answer[0], str) else orjson.dumps(answer[0]).decode()
    assert "saved_searches_anchors" in plan
    assert "Seq Scan" not in plan
