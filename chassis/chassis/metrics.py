"""Prometheus metrics that every process has, served on a port of their own."""

from prometheus_client import Counter, Gauge, Histogram, start_http_server

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

RPC_SECONDS = Histogram(
    "propmubi_rpc_seconds",
    "Time to answer an RPC, by its gRPC status.",
    ["rpc", "status"],
    buckets=SECONDS,
)
POOL_WAIT_SECONDS = Histogram(
    "propmubi_database_pool_wait_seconds", "Time to get a database connection.", buckets=SECONDS
)
OUTBOX_UNPUBLISHED = Gauge("propmubi_outbox_unpublished", "Events committed but not published yet.")
OUTBOX_AGE_SECONDS = Gauge(
    "propmubi_outbox_age_seconds", "Age of the oldest event not published yet."
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
SMS = Counter("propmubi_sms_total", "Text messages by outcome.", ["provider", "outcome"])


def serve(port: int) -> None:
    """Serve /metrics on `port`, in a thread; 0 serves none."""
    if port:
        start_http_server(port)
