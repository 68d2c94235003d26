"""What the documents have somebody say to kubectl at night does what they say it does."""

import re

import pytest

from deploy.k8s.tests.conftest import K8S, Rendered, selects
from deploy.k8s.tests.test_manifests import PROCESSES

DOCS = K8S.parents[1] / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), K8S / "README.md"]


def commands(verb: str) -> list[str]:
    """Every `kubectl … verb …` of the documents, to the end of its line or its code."""
    pattern = rf"kubectl (?:-n propmubi )?{verb}\b[^`\n|;]*"
    return [found for page in PAGES for found in re.findall(pattern, page.read_text())]


def test_selectors_find_pods(rendered: Rendered) -> None:
    asked = [
        selector
        for command in commands("logs")
        for selector in re.findall(r"(?:-l|--selector)[ =](\S+)", command)
    ]
    assert asked
    for selector in asked:
        wanted = dict(pair.split("=") for pair in selector.split(","))
        found = {
            labels["app.kubernetes.io/name"]
            for _, labels, _ in rendered.pods()
            if selects({"matchLabels": wanted}, labels)
        }
        assert found == set(PROCESSES), selector


def test_replicas_are_left_to_the_autoscaler_but_for_stopping_all_and_starting_them_again() -> None:
    told = [command.partition("scale ")[2] for command in commands("scale")]
    assert told == ["deployment --all --replicas=0", "deployment --all --replicas=2"]


def test_secrets_are_synced_before_what_reads_them_is_restarted(rendered: Rendered) -> None:
    page = (DOCS / "secrets.md").read_text()
    steps = re.findall(r"(?m)^kubectl -n propmubi (\w+ ?\w* \w+ \w+)", page)
    assert [step.split()[:3] for step in steps] == [
        ["annotate", "externalsecret", "auth"],
        ["get", "externalsecret", "auth"],
        ["rollout", "restart", "deployment"],
        ["rollout", "status", "deployment"],
    ]
    assert "auth" in rendered.names("ExternalSecret") & rendered.names("Deployment")


@pytest.mark.parametrize("command", commands("patch hpa"))
def test_autoscalers_that_are_patched_exist(rendered: Rendered, command: str) -> None:
    assert command.partition("patch hpa ")[2].partition(" ")[0] in rendered.names(
        "HorizontalPodAutoscaler"
    )
