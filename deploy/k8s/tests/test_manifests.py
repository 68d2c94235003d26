"""The rendered manifests: every reference leads somewhere, every process gets the settings it knows, and restarts harm
nobody.
"""

import importlib
import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from chassis.grpc_server import ALIVE
from chassis.settings import Settings, load
from deploy.k8s import manifests
from deploy.k8s.tests.conftest import K8S, Object, Render, Rendered, selects
from gateway.settings import GatewaySettings

SERVICES = ("auth", "agents", "crm", "projects")
PROCESSES = ("gateway", *SERVICES)
# The oldest Kubernetes that has all we use (preStop's sleep), and a late one.
VERSIONS = ("1.32", "1.36")
# Whose schemas are their operators'.
CUSTOM = {
    "Certificate",
    "Issuer",
    "HTTPRoute",
    "BackendTLSPolicy",
    "ExternalSecret",
    "ServiceMonitor",
    "PrometheusRule",
}
# What PostgreSQL is configured with; all pools together use 80 % of them at the most.
MAX_CONNECTIONS = {"staging": 150, "production": 400}
# Kinds and fields in which staging and production may differ.
MAY_DIFFER = {
    ("ConfigMap", "data"),
    ("HorizontalPodAutoscaler", "minReplicas"),
    ("HorizontalPodAutoscaler", "maxReplicas"),
    ("HTTPRoute", "hostnames"),
    ("NetworkPolicy", "cidr"),
    ("Deployment", "image"),
    ("Job", "image"),
}


def settings_of(process: str) -> type[Settings]:
    if process == "gateway":
        return GatewaySettings
    module = importlib.import_module(f"{process}_service.settings")
    found: type[Settings] = getattr(module, f"{process.capitalize()}Settings")
    return found


def container_of(rendered: Rendered, process: str) -> Object:
    (container,) = rendered.one("Deployment", process)["spec"]["template"]["spec"]["containers"]
    return dict(container)


def secret_keys(rendered: Rendered, name: str) -> set[str]:
    """The keys of the Secret that an ExternalSecret makes."""
    entries = rendered.one("ExternalSecret", name)["spec"]["data"]
    return {entry["secretKey"] for entry in entries}


def environment_of(rendered: Rendered, container: Object) -> tuple[dict[str, str], set[str]]:
    """What a container is told in clear, and the names of the secrets it is told."""
    told: dict[str, str] = {}
    secret: set[str] = set()
    for source in container.get("envFrom", ()):
        if "configMapRef" in source:
            told |= rendered.one("ConfigMap", source["configMapRef"]["name"])["data"]
        else:
            secret |= secret_keys(rendered, source["secretRef"]["name"])
    told |= {entry["name"]: entry["value"] for entry in container.get("env", ())}
    return told, secret


def test_each_object_is_valid_strictly(rendered: Rendered) -> None:
    for found in rendered.objects:
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(found, version, strict=True)
            except kubernetes_validate.SchemaNotFoundError:
                assert found["kind"] in CUSTOM, found["kind"]


def test_all_is_in_the_namespace_that_only_admits_restricted_pods(rendered: Rendered) -> None:
    (namespace,) = rendered.of("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    others = [found for found in rendered.objects if found["kind"] != "Namespace"]
    assert {found["metadata"]["namespace"] for found in others} == {namespace["metadata"]["name"]}


def test_pods_are_restricted_and_know_nothing_of_the_cluster(rendered: Rendered) -> None:
    for name, _, spec in rendered.pods():
        assert spec["automountServiceAccountToken"] is False, name
        # Or the Service `gateway` would set GATEWAY_PORT=tcp://…
        assert spec["enableServiceLinks"] is False, name
        assert spec["serviceAccountName"] in rendered.names("ServiceAccount")
        pod = spec["securityContext"]
        assert pod["runAsNonRoot"] is True
        assert pod["runAsUser"] == 10001
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["readOnlyRootFilesystem"] is True
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
            assert container["imagePullPolicy"] == "IfNotPresent"


def test_images_are_those_of_the_process_by_digest_once_released(rendered: Rendered) -> None:
    for name, labels, spec in rendered.pods():
        process = labels["app.kubernetes.io/name"]
        assert process in PROCESSES, name
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            repository, _, digest = container["image"].partition("@")
            tag = repository.partition(":")[2] if not digest else ""
            assert digest.startswith("sha256:") or tag == "unreleased"
            assert repository.removesuffix(f":{tag}").endswith(f"/{process}")


def test_selectors_select_the_servers_and_never_a_migration(rendered: Rendered) -> None:
    pods = list(rendered.pods())
    for process in PROCESSES:
        deployment = rendered.one("Deployment", process)["spec"]
        assert selects(deployment["selector"], deployment["template"]["metadata"]["labels"])
        for selector in (
            deployment["selector"],
            {"matchLabels": rendered.one("Service", process)["spec"]["selector"]},
            rendered.one("PodDisruptionBudget", process)["spec"]["selector"],
            *(
                spread["labelSelector"]
                for spread in deployment["template"]["spec"]["topologySpreadConstraints"]
            ),
        ):
            assert [name for name, labels, _ in pods if selects(selector, labels)] == [process]


def test_references_lead_somewhere(rendered: Rendered) -> None:
    secrets = rendered.names("ExternalSecret") | {
        found["spec"]["secretName"] for found in rendered.of("Certificate")
    }
    for _, _, spec in rendered.pods():
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            environment_of(rendered, container)  # Fails where a ConfigMap or Secret is missing.
            mounted = {mount["name"] for mount in container.get("volumeMounts", ())}
            assert mounted <= {volume["name"] for volume in spec.get("volumes", ())}
            assert not any("subPath" in mount for mount in container.get("volumeMounts", ()))
        for volume in spec.get("volumes", ()):
            if "secret" in volume:
                assert volume["secret"]["secretName"] in secrets
    issuers = rendered.names("Issuer")
    for certificate in rendered.of("Certificate"):
        assert certificate["spec"]["issuerRef"]["name"] in issuers
    (route,) = rendered.of("HTTPRoute")
    for rule in route["spec"]["rules"]:
        for backend in rule["backendRefs"]:
            ports = rendered.one("Service", backend["name"])["spec"]["ports"]
            assert backend["port"] in {port["port"] for port in ports}
    (policy,) = rendered.of("BackendTLSPolicy")
    certificate = rendered.one("Certificate", policy["spec"]["targetRefs"][0]["name"])["spec"]
    assert policy["spec"]["validation"]["hostname"] in certificate["dnsNames"]
    assert policy["spec"]["validation"]["caCertificateRefs"][0]["name"] == certificate["secretName"]
    (monitor,) = rendered.of("ServiceMonitor")
    watched = [
        found["metadata"]["name"]
        for found in rendered.of("Service")
        if selects(monitor["spec"]["selector"], found["metadata"]["labels"])
    ]
    assert sorted(watched) == sorted(PROCESSES)


@pytest.mark.parametrize("process", PROCESSES)
def test_ports_are_the_processs_own_and_probes_ask_there(rendered: Rendered, process: str) -> None:
    container, fields = container_of(rendered, process), settings_of(process).model_fields
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    calls = "gateway_port" if process == "gateway" else "grpc_port"
    assert ports["calls"] == fields[calls].default
    assert ports["metrics"] == fields["metrics_port"].default
    service = rendered.one("Service", process)["spec"]
    assert {port["targetPort"]: port["port"] for port in service["ports"]} == {
        "calls": ports["calls"],
        "metrics": ports["metrics"],
    }
    probes = [container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")]
    if process == "gateway":
        asked = [probe["httpGet"]["path"] for probe in probes]
        # A service that is away must not take all gateways off the market.
        assert asked == ["/healthz", "/healthz", "/readyz?peers=false"]
        assert {probe["httpGet"]["port"] for probe in probes} == {"calls"}
        return
    assert service["clusterIP"] == "None"
    told, _ = environment_of(rendered, container)
    assert [probe["grpc"].get("service", "") for probe in probes] == [ALIVE, ALIVE, ""]
    assert {probe["grpc"]["port"] for probe in probes} == {int(told["HEALTH_PORT"])}
    assert ports["health"] == int(told["HEALTH_PORT"])


def test_targets_are_the_headless_services_and_their_certificates(rendered: Rendered) -> None:
    told, _ = environment_of(rendered, container_of(rendered, "gateway"))
    for service in SERVICES:
        scheme, _, address = told[f"{service.upper()}_TARGET"].partition(":///")
        host, _, port = address.partition(":")
        assert scheme == "dns"
        assert int(port) in {p["port"] for p in rendered.one("Service", host)["spec"]["ports"]}
        assert host in rendered.one("Certificate", service)["spec"]["dnsNames"]


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_starts_on_what_it_is_told_and_knows_all_of_it(
    rendered: Rendered, process: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, secret = environment_of(rendered, container_of(rendered, process))
    known = {name.upper() for name in settings_of(process).model_fields}
    assert set(told) | secret <= known
    for name in known:
        monkeypatch.delenv(name, raising=False)
    # What the secret store holds, here made up.
    lists = {"SERVICE_SECRETS": f"crm={'s' * 32}", "ADMIN_PHONES": "+919999900001"}
    for name, value in (told | {name: lists.get(name, "s" * 32) for name in secret}).items():
        monkeypatch.setenv(name, value)
    settings = load(settings_of(process))
    assert settings.environment == rendered.overlay
    container = container_of(rendered, process)
    folder = next(m["mountPath"] for m in container["volumeMounts"] if m["name"] == "certificate")
    for file, name in {"tls.crt": "cert", "tls.key": "key", "ca.crt": "ca"}.items():
        assert told[f"TLS_{name.upper()}_FILE"] == f"{folder}/{file}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_schema_is_migrated_by_its_owner_before_new_replicas_start(
    rendered: Rendered, service: str
) -> None:
    job = rendered.one("Job", f"{service}-migration")["spec"]["template"]["spec"]
    (migration,) = job["containers"]
    assert migration["command"] == ["python", "-m", "chassis.migrate", "upgrade", service]
    assert environment_of(rendered, migration) == ({}, {"OWNER_DATABASE_URL"})
    spec = rendered.one("Deployment", service)["spec"]["template"]["spec"]
    (waits,) = spec["initContainers"]
    assert waits["command"] == ["python", "-m", "chassis.migrate", "wait", service]
    assert "DATABASE_URL" in environment_of(rendered, waits)[1]
    images = {migration["image"], waits["image"], container_of(rendered, service)["image"]}
    assert len(images) == 1, "the revisions that are waited for are those that are made"


@pytest.mark.parametrize("process", PROCESSES)
def test_a_rollout_and_a_drained_node_leave_replicas_that_serve(
    rendered: Rendered, process: str
) -> None:
    deployment = rendered.one("Deployment", process)["spec"]
    assert "replicas" not in deployment, "they are the autoscaler's"
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    scaling = rendered.one("HorizontalPodAutoscaler", process)["spec"]
    target = scaling["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", process)
    (metric,) = scaling["metrics"]
    assert metric["resource"]["target"] == {"type": "AverageValue", "averageValue": "650m"}
    budget = rendered.one("PodDisruptionBudget", process)["spec"]
    assert budget["maxUnavailable"] < scaling["minReplicas"] <= scaling["maxReplicas"]
    pod = deployment["template"]["spec"]
    waits = container_of(rendered, process)["lifecycle"]["preStop"]["sleep"]["seconds"]
    # The slower drain is a service's: 8 s for calls under way, then what it has open is closed.
    assert pod["terminationGracePeriodSeconds"] >= waits + 2 * 8
    assert waits > deployment["minReadySeconds"]


def test_all_pools_together_leave_connections_to_people(rendered: Rendered) -> None:
    connections = 0
    for service in SERVICES:
        told, _ = environment_of(rendered, container_of(rendered, service))
        most = rendered.one("HorizontalPodAutoscaler", service)["spec"]["maxReplicas"]
        connections += (most + 1) * int(told["DATABASE_POOL_SIZE"])
    assert connections <= 0.8 * MAX_CONNECTIONS[rendered.overlay]


def test_staging_and_production_differ_only_in_what_must_differ(render: Render) -> None:
    staging, production = (
        render({"resources": [f"overlays/{overlay}"]}) for overlay in ("staging", "production")
    )
    for here, there in zip(staging.objects, production.objects, strict=True):
        for field in differing(here, there):
            assert (here["kind"], field) in MAY_DIFFER, (here["kind"], field)


def differing(here: Any, there: Any, field: str = "") -> set[str]:
    """The names of the fields in which two objects differ; a ConfigMap's name tells its content, and so differs."""
    if isinstance(here, dict) and isinstance(there, dict) and field != "data":
        keys = {*here, *there} - {"configMapRef"}
        if here.get("kind") == "ConfigMap":
            keys = {"data"}
        return set().union(*(differing(here.get(key), there.get(key), key) for key in keys))
    if isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        pairs = zip(here, there, strict=True)
        return set().union(*(differing(a, b, field) for a, b in pairs))
    return set() if here == there else {field}


def test_prometheus_leaves_alone_what_waits_in_an_init_container(rendered: Rendered) -> None:
    (monitor,) = rendered.of("ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    (rule,) = endpoint["relabelings"]
    assert rule["sourceLabels"] == ["__meta_kubernetes_pod_phase"]
    assert rule["action"] == "drop"
    phases = ("Pending", "Running", "Unknown")
    assert [one for one in phases if re.fullmatch(rule["regex"], one)] == ["Pending"]


@pytest.mark.parametrize("process", ["gateway", "agents", "crm"])
def test_a_request_is_what_the_last_benchmark_says_its_load_costs(process: str) -> None:
    said = (K8S / "base" / process / "process.yaml").read_text()
    found = re.search(r"cpu: (\d+)m # (\d+) (pages|enquiries) a second$", said, re.MULTILINE)
    assert found is not None
    requested, load, what = int(found[1]) / 1000, int(found[2]), found[3]
    needed = load * cost({"pages": "GET list of 20", "enquiries": "POST enquiry"}[what], process)
    assert 0.6 * requested <= needed <= requested, f"{needed:.3f} cores"


def cost(route: str, process: str) -> float:
    """Seconds of a core that a request takes from a process, by docs/benchmarks.md."""
    table = (K8S.parents[1] / "docs/benchmarks.md").read_text().partition("by process:")[2]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in table.splitlines()
        if line.startswith("|")
    ]
    (row,) = [row for row in rows if row[:2] == [route, "platform"]]
    return int(row[rows[0].index(process)].replace(",", "")) / 1e6


def test_the_rules_are_those_of_observability() -> None:
    assert manifests.WRITTEN.read_text() == manifests.rules(), "run `make manifests`"


def test_a_release_writes_its_digests_into_an_overlay(render: Render) -> None:
    digests = {process: f"sha256:{number:064x}" for number, process in enumerate(PROCESSES)}
    overlay = (K8S / "overlays" / "production" / "kustomization.yaml").read_text()
    once = manifests.with_images(overlay, "old.example.in/propmubi", digests)
    written = manifests.with_images(once, "registry.example.in/propmubi", digests)
    rendered = render(yaml.safe_load(written) | {"resources": ["base"], "components": []})
    for _, labels, spec in rendered.pods():
        process = labels["app.kubernetes.io/name"]
        image = f"registry.example.in/propmubi/{process}@{digests[process]}"
        containers = (*spec.get("initContainers", ()), *spec["containers"])
        assert {container["image"] for container in containers} == {image}
    for wrong in ({}, digests | {"crm": "latest"}, digests | {"web": digests["crm"]}):
        with pytest.raises(SystemExit):
            manifests.with_images(overlay, "registry.example.in/propmubi", wrong)
