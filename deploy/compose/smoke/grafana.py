"""What Grafana finds: one request's lines in Loki and its trace in Tempo, asked as somebody on call would."""

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx

from deploy.compose.smoke.containers import PATIENCE_SECONDS, Failure

# A line is on its way for a second or two: to the file, the Collector, Loki.
LOOK_AGAIN_SECONDS = 1.0


def follow(
    grafana: httpx.Client, request: Callable[[str], None], processes: set[str]
) -> tuple[int, int]:
    """How many lines and spans of one request, which passes `processes`, are found by its correlation id.

    `request` makes it, with that id. It is made again until it is found: the Collector reads what is written from when
    it has met a file.
    """
    correlation_id = f"smoke-{uuid4().hex}"
    give_up = time.monotonic() + PATIENCE_SECONDS
    lines: list[dict[str, str]] = []
    spans: list[str] = []
    while time.monotonic() < give_up:
        request(correlation_id)
        lines = lines_of(grafana, correlation_id)
        if {line["service_name"] for line in lines} >= processes:
            for trace_id in {line["trace_id"] for line in lines if line.get("trace_id")}:
                spans = list(spans_of(grafana, trace_id))
                if set(spans) >= processes:
                    return len(lines), len(spans)
        time.sleep(LOOK_AGAIN_SECONDS)  # Nobody tells when something has arrived.
    raise Failure(
        f"of a request through {sorted(processes)} Loki has lines of {[line['service_name'] for line in lines]},"
        f" Tempo spans of {spans}"
    )


def lines_of(grafana: httpx.Client, correlation_id: str) -> list[dict[str, str]]:
    """The labels of each line under a correlation id, its structured metadata among them."""
    query = f'{{service_name=~".+"}} | correlation_id="{correlation_id}"'
    answer = grafana.get(
        "/api/datasources/proxy/uid/loki/loki/api/v1/query_range", params={"query": query}
    )
    found: dict[str, Any] = answer.raise_for_status().json()
    return [stream["stream"] for stream in found["data"]["result"] for _ in stream["values"]]


def spans_of(grafana: httpx.Client, trace_id: str) -> Iterator[str]:
    """The service of each span of a trace; none while Tempo has not got it."""
    answer = grafana.get(f"/api/datasources/proxy/uid/tempo/api/traces/{trace_id}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return
    for batch in answer.raise_for_status().json()["batches"]:
        [service] = [
            one["value"]["stringValue"]
            for one in batch["resource"]["attributes"]
            if one["key"] == "service.name"
        ]
        for scope in batch["scopeSpans"]:
            yield from [service] * len(scope["spans"])
