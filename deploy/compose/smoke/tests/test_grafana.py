"""What the smoke test takes for a request that is found in Loki and Tempo, told by a Grafana of the test's own."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from deploy.compose.smoke import grafana
from deploy.compose.smoke.containers import Failure

TRACE = "0af7651916cd43dd8448eb211c80319c"


def line(service: str, **more: str) -> dict[str, Any]:
    return {"stream": {"service_name": service, **more}, "values": [["1", "{}"]]}


def spans(service: str, count: int) -> dict[str, Any]:
    name = {"key": "service.name", "value": {"stringValue": service}}
    return {"resource": {"attributes": [name]}, "scopeSpans": [{"spans": [{}] * count}]}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grafana, "LOOK_AGAIN_SECONDS", 0.0)


def follow(
    loki: Iterator[list[dict[str, Any]]], tempo: Iterator[list[dict[str, Any]]]
) -> tuple[tuple[int, int], list[str]]:
    """What is found where these are the answers, one look after the other, and the ids that were asked with."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/datasources/proxy/uid/")
        if path == "loki/loki/api/v1/query_range":
            assert f'correlation_id="{asked[-1]}"' in request.url.params["query"]
            return httpx.Response(200, text=json.dumps({"data": {"result": next(loki)}}))
        assert path == f"tempo/api/traces/{TRACE}"
        batches = next(tempo)
        return httpx.Response(200 if batches else 404, text=json.dumps({"batches": batches}))

    with httpx.Client(base_url="http://grafana", transport=httpx.MockTransport(answer)) as http:
        return grafana.follow(http, asked.append, {"gateway", "auth"}), asked


def test_a_request_is_made_again_until_its_lines_and_spans_have_arrived() -> None:
    both = [line("gateway", trace_id=TRACE), line("auth", trace_id=TRACE)]
    looks = iter([[], [line("gateway", trace_id=TRACE)], both, both, both])
    traces = iter([[], [spans("gateway", 1)], [spans("gateway", 2), spans("auth", 3)]])
    found, asked = follow(looks, traces)
    assert found == (2, 5)
    assert len(asked) == 5
    assert len(set(asked)) == 1


def test_one_that_is_never_found_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grafana, "PATIENCE_SECONDS", 0.05)
    with pytest.raises(Failure, match=r"lines of \['gateway'\]"):
        follow(iter(lambda: [line("gateway")], None), iter(list, None))
