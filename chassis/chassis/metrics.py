"""Prometheus metrics that every process has, served on a port of their own.

What each process emits, and by which labels, is the contract in deploy/observability/telemetry.yaml.
"""

from functools import partial
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificate
from prometheus_client import (
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    start_http_server,
)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

RPC_SECONDS = Histogram(
    "propmubi_rpc_seconds",
    "Time to answer an RPC, by its gRPC status.",
    ["rpc", "status"],
    buckets=SECONDS,
)
POOL_WAIT_SECONDS = Histogram(
    "propmubi_database_pool_wait_seconds",
    "Time to get a database connection, for reads or for transactions.",
    ["pool"],
    buckets=SECONDS,
)
EVENTS = Counter("propmubi_events_total", "What happened: events committed, by name.", ["event"])
# Of what only one replica does, that one alone tells: the others, and one that no longer does it, have no such series.
OUTBOX_UNPUBLISHED = Gauge(
    "propmubi_outbox_unpublished", "Events committed but not published yet.", ["source"]
)
OUTBOX_AGE_SECONDS = Gauge(
    "propmubi_outbox_age_seconds", "Age of the oldest event not published yet.", ["source"]
)
EVENTS_PUBLISHED = Counter(
    "propmubi_events_published_total", "Events published, by name.", ["event"]
)
EVENTS_CONSUMED = Counter(
    "propmubi_events_consumed_total", "Events met by a consumer.", ["source", "event", "outcome"]
)
STREAM_LAG = Gauge(
    "propmubi_stream_lag", "Events of a stream this service has not dealt with yet.", ["source"]
)
DEAD_LETTERS = Gauge(
    "propmubi_dead_letters", "Events set aside after failing too often.", ["source"]
)
REVOCATIONS_BEHIND = Gauge(
    "propmubi_revocations_behind", "1 while revoked sessions can't be followed, else 0."
)
TIMER_FAILURES = Counter(
    "propmubi_timer_failures_total", "Timed work that failed by a fault of its own.", ["timer"]
)
TIMER_PERIOD_SECONDS = Gauge(
    "propmubi_timer_period_seconds", "How often timed work is meant to be done.", ["timer"]
)
TIMER_LAST_SUCCESS = Gauge(
    "propmubi_timer_last_success_timestamp_seconds",
    "When timed work was last done to its end here, or the process was started.",
    ["timer"],
)
SMS = Counter("propmubi_sms_total", "Text messages by outcome.", ["provider", "outcome"])
SMS_REPEATED = Counter(
    "propmubi_sms_repeated_total", "Tries after the first, where nothing was sent.", ["provider"]
)
SMS_SEGMENTS = Counter(
    "propmubi_sms_segments_total",
    "Parts of text messages sent, each of which is paid.",
    ["provider"],
)
CERTIFICATE_EXPIRES = Gauge(
    "propmubi_certificate_expires_timestamp_seconds",
    "When the certificate that the process shows its peers ends.",
    ["file"],
)


def serve(host: str, port: int) -> None:
    """Serve /metrics on `port` of `host`, in a thread; 0 serves none."""
    # When each series began: a third of all series, which nobody asks for.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # The one function of theirs without types.
    if port:
        # gRPC writes addresses of IPv6 in brackets.
        start_http_server(port, host.strip("[]"))


def watch_certificate(file: Path) -> None:
    """Tell at each scrape until when the certificate in `file` is good; 0 for one that can't be read."""
    CERTIFICATE_EXPIRES.labels(file.name).set_function(partial(_expires, file))


def _expires(file: Path) -> float:
    try:
        return load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return 0.0
