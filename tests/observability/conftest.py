"""A platform on which a journey was made, and all that its processes emitted meanwhile."""

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx
import pytest
import yaml
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from devstack.platform import PROCESSES, Platform
from devstack.process import free_port
from devstack.testing_platform import RunningPlatform, running
from devstack.testing_town import founded

ROOT = Path(__file__).parents[2]
CONTRACT = yaml.safe_load((ROOT / "deploy/observability/telemetry.yaml").read_text())
PATIENCE_SECONDS = 30.0
# A request's correlation id, and who writes a line under it.
TOLD, MEET_IT = "told-by-every-process", {"gateway", "auth"}


class Seen(NamedTuple):
    """A span, of whom it is, and its parent's id."""

    service: str
    span: Span


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Stands in for the OpenTelemetry Collector."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  gRPC's name for it.
        for resource in request.resource_spans:
            [service] = [
                one.value.string_value
                for one in resource.resource.attributes
                if one.key == "service.name"
            ]
            for scope in resource.scope_spans:
                self.seen.extend(Seen(service, span) for span in scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    def edges(self) -> dict[str, set[tuple[str, str]]]:
        """Who reached whom: by a call, by an event, by a statement."""
        by_id = {one.span.span_id: one for one in self.seen}
        edges: dict[str, set[tuple[str, str]]] = {
            "calls": set(),
            "events": set(),
            "statements": set(),
        }
        for service, span in self.seen:
            parent = by_id.get(span.parent_span_id)
            if span.name == "sql":
                edges["statements"].add((service, "sql"))
            elif parent is not None and span.kind == Span.SPAN_KIND_CONSUMER:
                edges["events"].add((parent.service, service))
            elif parent is not None and parent.service != service:
                edges["calls"].add((parent.service, service))
        return edges


def declared_edges() -> dict[str, set[tuple[str, str]]]:
    edges = CONTRACT["edges"]
    return {
        **{
            kind: {(a, b) for a, to in edges[kind].items() for b in to}
            for kind in ("calls", "events")
        },
        "statements": {(service, "sql") for service in edges["statements"]},
    }


class Observed(NamedTuple):
    platform: RunningPlatform
    metrics: dict[str, dict[str, Metric]]
    lines: dict[str, list[dict[str, Any]]]
    collector: Collector


@pytest.fixture(scope="module")
def observed() -> Iterator[Observed]:
    """A platform on which one journey was made, and all it emitted meanwhile."""
    port, collector = free_port(), Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(  # type: ignore[no-untyped-call]  # Ships no types.
        collector, server
    )
    told = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with running(**told) as platform:
        server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        try:
            with founded(platform) as town, town.under(TOLD):
                town.wake()
            give_up = time.monotonic() + PATIENCE_SECONDS
            while (
                any(collector.edges()[kind] < edges for kind, edges in declared_edges().items())
                or {line["service"] for line in lines_under(TOLD, lines_of(platform))} < MEET_IT
            ):
                if time.monotonic() > give_up:
                    break  # The tests of edges and of lines say which are missing.
                time.sleep(0.1)  # Spans are handed over in batches, and lines too.
            yield Observed(platform, scrape(platform), lines_of(platform), collector)
        finally:
            server.stop(None).wait()


def scrape(platform: RunningPlatform) -> dict[str, dict[str, Metric]]:
    ports = Platform(platform.environment)
    return {
        process: {
            family.name: family
            for family in text_string_to_metric_families(
                httpx.get(f"http://127.0.0.1:{ports.metrics_port(process)}/metrics").text
            )
        }
        for process in PROCESSES
    }


def lines_of(platform: RunningPlatform) -> dict[str, list[dict[str, Any]]]:
    """The lines that each process has written whole."""
    written = {process: platform.log(process).read_text() for process in PROCESSES}
    return {
        process: [json.loads(line) for line in text.rpartition("\n")[0].splitlines()]
        for process, text in written.items()
    }


def lines_under(
    correlation_id: str, lines: Mapping[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    return [
        line
        for of_process in lines.values()
        for line in of_process
        if line.get("correlation_id") == correlation_id
    ]
