"""What watches the platform fits together: alerts and runbooks, dashboards and source, names and what they name."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
OBSERVABILITY = ROOT / "deploy" / "observability"
RUNBOOKS = ROOT / "docs" / "runbooks"
PAGES = sorted(RUNBOOKS.glob("*.md"))
DOCUMENTS = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def rules() -> list[dict[str, Any]]:
    files = (OBSERVABILITY / "prometheus" / "rules").glob("*.yml")
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def slug(heading: str) -> str:
    """What a heading's address ends in."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def sections(page: Path, level: str) -> set[str]:
    return {slug(heading) for heading in re.findall(rf"(?m)^{level} (.+)$", page.read_text())}


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_an_alert_says_how_bad_it_is_and_leads_to_its_section(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["annotations"]["summary"]
    page, _, section = alert["annotations"]["runbook_url"].partition("#")
    assert section in sections(ROOT / page, "##"), f"{page} has no section {section}"
    assert alert["alert"].lower().startswith(section)


def test_every_alert_has_a_test_of_when_it_speaks() -> None:
    tested = {
        case["alertname"]
        for file in (OBSERVABILITY / "prometheus" / "tests").glob("*.yml")
        for test in yaml.safe_load(file.read_text())["tests"]
        for case in test.get("alert_rule_test", ())
        if case["exp_alerts"]
    }
    assert tested == ALERTS.keys()


def silenced(source: dict[str, str], target: dict[str, str]) -> bool:
    """Whether Alertmanager keeps still about `target` while `source` is told."""
    config = yaml.safe_load((OBSERVABILITY / "alertmanager/alertmanager.yml").read_text())
    return any(
        fits(rule["source_matchers"], source)
        and fits(rule["target_matchers"], target)
        and all(source.get(label) == target.get(label) for label in rule.get("equal", ()))
        for rule in config["inhibit_rules"]
    )


def fits(matchers: list[str], labels: dict[str, str]) -> bool:
    """Whether an alert's labels are what all of these matchers want."""

    def fit(matcher: str) -> bool:
        found = re.fullmatch(r'(\w+)(=~|!~|!=|=)"(.*)"', matcher)
        assert found is not None, matcher
        label, operator, value = found.groups()
        pattern = value if "~" in operator else re.escape(value)
        return bool(re.fullmatch(pattern, labels.get(label, ""))) != operator.startswith("!")

    return all(map(fit, matchers))


def test_one_replica_that_is_gone_does_not_hide_what_its_service_does_wrong() -> None:
    gone = {"alertname": "TargetDown", "job": "crm", "instance": "d"}
    absent = {"alertname": "ServiceAbsent", "job": "crm"}
    of_replica = {"alertname": "RevocationsBehind", "job": "crm", "instance": "d"}
    of_another = of_replica | {"instance": "e"}
    of_service = {"alertname": "OutboxOld", "job": "crm"}
    assert [silenced(gone, one) for one in (of_replica, of_another, of_service)] == [
        True,
        False,
        False,
    ]
    assert all(silenced(absent, one) for one in (of_replica, of_another, of_service))
    assert not any(silenced(absent, one | {"job": "auth"}) for one in (of_replica, of_service))
    users_notice = {"alertname": "ApiErrorBudgetBurnFast"}
    assert not any(silenced(one, users_notice) for one in (gone, absent))
    assert silenced(users_notice, {"alertname": "ApiErrorBudgetBurnSlow"})


def test_each_section_of_a_runbook_is_some_alerts() -> None:
    named = {alert["annotations"]["runbook_url"] for alert in ALERTS.values()}
    for page in PAGES:
        if page.name == "README.md":
            continue
        for section in sections(page, "##"):
            assert f"docs/runbooks/{page.name}#{section}" in named


def test_the_index_leads_to_every_page() -> None:
    index = (RUNBOOKS / "README.md").read_text()
    assert [page.name for page in PAGES if f"({page.name})" not in index] == ["README.md"]


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"\w+:", link):
            continue
        path, _, section = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), f"{page.name}: {link}"
        if section:
            assert section in sections(target, "#+"), f"{page.name}: {link}"


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_make_exist(page: Path) -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):.*## ", (ROOT / "Makefile").read_text()))
    assert set(re.findall(r"(?:`|^|\$ )make ([a-z-]+)", page.read_text(), re.MULTILINE)) <= targets


def test_the_dashboards_are_what_their_source_says() -> None:
    source: dict[str, Any] = {
        "__file__": str(OBSERVABILITY / "grafana" / "dashboards.py"),
        "__name__": "dashboards",
    }
    exec((OBSERVABILITY / "grafana" / "dashboards.py").read_text(), source)
    files: dict[Path, str] = source["files"]()
    assert {file.name for file in files} == {
        file.name for file in (OBSERVABILITY / "grafana/dashboards").iterdir()
    }
    for file, text in files.items():
        assert file.read_text() == text, "run `make dashboards`"


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_panels_that_are_named_exist(page: Path) -> None:
    named = re.findall(
        r'\*(Platform|Service|Business)\*,((?:(?:,| and)?\s"[^"]+")+)', page.read_text()
    )
    for board, panels in named:
        file = OBSERVABILITY / "grafana" / "dashboards" / f"{board.lower()}.json"
        titles = {panel["title"] for panel in json.loads(file.read_text())["panels"]}
        asked = {" ".join(panel.split()) for panel in re.findall(r'"([^"]+)"', panels)}
        assert asked <= titles, f"{board} has no {asked - titles}"


def test_the_collector_uses_what_it_defines_and_reaches_who_listens() -> None:
    collector = yaml.safe_load((OBSERVABILITY / "otel-collector/config.yml").read_text())
    for pipeline in collector["service"]["pipelines"].values():
        for kind, names in pipeline.items():
            assert set(names) <= set(collector[kind])
    tempo = yaml.safe_load((OBSERVABILITY / "tempo/tempo.yml").read_text())
    loki = yaml.safe_load((OBSERVABILITY / "loki/loki.yml").read_text())
    sources = yaml.safe_load(
        (OBSERVABILITY / "grafana/provisioning/datasources/datasources.yml").read_text()
    )
    urls = {source["uid"]: source["url"] for source in sources["datasources"]}
    receives = tempo["distributor"]["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].split(
        ":"
    )[1]
    assert collector["exporters"]["otlp"]["endpoint"] == f"tempo:{receives}"
    assert collector["exporters"]["otlphttp"]["endpoint"] == urls["loki"] + "/otlp"
    assert urls["loki"].endswith(str(loki["server"]["http_listen_port"]))
    assert urls["tempo"].endswith(str(tempo["server"]["http_listen_port"]))


def test_loki_has_one_label() -> None:
    """Every other field of a line is structured metadata, as a label would make a stream of each of its values."""
    loki = yaml.safe_load((OBSERVABILITY / "loki/loki.yml").read_text())
    attributes = loki["limits_config"]["otlp_config"]["resource_attributes"]
    assert attributes["ignore_defaults"] is True
    assert attributes["attributes_config"] == [
        {"action": "index_label", "attributes": ["service.name"]}
    ]
