"""Reads that wait together are one call; what a batch leaves out is asked for in the caller's own name."""

import asyncio
import uuid
from typing import Any

import grpc

from chassis.grpc_client import MAX_MESSAGE_BYTES
from devstack.testing_service import Tokens
from gateway.tests.conftest import Peer, RunGateway, bearer
from propmubi.agents.v1 import listings_pb2

UNSAMPLED = {"trace_sample_ratio": 0}


async def test_reads_at_once_are_few_calls_and_each_has_its_own_answer(
    peer: Peer, run_gateway: RunGateway
) -> None:
    ids = [str(uuid.uuid4()) for _ in range(60)]
    async with run_gateway(**UNSAMPLED) as gateway:
        peer.calls = 0
        answers = await asyncio.gather(
            *(gateway.client.get(f"/v1/listings/{each}") for each in ids)
        )
    assert [answer.json()["id"] for answer in answers] == ids
    assert all(answer.headers["etag"].startswith('"3-') for answer in answers)
    assert peer.calls < len(ids) / 2


async def test_what_is_not_public_is_asked_for_in_the_callers_name(
    peer: Peer, run_gateway: RunGateway, tokens: Tokens
) -> None:
    async def none_is_public(_request: Any, _context: Any) -> Any:
        return listings_pb2.BatchGetListingsResponse()

    peer.replies["BatchGetListings"] = none_is_public
    token = tokens.agent()
    async with run_gateway(**UNSAMPLED) as gateway:
        answer = await gateway.client.get(f"/v1/listings/{uuid.uuid4()}", headers=bearer(token))
    assert answer.json()["version"] == 1
    assert peer.metadata["authorization"] == f"Bearer {token}"


async def test_one_that_can_not_travel_fails_nobody_who_went_with_it(
    peer: Peer, run_gateway: RunGateway
) -> None:
    ids = [str(uuid.uuid4()) for _ in range(60)]
    too_large = set(ids[::5])

    async def some_are_large(request: Any, _context: Any) -> Any:
        listings = [
            listings_pb2.Listing(
                id=each, public_remarks="x" * (MAX_MESSAGE_BYTES * (each in too_large))
            )
            for each in request.listing_ids
        ]
        return listings_pb2.BatchGetListingsResponse(listings=listings)

    peer.replies["BatchGetListings"] = some_are_large
    async with run_gateway(**UNSAMPLED) as gateway:
        answers = await asyncio.gather(
            *(gateway.client.get(f"/v1/listings/{each}") for each in ids)
        )
    assert [answer.status_code for answer in answers] == [
        500 if each in too_large else 200 for each in ids
    ]


async def test_a_peer_that_is_away_is_an_error_for_each_that_waited(
    peer: Peer, run_gateway: RunGateway
) -> None:
    async def away(_request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "away")

    peer.replies["BatchGetListings"] = away
    async with run_gateway(**UNSAMPLED) as gateway:
        paths = [f"/v1/listings/{uuid.uuid4()}" for _ in range(10)]
        answers = await asyncio.gather(*map(gateway.client.get, paths))
    assert {answer.status_code for answer in answers} == {503}
    assert len({answer.json()["error"]["correlation_id"] for answer in answers}) == len(paths)
