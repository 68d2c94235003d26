"""OpenTelemetry traces: parent-based sampling, exported by OTLP only where an endpoint is configured."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags

from chassis.settings import Settings

tracer = trace.get_tracer("propmubi")


def configure(settings: Settings, service: str) -> None:
    """Set up tracing for the process `service`."""
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.trace_sample_ratio)),
        resource=Resource.create({"service.name": service}),
    )
    if settings.otel_exporter_otlp_endpoint:
        provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.otel_exporter_otlp_endpoint))
        )
    trace.set_tracer_provider(provider)


def shutdown() -> None:
    """Hand the last spans to the exporter."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.shutdown()


def traceparent() -> str:
    """The W3C traceparent of the current span, empty when there is none."""
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return ""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"


def parent_of(header: str) -> Context:
    """The context that `header`, a W3C traceparent, continues; an empty one when it is not valid."""
    parts = header.split("-")
    try:
        version, trace_id, span_id, flags = (int(part, 16) for part in parts[:4])
        well_formed = [len(part) for part in parts[:4]] == [2, 32, 16, 2] and version != 0xFF
    except ValueError:
        return Context()
    span = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags & 1))
    if not well_formed or not span.is_valid:
        return Context()
    return trace.set_span_in_context(NonRecordingSpan(span), Context())


@contextmanager
def continued(name: str, header: str, kind: SpanKind) -> Iterator[Span]:
    """A span that continues the trace of `header`, a W3C traceparent, or begins one where there is none.

    Of a trace that is not sampled nothing is recorded, and only its context handed on, at a fraction of the price.
    """
    parent = parent_of(header)
    caller = trace.get_current_span(parent)
    told = caller.get_span_context()
    if told.is_valid and not told.trace_flags.sampled:
        token = attach(parent)
        try:
            yield caller
        finally:
            detach(token)
        return
    with tracer.start_as_current_span(name, parent, kind) as span:
        yield span
