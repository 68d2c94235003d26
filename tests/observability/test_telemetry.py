"""What every process emits is what the contract says (deploy/observability/telemetry.yaml), in both directions."""

import ast
import importlib
import json
import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import asyncpg
import grpc
from google.protobuf.descriptor import FileDescriptor
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from chassis.sms import SmsSettings
from devstack import secretfile
from devstack.platform import PROCESSES, SERVICES, Platform
from propmubi.options.v1 import options_pb2
from tests.observability.conftest import (
    CONTRACT,
    MEET_IT,
    ROOT,
    TOLD,
    Observed,
    declared_edges,
    lines_under,
)

DECLARE_IT = "declare it in deploy/observability/telemetry.yaml"
KINDS = {
    Span.SPAN_KIND_SERVER: "server",
    Span.SPAN_KIND_CLIENT: "client",
    Span.SPAN_KIND_CONSUMER: "consumer",
}


def contracts() -> list[FileDescriptor]:
    """The protos of all services."""
    files = sorted((ROOT / "protos/propmubi").glob("*/v1/*.proto"))
    return [
        importlib.import_module(f"propmubi.{file.parts[-3]}.v1.{file.stem}_pb2").DESCRIPTOR
        for file in files
    ]


PROTOS = contracts()
RPCS = {
    method.full_name
    for proto in PROTOS
    for service in proto.services_by_name.values()
    for method in service.methods
}
EVENTS = {
    name
    for proto in PROTOS
    for message in proto.message_types_by_name.values()
    if (name := message.GetOptions().Extensions[options_pb2.event])
}
ROUTES = set(json.loads((ROOT / "tests/contract/openapi.json").read_text())["paths"])
# Bounded by the code, not by who calls: what labels may be drawn from.
SETS: Mapping[str, Any] = {
    "routes": {*ROUTES, "/healthz", "/readyz", "/openapi.json", "/docs", "unmatched", "preflight"},
    "http_statuses": {str(status.value) for status in HTTPStatus},
    "rpcs": RPCS,
    "grpc_statuses": {code.name for code in grpc.StatusCode},
    "events": EVENTS,
    "enums": {enum.full_name for proto in PROTOS for enum in proto.enum_types_by_name.values()},
    # What a service's __main__ says: names of timers among other words.
    "timers": {
        node.value
        for main in ROOT.glob("services/*/*_service/__main__.py")
        for node in ast.walk(ast.parse(main.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    },
    "allowances": {"notice phone", "otp day", "otp phone", "otp range"}
    | {f"{method} {what}" for method in ("otp", "password") for what in ("tries", "failures")},
}


def of(declared: Mapping[str, Any]) -> set[str]:
    names = declared["of"]
    return set({"all": PROCESSES, "services": SERVICES}[names] if isinstance(names, str) else names)


def heard(declared: Mapping[str, Any]) -> set[str]:
    """Which processes emit it on a journey."""
    return of(declared) - set(declared.get("quiet", ()))


# ── metrics ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_metric_that_is_declared_is_emitted(observed: Observed) -> None:
    for name, declared in CONTRACT["metrics"].items():
        for process in of(declared):
            assert name in observed.metrics[process], f"{process} does not emit {name}"
            family = observed.metrics[process][name]
            assert family.type == declared["type"], name
            if declared["since"] != "fault" and process in heard(declared):
                assert family.samples, f"{process} has no series of {name}"


def test_every_metric_that_is_emitted_is_declared_with_its_labels(observed: Observed) -> None:
    for process, families in observed.metrics.items():
        for name, family in families.items():
            if name.startswith(tuple(CONTRACT["runtime_metrics"])):
                continue
            declared = CONTRACT["metrics"].get(name)
            assert declared, f"{process} emits {name}: {DECLARE_IT}"
            if not family.samples:
                continue  # The chassis names it in every process, whoever counts.
            assert process in of(declared), f"{process} emits {name}: {DECLARE_IT}"
            labels = declared.get("labels", {})
            for sample in family.samples:
                values = {key: value for key, value in sample.labels.items() if key != "le"}
                assert values.keys() == labels.keys(), name
                for label, value in values.items():
                    allowed = (
                        SETS[labels[label]] if isinstance(labels[label], str) else labels[label]
                    )
                    assert value in allowed, f"{name}: {label}={value!r} of {process}: {DECLARE_IT}"


def test_whoever_can_text_is_declared_to_though_no_journey_has_all_of_them_do_it() -> None:
    settings = {
        name: getattr(
            importlib.import_module(f"{name}_service.settings"), f"{name.capitalize()}Settings"
        )
        for name in SERVICES
    }
    texts = {name for name, found in settings.items() if issubclass(found, SmsSettings)}
    for kind, what in ((CONTRACT["metrics"], "propmubi_sms"), (LINES, "sms not sent")):
        declared = {name: of(one) for name, one in kind.items() if name.startswith(what)}
        assert declared == dict.fromkeys(declared, texts)
        assert declared


def test_labels_that_the_code_spells_out_are_declared() -> None:
    files = [*ROOT.glob("chassis/chassis/*.py"), *ROOT.glob("services/*/*_service/**/*.py")]
    code = "".join(file.read_text() for file in files)
    made = r'(?m)^([A-Z_]+) = (?:Counter|Gauge|Histogram)\(\s*"(\w+?)(?:_total)?"'
    names = dict(re.findall(made, code))
    spelled_out = re.findall(r'\b([A-Z_]+)\.labels\(((?:"[\w ]+"(?:, )?)+)\)', code)
    assert ("SMS", '"queue", "expired"') in spelled_out
    for variable, values in spelled_out:
        name = names[variable]
        labels = CONTRACT["metrics"][name]["labels"].items()
        for (label, allowed), value in zip(labels, values.split(", "), strict=True):
            known = SETS[allowed] if isinstance(allowed, str) else allowed
            assert value.strip('"') in known, f"{name}: {label}={value}: {DECLARE_IT}"


def test_the_names_that_rules_and_dashboards_ask_for_are_declared() -> None:
    known = {
        name + suffix
        for name, declared in CONTRACT["metrics"].items()
        for suffix in {
            "histogram": ("_bucket", "_count", "_sum"),
            "counter": ("_total",),
            "gauge": ("",),
        }[declared["type"]]
    }
    for file in (ROOT / "deploy/observability").rglob("*"):
        if file.suffix in {".yml", ".json"} and "tests" not in file.parts:
            asked = set(re.findall(r"\bpropmubi_\w+", file.read_text()))
            assert asked <= known, f"{file.name} asks for {asked - known}"


# ── logs ────────────────────────────────────────────────────────────────────────────────────────────────────────────

LINES = CONTRACT["logs"]["lines"]


def test_every_line_has_the_fields_that_are_declared_and_no_other(observed: Observed) -> None:
    every, some = set(CONTRACT["logs"]["every_line"]), set(CONTRACT["logs"]["some_lines"])
    for process, lines in observed.lines.items():
        for line in lines:
            assert every <= line.keys(), line
            assert line["service"] == process
            if "logger" in line:
                continue
            declared = LINES.get(line["event"])
            assert declared, f"{line}: {DECLARE_IT}"
            assert process in of(declared), f"{line}: {DECLARE_IT}"
            assert line.keys() <= every | some | set(declared["fields"]), line


def test_every_line_that_a_journey_writes_is_written(observed: Observed) -> None:
    for event, declared in LINES.items():
        if declared["since"] == "journey":
            for process in heard(declared):
                assert any(line["event"] == event for line in observed.lines[process]), (
                    process,
                    event,
                )


def test_a_requests_lines_carry_its_correlation_id_and_its_trace(observed: Observed) -> None:
    for process, lines in observed.lines.items():
        for line in lines:
            if line["event"] in {"request", "rpc", "sql", "event met"}:
                assert line["correlation_id"], line
                assert process == "gateway" or line["event"] != "request"
    of_request = lines_under(TOLD, observed.lines)
    assert {line["service"] for line in of_request} == MEET_IT
    assert all(re.fullmatch("[0-9a-f]{32}", line["trace_id"]) for line in of_request)


def written_in_code() -> Iterator[tuple[str, str, set[str]]]:
    """Every line that our code may write: in which package, its event and its fields."""
    for file in [
        *ROOT.glob("chassis/chassis/*.py"),
        *ROOT.glob("gateway/gateway/*.py"),
        *ROOT.glob("services/*/*_service/**/*.py"),
    ]:
        package = file.relative_to(ROOT).parts[1 if "services" in file.parts else 0]
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                not isinstance(node, ast.Call)
                or not node.args
                or not isinstance(node.args[0], ast.Constant)
            ):
                continue
            match node.func:
                case ast.Attribute(value=ast.Name(id="log")) | ast.Name(id="write") if isinstance(
                    node.args[0].value, str
                ):
                    fields = {word.arg for word in node.keywords if word.arg} - {"exc_info"}
                    yield package, node.args[0].value, fields


def test_every_line_of_the_code_is_declared() -> None:
    for package, event, fields in written_in_code():
        assert event in LINES, f"{package} may write {event!r}: {DECLARE_IT}"
        assert package in {
            "chassis",
            *of(LINES[event]),
        }, f"{package} may write {event!r}: {DECLARE_IT}"
        assert fields <= set(LINES[event]["fields"]), f"{event!r}: {DECLARE_IT}"


def test_every_line_that_is_declared_is_in_the_code() -> None:
    assert set(LINES) - {event for _, event, _ in written_in_code()} == set()


# ── traces ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def pattern(name: str) -> re.Pattern[str]:
    """What `{…}` in a span's declared name stands for."""
    sets = {
        "method": r"[A-Z]+",
        "route": "|".join(map(re.escape, SETS["routes"])),
        "rpc": "|".join(map(re.escape, RPCS)),
        "call": "|".join(re.escape("/".join(rpc.rsplit(".", 1))) for rpc in RPCS),
        "event": "|".join(map(re.escape, EVENTS)),
    }
    return re.compile(re.sub(r"\{(\w+)\}", lambda part: f"(?:{sets[part[1]]})", name))


def test_every_span_is_declared_and_every_declared_span_is_seen(observed: Observed) -> None:
    unseen = {
        (number, process) for number, one in enumerate(CONTRACT["spans"]) for process in heard(one)
    }
    patterns = [pattern(declared["name"]) for declared in CONTRACT["spans"]]
    for service, span in observed.collector.seen:
        fitting = [
            number
            for number, declared in enumerate(CONTRACT["spans"])
            if declared["kind"] == KINDS.get(span.kind)
            and service in of(declared)
            and patterns[number].fullmatch(span.name)
        ]
        assert fitting, f"{service} emits the span {span.name!r}: {DECLARE_IT}"
        [number] = fitting
        assert [one.key for one in span.attributes] == CONTRACT["spans"][number][
            "attributes"
        ], span.name
        unseen.discard((number, service))
    assert unseen == set()


def test_traces_lead_from_the_gateway_over_the_services_to_their_statements(
    observed: Observed,
) -> None:
    assert observed.collector.edges() == declared_edges()


# ── the documents ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_statements_of_the_runbooks_run(observed: Observed) -> None:
    secrets = secretfile.read(observed.platform.var / "secrets.env")
    connection = await asyncpg.connect(Platform(observed.platform.environment).admin_url(secrets))
    try:
        for page in [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs/runbooks").glob("*.md")]:
            for statements in re.findall(r"(?ms)^ *```sql\n(.*?)^ *```", page.read_text()):
                for statement in statements.split(";"):
                    if statement.strip():
                        undone = connection.transaction()
                        await undone.start()
                        await connection.execute(statement)
                        await undone.rollback()
    finally:
        await connection.close()
