"""The dashboards, in short: `make dashboards` writes grafana/dashboards/*.json from this file, and a test keeps it so.

A panel is its title, its unit and its queries, each with the legend of its lines. Three panels make a row.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).with_name("dashboards")
PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
WIDTH, HEIGHT, COLUMNS = 8, 8, 24

USERS = 'route!~"/healthz|/readyz"'
# What a service answers when the fault is its own or its dependencies'.
RPC_FAULTS = "INTERNAL|UNAVAILABLE|DEADLINE_EXCEEDED|UNKNOWN|DATA_LOSS"
RATE = "$__rate_interval"
OURS = 'job=~"gateway|auth|agents|crm|projects"'
OF = 'job="$service"'


class Panel(NamedTuple):
    """`queries` by the legend of what they draw, in which {{label}} stands for a label's value."""

    title: str
    unit: str
    queries: dict[str, str]


def happened(event: str) -> str:
    """How often an event happened within the hour before."""
    return f'sum(increase(propmubi_events_total{{event="{event}"}}[1h]))'


def quantiles(metric: str, labels: str = "", by: str = "") -> dict[str, str]:
    """The median and the slowest hundredth of a histogram."""
    per = f"{by}, le" if by else "le"
    legend = f"{{{{{by}}}}} " if by else ""
    return {
        f"{legend}{name}": f"histogram_quantile({q}, sum by ({per}) (rate({metric}_bucket{{{labels}}}[{RATE}])))"
        for name, q in (("p50", 0.5), ("p99", 0.99))
    }


PLATFORM = (
    Panel(
        "Requests",
        "reqps",
        {
            "{{class}}": "sum by (class) (label_replace("
            f'rate(propmubi_http_seconds_count{{{USERS}}}[{RATE}]), "class", "${{1}}xx", "status", "(.).*"))'
        },
    ),
    Panel(
        "Faults by route",
        "percentunit",
        {
            "{{route}}": f'topk(10, 1 - sum by (route) (rate(propmubi_http_seconds_count{{{USERS},status!~"5.."}}[{RATE}]))'
            f" / sum by (route) (rate(propmubi_http_seconds_count{{{USERS}}}[{RATE}])))"
        },
    ),
    Panel("Duration", "s", quantiles("propmubi_http_seconds", USERS)),
    Panel(
        "Slow by route (over half a second)",
        "percentunit",
        {
            "{{route}}": f'topk(10, 1 - sum by (route) (rate(propmubi_http_seconds_bucket{{{USERS},le="0.5"}}[{RATE}]))'
            f" / sum by (route) (rate(propmubi_http_seconds_count{{{USERS}}}[{RATE}])))"
        },
    ),
    Panel(
        "Error budget, times what may be spent",
        "short",
        {
            window: f"propmubi:http_faults:ratio_rate{window} / 0.001"
            for window in ("1h", "6h", "3d")
        },
    ),
    Panel(
        "Requests by route",
        "reqps",
        {
            "{{method}} {{route}}": f"topk(10, sum by (method, route) (rate(propmubi_http_seconds_count{{{USERS}}}[{RATE}])))"
        },
    ),
    Panel(
        "Calls by service",
        "reqps",
        {"{{job}}": f"sum by (job) (rate(propmubi_rpc_seconds_count[{RATE}]))"},
    ),
    Panel(
        "Faults by service",
        "percentunit",
        {
            "{{job}}": f'1 - sum by (job) (rate(propmubi_rpc_seconds_count{{status!~"{RPC_FAULTS}"}}[{RATE}]))'
            f" / sum by (job) (rate(propmubi_rpc_seconds_count[{RATE}]))"
        },
    ),
    Panel(
        "Duration by service, p99",
        "s",
        {"{{job}}": quantiles("propmubi_rpc_seconds", by="job")["{{job}} p99"]},
    ),
    Panel(
        "Oldest event not published", "s", {"{{job}}": "max by (job) (propmubi_outbox_age_seconds)"}
    ),
    Panel(
        "Events not followed yet, and set aside",
        "short",
        {
            "{{job}} behind {{source}}": "max by (job, source) (propmubi_stream_lag)",
            "{{job}} set aside of {{source}}": "max by (job, source) (propmubi_dead_letters)",
        },
    ),
    Panel(
        "Limits",
        "reqps",
        {
            "{{allowance}} {{outcome}}": f"sum by (allowance, outcome) (rate(propmubi_rate_limit_decisions_total[{RATE}]))"
        },
    ),
    Panel("Replicas", "short", {"{{job}}": f"sum by (job) (up{{{OURS}}})"}),
    Panel(
        "Processor",
        "short",
        {"{{job}}": f"sum by (job) (rate(process_cpu_seconds_total{{{OURS}}}[{RATE}]))"},
    ),
    Panel(
        "Memory", "bytes", {"{{job}}": f"max by (job) (process_resident_memory_bytes{{{OURS}}})"}
    ),
)

SERVICE = (
    Panel(
        "Calls",
        "reqps",
        {"{{rpc}}": f"sum by (rpc) (rate(propmubi_rpc_seconds_count{{{OF}}}[{RATE}]))"},
    ),
    Panel(
        "Answers",
        "reqps",
        {"{{status}}": f"sum by (status) (rate(propmubi_rpc_seconds_count{{{OF}}}[{RATE}]))"},
    ),
    Panel("Duration", "s", quantiles("propmubi_rpc_seconds", OF)),
    Panel(
        "Slowest, p99",
        "s",
        {"{{rpc}}": f"topk(10, {quantiles('propmubi_rpc_seconds', OF, 'rpc')['{{rpc}} p99']})"},
    ),
    Panel("Pool wait", "s", quantiles("propmubi_database_pool_wait_seconds", OF, "pool")),
    Panel(
        "Statements and transactions",
        "ops",
        {
            "{{pool}}": f"sum by (pool) (rate(propmubi_database_pool_wait_seconds_count{{{OF}}}[{RATE}]))"
        },
    ),
    Panel(
        "Events",
        "ops",
        {
            "{{event}}": f"sum by (event) (rate(propmubi_events_total{{{OF}}}[{RATE}]))",
            "{{source}} {{event}} {{outcome}}": "sum by (source, event, outcome) "
            f"(rate(propmubi_events_consumed_total{{{OF}}}[{RATE}]))",
        },
    ),
    Panel(
        "Events waiting",
        "short",
        {
            "not published": f"max(propmubi_outbox_unpublished{{{OF}}})",
            "behind {{source}}": f"max by (source) (propmubi_stream_lag{{{OF}}})",
            "set aside of {{source}}": f"max by (source) (propmubi_dead_letters{{{OF}}})",
        },
    ),
    Panel("Oldest event not published", "s", {"age": f"max(propmubi_outbox_age_seconds{{{OF}}})"}),
    Panel(
        "Timers, since they were last done",
        "s",
        {
            "{{timer}}": f"time() - max by (timer) (propmubi_timer_last_success_timestamp_seconds{{{OF}}})"
        },
    ),
    Panel(
        "Processor", "short", {"{{instance}}": f"rate(process_cpu_seconds_total{{{OF}}}[{RATE}])"}
    ),
    Panel("Memory", "bytes", {"{{instance}}": f"process_resident_memory_bytes{{{OF}}}"}),
)

BUSINESS = (
    Panel(
        "Enquiries an hour",
        "short",
        {
            "about a {{target}}, {{outcome}}": "sum by (target, outcome) (increase(propmubi_enquiries_total[1h]))",
            "leads": happened("lead.created"),
        },
    ),
    Panel(
        "First response",
        "s",
        {
            "half within": "histogram_quantile(0.5, sum by (le) (rate(propmubi_lead_first_response_seconds_bucket[1d])))",
            "nine of ten within": "histogram_quantile(0.9, sum by (le) "
            "(rate(propmubi_lead_first_response_seconds_bucket[1d])))",
        },
    ),
    Panel(
        "First responses in time, last day",
        "percentunit",
        {
            "in time": 'sum(increase(propmubi_lead_first_response_seconds_count{in_time="true"}[1d]))'
            " / sum(increase(propmubi_lead_first_response_seconds_count[1d]))"
        },
    ),
    Panel(
        "Units an hour",
        "short",
        {
            "held": happened("unit.held"),
            "released": happened("unit.released"),
            "booked": happened("unit.booked"),
        },
    ),
    Panel(
        "Listings an hour",
        "short",
        {"published": happened("listing.published"), "moved": happened("listing.status_changed")},
    ),
    Panel(
        "Agents and builders an hour",
        "short",
        {
            "agents verified": happened("agent.verified"),
            "builders verified": happened("builder.verified"),
        },
    ),
    Panel(
        "One-time passwords an hour",
        "short",
        {"{{outcome}}": "sum by (outcome) (increase(propmubi_otp_total[1h]))"},
    ),
    Panel(
        "One-time passwords typed in",
        "percentunit",
        {"of those sent": "propmubi:otp_verified:ratio_rate30m"},
    ),
    Panel("People new an hour", "short", {"registered": happened("user.registered")}),
    Panel(
        "Text messages an hour",
        "short",
        {"{{job}} {{outcome}}": "sum by (job, outcome) (increase(propmubi_sms_total[1h]))"},
    ),
    Panel("Text messages, rupees an hour", "currencyINR", {"spent": "propmubi:sms_spend:rupees1h"}),
)


def dashboard(title: str, panels: Sequence[Panel], *, per_service: bool = False) -> dict[str, Any]:
    """What Grafana takes."""
    services = {
        "name": "service",
        "type": "query",
        "datasource": PROMETHEUS,
        "query": "label_values(propmubi_rpc_seconds_count, job)",
        "refresh": 2,
    }
    return {
        "uid": f"propmubi-{title.lower()}",
        "title": title,
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [services] if per_service else []},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, COLUMNS // WIDTH)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": PROMETHEUS,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": query, "legendFormat": legend}
            for place, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def files() -> dict[Path, str]:
    """Each file and what it holds."""
    made = (
        dashboard("Platform", PLATFORM),
        dashboard("Service", SERVICE, per_service=True),
        dashboard("Business", BUSINESS),
    )
    return {
        FOLDER / f"{one['title'].lower()}.json": json.dumps(one, indent=1) + "\n" for one in made
    }


if __name__ == "__main__":
    for file, text in files().items():
        file.write_text(text)
