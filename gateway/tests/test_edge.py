"""The edge from outside: what is answered, with which headers, and what travels to the services."""

import re
import uuid
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from chassis import errors as domain
from devstack.testing_service import Tokens
from gateway.tests.conftest import (
    AGENT,
    Peer,
    RunGateway,
    Running,
    agent,
    bearer,
    error_of,
    raising,
    utf8,
)
from propmubi.agents.v1 import agents_pb2, listing_files_pb2

ID = "01935b0e-7f1c-7b1e-9a51-0c2f6f3a9c11"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


async def test_a_read_is_answered_with_its_headers(gateway: Running) -> None:
    response = await gateway.client.get(f"/v1/agents/{ID}")
    assert response.status_code == 200
    assert response.json()["id"] == ID
    assert response.headers["cache-control"] == "private, no-cache"
    assert response.headers["vary"] == "Authorization, Origin"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert re.fullmatch(r'"7-[0-9a-f]{8}"', response.headers["etag"])
    assert response.headers["ratelimit-policy"] == '"read";q=600;w=60'
    assert re.fullmatch(r'"read";r=599;t=\d+', response.headers["ratelimit"])
    assert "server" not in response.headers


async def test_head_is_a_get_without_its_body(gateway: Running) -> None:
    got, head = (
        await gateway.client.get(f"/v1/agents/{ID}"),
        await gateway.client.head(f"/v1/agents/{ID}"),
    )
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["etag"] == got.headers["etag"]
    assert head.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', '"a",W/{} ,"b"', "*"])
async def test_an_unchanged_thing_is_304(gateway: Running, form: str) -> None:
    tag = (await gateway.client.get(f"/v1/agents/{ID}")).headers["etag"]
    again = await gateway.client.get(
        f"/v1/agents/{ID}", headers={"if-none-match": form.format(tag)}
    )
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == tag
    assert "content-type" not in again.headers


async def test_a_changed_thing_is_200(gateway: Running) -> None:
    tag = (await gateway.client.get(f"/v1/agents/{ID}")).headers["etag"]
    other = await gateway.client.get(f"/v1/agents/{uuid.uuid4()}", headers={"if-none-match": tag})
    assert other.status_code == 200


async def test_what_has_no_version_is_tagged_by_what_it_shows(
    gateway: Running, peer: Peer, tokens: Tokens
) -> None:
    rows = 1

    async def imported(request: Any, _context: Any) -> Any:
        return listing_files_pb2.ListingImport(id=request.import_id, rows=rows)

    peer.replies["GetListingImport"] = imported
    path, headers = f"/v1/listings/imports/{uuid.uuid4()}", bearer(tokens.agent())
    first = await gateway.client.get(path, headers=headers)
    assert first.headers["cache-control"] == "private, no-cache"
    headers |= {"if-none-match": first.headers["etag"]}
    unchanged = await gateway.client.get(path, headers=headers)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["etag"] == first.headers["etag"]
    rows = 2
    changed = await gateway.client.get(path, headers=headers)
    assert (changed.status_code, changed.json()["rows"]) == (200, 2)
    assert changed.headers["etag"] != first.headers["etag"]


async def test_a_creation_is_201_with_its_address(gateway: Running, tokens: Tokens) -> None:
    response = await gateway.client.post("/v1/agents", json=AGENT, headers=bearer(tokens.person()))
    assert response.status_code == 201
    assert response.headers["location"] == "/v1/agents/created"
    assert response.headers["cache-control"] == "no-store"
    assert "idempotency-replayed" not in response.headers


async def test_a_repeated_creation_says_so(gateway: Running, peer: Peer, tokens: Tokens) -> None:
    async def reply(request: Any, context: Any) -> Any:
        context.set_trailing_metadata(
            (("propmubi-existing", "true"), ("idempotency-replayed", "true"))
        )
        return agent("created")

    peer.replies["CreateAgent"] = reply
    response = await gateway.client.post(
        "/v1/agents",
        json=AGENT,
        headers={**bearer(tokens.person()), "idempotency-key": "k-1"},
    )
    assert response.status_code == 200
    assert "location" not in response.headers
    assert response.headers["idempotency-replayed"] == "true"
    assert peer.metadata["idempotency-key"] == "k-1"


async def test_accepted_and_empty_answers(gateway: Running, tokens: Tokens) -> None:
    accepted = await gateway.client.post("/v1/auth/otp", json={"phone": "+919876543210"})
    assert accepted.status_code == 202
    done = await gateway.client.post("/v1/auth/logout", headers=bearer(tokens.person()))
    assert (done.status_code, done.content) == (204, b"")
    assert "content-type" not in done.headers


async def test_a_declared_cache_policy_is_told(gateway: Running) -> None:
    response = await gateway.client.get("/.well-known/jwks.json")
    assert response.headers["cache-control"] == "public, max-age=300"


async def test_what_travels_to_the_service(gateway: Running, peer: Peer, tokens: Tokens) -> None:
    token = tokens.person()
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await gateway.client.get(
        f"/v1/agents/{ID}",
        headers=utf8(
            **bearer(token),
            **{
                "x-correlation-id": "request-4711",
                "traceparent": parent,
                "baggage": "a=b",
                "user-agent": "Mozilla/5.0 \u2603",
                "grpc-timeout": "1m",
                "x-client-address": "6.6.6.6",
                "idempotency-key": "only on POST",
            },
        ),
    )
    assert peer.metadata["authorization"] == f"Bearer {token}"
    assert peer.metadata["x-correlation-id"] == "request-4711"
    assert peer.metadata["x-client-address"] == "127.0.0.1"
    assert peer.metadata["x-client-user-agent"].startswith("Mozilla/5.0 ")
    assert peer.metadata["traceparent"].split("-")[1] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert {"baggage", "idempotency-key"}.isdisjoint(peer.metadata)
    assert 9 < peer.remaining < 10.5


@pytest.mark.parametrize("sampled", [0, 1])
async def test_the_edge_draws_what_is_sampled(
    run_gateway: RunGateway, peer: Peer, monkeypatch: pytest.MonkeyPatch, sampled: int
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(sampled)))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("gateway.middleware.tracer", provider.get_tracer("test"))
    async with run_gateway(trace_sample_ratio=sampled) as gateway:
        exporter.clear()
        for flag in ("00", "01"):
            parent = f"00-{'0' * 31}1-00f067aa0ba902b7-{flag}"
            await gateway.client.get(f"/v1/agents/{ID}", headers={"traceparent": parent})
            _, trace_id, _, flags = peer.metadata["traceparent"].split("-")
            assert trace_id == f"{'0' * 31}1"
            assert flags == f"0{sampled}"
        spans = exporter.get_finished_spans()
        assert [span.name for span in spans] == ["GET /v1/agents/{agent_id}"] * 2 * sampled
        for span in spans:
            assert span.attributes is not None
            assert span.attributes["http.response.status_code"] == 200


@pytest.mark.parametrize(
    "parent", ["nonsense", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", "", "ff-1-1-1"]
)
async def test_a_broken_trace_is_started_anew(gateway: Running, peer: Peer, parent: str) -> None:
    assert (
        await gateway.client.get(f"/v1/agents/{ID}", headers={"traceparent": parent})
    ).status_code == 200
    assert "0" * 32 not in peer.metadata.get("traceparent", "")


@pytest.mark.parametrize("given", ["short", "x" * 65, "with space", "semi;colon", "ünïcödé-id", ""])
async def test_a_bad_correlation_id_is_replaced(gateway: Running, peer: Peer, given: str) -> None:
    response = await gateway.client.get(
        f"/v1/agents/{ID}", headers=utf8(**{"x-correlation-id": given})
    )
    assert UUID(response.headers["x-correlation-id"])
    assert peer.metadata["x-correlation-id"] == response.headers["x-correlation-id"]


async def test_one_correlation_id_ties_answer_error_and_call(gateway: Running, peer: Peer) -> None:
    peer.replies["GetAgent"] = raising(domain.NotFound("There is no such agent."))
    response = await gateway.client.get(
        f"/v1/agents/{ID}", headers={"x-correlation-id": "request-4711"}
    )
    assert response.status_code == 404
    assert error_of(response)["correlation_id"] == "request-4711"
    assert peer.metadata["x-correlation-id"] == "request-4711"


async def test_if_match_reaches_the_service(gateway: Running, peer: Peer, tokens: Tokens) -> None:
    seen: list[int] = []

    async def stale(request: agents_pb2.UpdateAgentRequest, _context: Any) -> Any:
        seen.append(request.expected_version)
        raise domain.StaleVersion

    peer.replies["UpdateAgent"] = stale
    response = await gateway.client.patch(
        f"/v1/agents/{ID}",
        json={"bio": "x"},
        headers={**bearer(tokens.person()), "if-match": '"6-0badcafe"'},
    )
    assert response.status_code == 412
    assert error_of(response)["code"] == "STALE_VERSION"
    assert seen == [6]


async def test_pages_of_the_gateway(gateway: Running) -> None:
    assert (await gateway.client.get("/healthz")).json() == {"status": "alive"}
    assert (await gateway.client.get("/readyz")).json() == {"status": "ready"}
    document = await gateway.client.get("/openapi.json")
    assert document.headers["x-correlation-id"]
    assert document.json()["openapi"].startswith("3.1")
    again = await gateway.client.get(
        "/openapi.json", headers={"if-none-match": document.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
