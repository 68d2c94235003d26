"""Saved searches: one's own alone, matched once with what becomes active or cheaper, told at once, daily or never."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from sqlalchemy import func, select, text, update

from agents_service.alerts.service import AlertService
from agents_service.saved_searches.consumers import SavedSearchConsumers
from agents_service.saved_searches.domain import Reason
from agents_service.saved_searches.models import matches, saved_searches
from agents_service.saved_searches.repository import SavedSearchRepository
from agents_service.saved_searches.service import SavedSearchService, last_morning
from agents_service.search.repository import SearchRepository
from agents_service.search.service import SearchService
from chassis.errors import (
    Conflict,
    InvalidArgument,
    NotFound,
    StaleVersion,
    Unavailable,
    Violation,
)
from chassis.ids import new_id
from chassis.tables import inbox, outbox
from devstack.testing_service import Running, Tokens
from propmubi.agents.v1 import listings_pb2
from propmubi.agents.v1 import saved_searches_pb2 as pb
from propmubi.agents.v1.events_pb2 import ListingPublished, SavedSearchAlert, SavedSearchMatched
from propmubi.agents.v1.listings_pb2 import ListingFilters
from propmubi.agents.v1.saved_searches_pb2_grpc import SavedSearchServiceStub
from propmubi.common.v1.event_pb2 import Event

WITHIN = 10.0
# How many of agents' own aggregates were met.
_MET = select(func.count().label("met")).where(inbox.c.source == "agents")


@pytest.fixture
def meera(agents: Running, tokens: Tokens) -> Any:
    """The SavedSearchService as a buyer has it."""
    return SavedSearchServiceStub(agents.caller(tokens.person()))


@pytest.fixture
def service(agents: Running, alerts: AlertService) -> SavedSearchService:
    search = SearchService(SearchRepository(agents.database))
    return SavedSearchService(SavedSearchRepository(agents.database), search, alerts)


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


async def told(agents: Running) -> list[tuple[str, str]]:
    """What was told: saved searches, each with a listing."""
    async with agents.database.transaction() as tx:
        rows = await tx.execute(
            select(outbox.c.payload)
            .where(outbox.c.name == "saved_search.matched")
            .order_by(outbox.c.position)
        )
        alerts: list[SavedSearchAlert] = []
        for (payload,) in rows:
            event = SavedSearchMatched()
            AnyMessage.FromString(payload).Unpack(event)
            alerts += event.alerts
    return [(alert.saved_search_id, home) for alert in alerts for home in alert.listing_ids]


async def ask(lister: Any, listing: Any, price: int) -> None:
    """Have `listing` cost `price`."""
    change = listings_pb2.UpdateListingRequest(
        listing_id=listing.id, listing=listings_pb2.Listing(list_price=price)
    )
    change.update_mask.paths.append("list_price")
    await lister.listings.UpdateListing(change)


async def eventually(agents: Running, count: int) -> None:
    """Until so much was told; what follows is seen by what is told next."""
    async with asyncio.timeout(WITHIN):
        # The consumer sets no event of ours.
        while len(await told(agents)) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_one_saved_under_a_key_is_answered_again_whatever_its_words_mean_by_now(
    agents: Running, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = SavedSearchServiceStub(agents.caller(tokens.person(), idempotency_key="once"))
    saved = await save(once, q="Wakad")

    async def not_understood(*_: Any) -> Any:
        raise InvalidArgument(Violation("q", "means nothing any more"))

    monkeypatch.setattr(SearchService, "asked", not_understood)
    assert await save(once, q="Wakad") == saved
    with pytest.raises(InvalidArgument):
        await save(SavedSearchServiceStub(agents.caller(tokens.person())), q="Wakad")


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

    await ask(asha, listing, 8_000_000)
    await eventually(agents, 1)
    assert await told(agents) == [(wanted.id, listing.id)]
    # It went and came back, was dearer for a while, and is as cheap as before: that is no news. Cheaper is.
    await asha.move(listing, "hold")
    await asha.move(listing, "active")
    await ask(asha, listing, 8_500_000)
    await ask(asha, listing, 8_000_000)
    await ask(asha, listing, 7_500_000)
    await ask(asha, dear, 7_900_000)
    await eventually(agents, 3)
    assert sorted(await told(agents)) == sorted(
        [(wanted.id, listing.id)] * 2 + [(wanted.id, dear.id)]
    )
    assert set(await matched(meera, wanted, page_size=1)) == {dear.id, listing.id}
    await asha.move(listing, "withdrawn")
    assert await matched(meera, wanted, page_size=1) == [dear.id]


async def test_many_offers_at_once_tell_each_owner_once_of_all_that_she_wants(
    agents: Running, asha: Any, meera: Any, service: SavedSearchService
) -> None:
    all_of_pune, cheap = await save(meera, city="Pune"), await save(meera, price_max=8_000_000)
    bright = await save(meera, city="Pune", facing=[listings_pb2.FACING_EAST], bhk=[2])
    prices = (7_000_000, 8_000_000, 9_000_000)
    async with agents.database.transaction() as tx:
        # Nothing is matched before all wait.
        await tx.execute(text("lock table offers in access exclusive mode"))
        homes = [
            (await asha.publish(address=_flat(at), list_price=price, facing=facing)).id
            for at, (price, facing) in enumerate(zip(prices, (1, 3, 3), strict=True))
        ]
        for home in homes[::-1]:
            await service.offer(tx, uuid.UUID(home), Reason.NEW)
    await asyncio.gather(*(_match(agents, service) for _ in range(20)))
    wanted = {all_of_pune.id: homes, cheap.id: homes[:2], bright.id: homes[1:]}
    await eventually(agents, 7)
    expected = sorted((search, home) for search, found in wanted.items() for home in found)
    assert sorted(await told(agents)) == expected
    async with asyncio.timeout(WITHIN):
        # What the events of publishing bring is matched, and is nothing new. Nobody tells when that is.
        while (await agents.database.fetch(_MET))[0]["met"] < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await asyncio.gather(*(_match(agents, service) for _ in range(5)))
    assert sorted(await told(agents)) == expected


async def test_what_was_seen_stays_seen_until_it_is_cheaper(
    agents: Running, asha: Any, meera: Any
) -> None:
    search = await save(meera, city="Pune")
    first = await asha.publish()
    await eventually(agents, 1)
    asked = pb.ListSavedSearchMatchesRequest(saved_search_id=search.id)
    [match] = (await meera.ListSavedSearchMatches(asked)).matches
    assert (match.reason, match.seen) == (pb.MATCH_REASON_NEW, False)
    seen = pb.MarkSavedSearchSeenRequest(saved_search_id=search.id, until=match.matched_at)
    await meera.MarkSavedSearchSeen(seen)
    second = await asha.publish(address=_flat(2))
    await eventually(agents, 2)
    seen.until.seconds -= 60
    await meera.MarkSavedSearchSeen(seen)  # What was seen before stays so.

    async def shown() -> list[tuple[str, int, bool]]:
        answer = await meera.ListSavedSearchMatches(asked)
        return [(match.listing.id, match.reason, match.seen) for match in answer.matches]

    new, cheaper = pb.MATCH_REASON_NEW, pb.MATCH_REASON_CHEAPER
    assert await shown() == [(second.id, new, False), (first.id, new, True)]
    await ask(asha, first, 8_000_000)
    await eventually(agents, 3)
    assert await shown() == [(first.id, cheaper, False), (second.id, new, False)]
    stranger = pb.MarkSavedSearchSeenRequest(saved_search_id=str(new_id()), until=match.matched_at)
    with pytest.raises(NotFound):
        await meera.MarkSavedSearchSeen(stranger)


async def test_searches_that_go_while_homes_are_matched_leave_no_matches(
    agents: Running, asha: Any, meera: Any, service: SavedSearchService
) -> None:
    listing = await asha.publish()
    for _ in range(5):
        searches = [await save(meera, city="Pune") for _ in range(10)]
        async with agents.database.transaction() as tx:
            await service.offer(tx, uuid.UUID(listing.id), Reason.NEW)
        delete = (
            meera.DeleteSavedSearch(pb.DeleteSavedSearchRequest(saved_search_id=each.id))
            for each in searches
        )
        await asyncio.gather(*delete, _match(agents, service))
    assert await agents.database.fetch(select(saved_searches.c.id)) == []
    assert await agents.database.fetch(select(matches.c.listing_id)) == []


async def test_who_matches_may_die_and_redis_be_lost_and_each_is_told_once(
    agents: Running, asha: Any, meera: Any, service: SavedSearchService
) -> None:
    search = await save(meera, city="Pune")
    listing = await asha.publish()
    await eventually(agents, 1)
    async with agents.database.transaction() as tx:
        await service.offer(tx, uuid.UUID((await asha.publish(address=_flat(1))).id), Reason.NEW)
    with pytest.raises(Unavailable):
        await _match_and_die(agents, service)
    await agents.service.redis.flushall()
    await ask(asha, listing, 8_000_000)
    await agents.service.redis.flushall()
    await eventually(agents, 3)
    async with asyncio.timeout(WITHIN):
        while (await agents.database.fetch(_MET))[0]["met"] < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await _match(agents, service)
    assert [each for each, _ in await told(agents)] == [search.id] * 3


async def _match_and_die(agents: Running, service: SavedSearchService) -> None:
    """What Postgres sees of a process that is killed when all is matched: its connection is gone."""
    async with agents.database.transaction() as tx:
        await service.match_offers(tx)
        pid = (await tx.execute(text("select pg_backend_pid()"))).scalar()
        await agents.database.fetch(text("select pg_terminate_backend(:pid)"), {"pid": pid})
        await tx.execute(text("select 1"))


async def test_an_event_that_comes_late_or_twice_tells_nothing_new(
    agents: Running, asha: Any, meera: Any, service: SavedSearchService
) -> None:
    await save(meera, city="Pune")
    listing = await asha.publish()
    await eventually(agents, 1)
    consumers = SavedSearchConsumers(service)
    event = ListingPublished(listing=listing)
    await asyncio.gather(*(_apply(agents, consumers, event) for _ in range(10)))
    await asyncio.gather(*(_match(agents, service) for _ in range(10)))
    await asha.move(listing, "hold")
    await save(meera, postal_code=["411057"])
    await _apply(agents, consumers, event)
    await _match(agents, service)
    assert len(await told(agents)) == 1


async def _match(agents: Running, service: SavedSearchService) -> int:
    async with agents.database.transaction() as tx:
        return await service.match_offers(tx)


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
    assert news == [(daily.id, home) for home in sorted([first, second])]
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
