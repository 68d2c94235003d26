"""Answers that the gateway keeps: to whom it gives them, until when, and what makes it forget them."""

import asyncio
import tracemalloc
import uuid
from itertools import count
from typing import Any

import grpc
import pytest
from redis.asyncio import Redis

from chassis.redis import stream_of
from devstack.testing_service import Tokens
from gateway.cache import ENTRY_BYTES, ID_BYTES, AnswerCache
from gateway.exchange import Answer
from gateway.tests.conftest import Peer, RunGateway, Running, bearer, eventually
from propmubi.agents.v1 import listings_pb2
from propmubi.agents.v1.events_pb2 import ListingStatusChanged
from propmubi.common.v1.event_pb2 import Event
from propmubi.projects.v1 import projects_pb2
from propmubi.projects.v1.events_pb2 import ProjectLapsed

BYTES = 20_000


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> AnswerCache:
    return AnswerCache(BYTES, clock)


def told(listing_id: str) -> Event:
    return Event(id=str(uuid.uuid4()), aggregate_id=listing_id, sequence=1)


ANSWER = Answer(b"{}", None)


def test_an_answer_is_as_old_as_its_question(cache: AnswerCache, clock: Clock) -> None:
    cache.keep(b"k", ANSWER, ["a"], asked_at=99.0, seconds=2)
    assert cache.get(b"k") is ANSWER
    clock.now = 101.0
    assert cache.get(b"k") is None
    cache.keep(b"k", ANSWER, ["a"], asked_at=98.0, seconds=2)
    assert cache.get(b"k") is None


def test_an_event_ends_what_shows_it_and_what_was_asked_for_before_it(
    cache: AnswerCache, clock: Clock
) -> None:
    cache.keep(b"page", ANSWER, ["a", "b"], asked_at=100, seconds=2)
    cache.keep(b"other", ANSWER, ["c"], asked_at=100, seconds=2)
    clock.now = 100.5
    cache.heed(told("b"))
    assert (cache.get(b"page"), cache.get(b"other")) == (None, ANSWER)
    cache.keep(b"page", ANSWER, ["a", "b"], asked_at=100.4, seconds=2)
    assert cache.get(b"page") is None
    clock.now = 100.6
    cache.keep(b"page", ANSWER, ["a", "b"], asked_at=100.6, seconds=2)
    assert cache.get(b"page") is ANSWER


def test_everything_is_forgotten_when_events_do_not_arrive(
    cache: AnswerCache, clock: Clock
) -> None:
    cache.keep(b"k", ANSWER, ["a"], asked_at=100, seconds=2)
    cache.on_gap(False)
    assert cache.get(b"k") is ANSWER
    cache.on_gap(True)
    assert cache.get(b"k") is None
    cache.keep(b"k", ANSWER, ["a"], asked_at=100, seconds=2)
    assert cache.get(b"k") is None


def test_it_holds_so_many_bytes_and_forgets_the_oldest(cache: AnswerCache) -> None:
    large = Answer(b"x" * (BYTES // 4), None)
    for number in range(6):
        cache.keep(b"%d" % number, large, [str(number)], asked_at=100, seconds=2)
    assert [cache.get(b"%d" % number) is not None for number in range(6)] == [False] * 3 + [
        True
    ] * 3
    assert len(cache._keys_of) == 3


def test_what_nobody_asks_for_again_goes_when_its_time_is_over(
    cache: AnswerCache, clock: Clock
) -> None:
    for number in range(5):
        cache.keep(b"%d" % number, ANSWER, [str(number)], asked_at=clock.now, seconds=2)
    clock.now += 2
    cache.keep(b"new", ANSWER, ["new"], asked_at=clock.now, seconds=2)
    assert ([*cache._kept], [*cache._keys_of]) == ([b"new"], ["new"])


@pytest.mark.parametrize("ids", [0, 1, 20])
def test_it_takes_no_more_memory_than_it_may(clock: Clock, ids: int) -> None:
    most = 4 << 20
    cache = AnswerCache(most, clock)
    tracemalloc.start()
    try:
        for number in range(2 * most // (ENTRY_BYTES + ids * ID_BYTES)):
            shown = [str(uuid.uuid4()) for _ in range(ids)]
            answer = Answer(b'{"of": %d}' % number, b'"%d"' % number)
            cache.keep(b"/v1/suggest?q=%d" % number, answer, shown, asked_at=clock.now, seconds=2)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most / 2 < taken < most


class Listings:
    """A service with one listing, of which each page tells how often it was asked for."""

    def __init__(self, peer: Peer) -> None:
        self.id = str(uuid.uuid4())
        self.asked = 0
        peer.replies["ListListings"] = self.page
        peer.replies["BatchGetListings"] = self.nothing
        peer.replies["GetListing"] = self.one

    async def page(self, _request: Any, context: Any) -> Any:
        self.asked += 1
        signed_in = "authorization" in dict(context.invocation_metadata())
        listing = listings_pb2.Listing(
            id=self.id, version=self.asked, public_remarks="hers" if signed_in else "all's"
        )
        return listings_pb2.ListListingsResponse(listings=[listing])

    async def nothing(self, _request: Any, _context: Any) -> Any:
        return listings_pb2.BatchGetListingsResponse()

    async def one(self, request: Any, context: Any) -> Any:
        self.asked += 1
        if "authorization" not in dict(context.invocation_metadata()):
            await context.abort(grpc.StatusCode.NOT_FOUND, "not for all")
        return listings_pb2.Listing(id=request.listing_id, version=1)


@pytest.fixture
def listings(peer: Peer) -> Listings:
    return Listings(peer)


async def asked(gateway: Running, query: str = "", **headers: str) -> tuple[int, str]:
    answer = await gateway.client.get(f"/v1/listings{query}", headers=headers)
    [listing] = answer.json()["listings"]
    return listing["version"], listing["public_remarks"]


async def test_who_is_not_signed_in_shares_answers_and_nobody_else(
    run_gateway: RunGateway, listings: Listings, tokens: Tokens
) -> None:
    async with run_gateway(cache_bytes=1 << 20) as gateway:
        assert await asked(gateway) == (1, "all's")
        assert await asked(gateway) == (1, "all's")
        hers = bearer(tokens.agent())
        assert await asked(gateway, **hers) == (2, "hers")
        assert await asked(gateway, **hers) == (3, "hers")
        assert await asked(gateway) == (1, "all's")
        assert await asked(gateway, "?city=Pune") == (4, "all's")
        refused = await gateway.client.get("/v1/listings", headers=bearer("not.a.token"))
        assert refused.status_code == 401


async def test_refusals_are_not_kept_and_what_one_may_see_is_not_shown_to_all(
    run_gateway: RunGateway, listings: Listings, tokens: Tokens
) -> None:
    path = f"/v1/listings/{listings.id}"
    async with run_gateway(cache_bytes=1 << 20) as gateway:
        for status, headers in ((404, {}), (200, bearer(tokens.agent())), (404, {})) * 2:
            answer = await gateway.client.get(path, headers=headers)
            assert answer.status_code == status
    assert listings.asked == 6


async def test_a_kept_answer_is_the_same_answer(run_gateway: RunGateway, peer: Peer) -> None:
    path = f"/v1/listings/{uuid.uuid4()}"
    async with run_gateway(cache_bytes=1 << 20) as gateway:
        first, again = [await gateway.client.get(path) for _ in range(2)]
        assert peer.calls == 1
        changing = {"x-correlation-id", "date", "ratelimit"}
        for answer in (first, again):
            assert first.content == answer.content
            assert {k: v for k, v in first.headers.items() if k not in changing} == {
                k: v for k, v in answer.headers.items() if k not in changing
            }
        assert first.headers["x-correlation-id"] != again.headers["x-correlation-id"]
        tag = {"if-none-match": first.headers["etag"]}
        assert (await gateway.client.get(path, headers=tag)).status_code == 304


async def test_an_event_about_a_project_ends_what_shows_it(
    run_gateway: RunGateway, peer: Peer, redis_url: str
) -> None:
    project, versions = projects_pb2.Project(id=str(uuid.uuid4())), count(1)

    async def one(_request: Any, _context: Any) -> Any:
        project.version = next(versions)
        return project

    async def page(_request: Any, _context: Any) -> Any:
        return projects_pb2.ListProjectsResponse(projects=[project])

    peer.replies |= {"GetProject": one, "ListProjects": page}
    async with run_gateway(cache_bytes=1 << 20) as gateway, Redis.from_url(redis_url) as redis:

        async def shown() -> list[int]:
            one = (await gateway.client.get(f"/v1/projects/{project.id}")).json()
            [of_page] = (await gateway.client.get("/v1/projects")).json()["projects"]
            return [one["version"], of_page["version"]]

        async def is_new() -> bool:
            return min(await shown()) > 1

        assert await shown() == await shown() == [1, 1]
        event = told(project.id)
        event.payload.Pack(ProjectLapsed(project_id=project.id))
        await redis.xadd(stream_of("projects"), {"event": event.SerializeToString()})
        async with asyncio.timeout(1.5):
            await eventually(is_new)


async def test_an_event_about_a_listing_ends_the_pages_that_show_it(
    run_gateway: RunGateway, listings: Listings, redis_url: str
) -> None:
    async with run_gateway(cache_bytes=1 << 20) as gateway, Redis.from_url(redis_url) as redis:
        await asked(gateway)
        event = told(listings.id)
        event.payload.Pack(ListingStatusChanged(listing_id=listings.id))
        await redis.xadd(stream_of("agents"), {"event": event.SerializeToString()})

        async def is_new() -> bool:
            return (await asked(gateway))[0] > 1

        # Far sooner than it would be forgotten by itself.
        async with asyncio.timeout(1.5):
            await eventually(is_new)
