"""Who may talk to whom by the NetworkPolicies is who does by the code: no more, and no less."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from chassis.settings import ServiceSettings
from chassis.sms import SmsSettings
from deploy.k8s.tests.conftest import K8S, Labels, Object, Rendered, selects
from deploy.k8s.tests.test_manifests import PROCESSES, SERVICES, settings_of
from gateway import contract

ROOT = K8S.parents[1]
SERVER = "app.kubernetes.io/component"


def targets_in(folder: Path) -> Iterator[str]:
    """The peers whose targets the code of a folder reads from its settings."""
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and node.attr.endswith("_target"):
                yield node.attr.removesuffix("_target")


@cache
def called_by(process: str) -> set[str]:
    if process == "gateway":
        return set(contract.SERVICES)
    # Every service fetches its keys from auth, but for auth itself.
    own = set(targets_in(ROOT / "services" / process / f"{process}_service"))
    return own | (set(targets_in(ROOT / "chassis" / "chassis")) & {"auth"} - {process})


class Network:
    """What the NetworkPolicies of an overlay allow."""

    def __init__(self, rendered: Rendered) -> None:
        self.policies = [found["spec"] for found in rendered.of("NetworkPolicy")]
        self.pods = {name: (labels, spec) for name, labels, spec in rendered.pods()}

    def rules(self, pod: str, direction: str) -> Iterator[Object]:
        for policy in self.policies:
            if selects(policy["podSelector"], self.pods[pod][0]):
                yield from policy.get(direction) or ()

    def numbers(self, pod: str, ports: list[Object]) -> set[int]:
        """The numbers that ports have on a pod, given by number or by name."""
        named = {
            port["name"]: port["containerPort"]
            for container in self.pods[pod][1]["containers"]
            for port in container.get("ports", ())
        }
        given = [port["port"] for port in ports]
        # A name that the pod has not opens nothing.
        return {named.get(port, 0) if isinstance(port, str) else port for port in given} - {0}

    def open_ports(self, source: str, destination: str) -> tuple[set[int], set[int]]:
        """The ports of one pod's that another of ours may connect to, by the caller's rules and by the called one's."""
        return (
            self._open(source, "egress", "to", destination, destination),
            self._open(destination, "ingress", "from", source, destination),
        )

    def _open(self, pod: str, direction: str, key: str, other: str, called: str) -> set[int]:
        return {
            number
            for rule in self.rules(pod, direction)
            if any(_is(peer, self.pods[other][0]) for peer in rule[key])
            for number in self.numbers(called, rule["ports"])
        }

    def outside(self, pod: str, direction: str) -> set[tuple[str, str | int]]:
        """Whom outside the namespace a pod may talk to, and on which port."""
        key = "to" if direction == "egress" else "from"
        return {
            (str(peer.get("ipBlock", peer.get("namespaceSelector"))), port["port"])
            for rule in self.rules(pod, direction)
            for peer in rule[key]
            if not _inside(peer)
            for port in rule["ports"]
        }


def _inside(peer: Object) -> bool:
    return "podSelector" in peer and "namespaceSelector" not in peer


def _is(peer: Object, labels: Labels) -> bool:
    return _inside(peer) and selects(peer["podSelector"], labels)


@pytest.fixture
def network(rendered: Rendered) -> Network:
    return Network(rendered)


def test_whoever_is_not_listed_is_denied_both_ways(rendered: Rendered) -> None:
    deny = rendered.one("NetworkPolicy", "default-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_calls_go_where_the_code_calls_and_nowhere_else(network: Network) -> None:
    for source in network.pods:
        for destination in network.pods:
            calls = source in PROCESSES and destination in called_by(source)
            wanted = (
                {settings_of(destination).model_fields["grpc_port"].default} if calls else set()
            )
            assert network.open_ports(source, destination) == (wanted, wanted), (
                source,
                destination,
            )


def test_only_who_stores_reaches_postgres_and_only_who_texts_the_internet(
    network: Network,
) -> None:
    for process in PROCESSES:
        settings, ports = settings_of(process), {p for _, p in network.outside(process, "egress")}
        stores, texts = issubclass(settings, ServiceSettings), issubclass(settings, SmsSettings)
        expected = {53, 4317, 6379} | ({5432} if stores else set()) | ({443} if texts else set())
        assert ports == expected, process
    for service in SERVICES:
        ports = {p for _, p in network.outside(f"{service}-migration", "egress")}
        assert ports == {53, 5432}


def test_from_outside_one_reaches_the_gateway_and_prometheus_the_metrics(
    network: Network,
) -> None:
    for pod, (labels, _) in network.pods.items():
        ports = {port for _, port in network.outside(pod, "ingress")}
        expected = {"metrics"} if labels[SERVER] == "server" else set()
        assert ports == expected | ({"calls"} if pod == "gateway" else set()), pod


def test_texts_leave_by_https_and_not_to_our_own_networks(rendered: Rendered) -> None:
    (rule,) = rendered.one("NetworkPolicy", "sms")["spec"]["egress"]
    (peer,) = rule["to"]
    assert {"10.0.0.0/8", "169.254.0.0/16"} <= set(peer["ipBlock"]["except"])
