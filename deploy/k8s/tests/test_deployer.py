"""Whoever deploys may apply all that an overlay holds, wait for it, and nothing else."""

from typing import Any

import kubernetes_validate
import yaml

from deploy.k8s.tests.conftest import K8S, Rendered
from deploy.k8s.tests.test_manifests import VERSIONS

OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all((K8S / "deployer.yaml").read_text()))
APPLY = {"get", "create", "patch"}
WAIT = {"list", "watch"}
# Ingresses are in the component for clusters without the Gateway API.
OTHERWISE = {("networking.k8s.io", "ingresses")}


def granted(kind: str) -> dict[tuple[str, str], set[str]]:
    """The verbs of a role by group and resource; of a rule's groups each has some of its resources."""
    (role,) = [found for found in OBJECTS if found["kind"] == kind]
    return {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def plural(kind: str) -> str:
    name = kind.lower()
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"


def test_the_objects_are_valid_strictly() -> None:
    for found in OBJECTS:
        for version in VERSIONS:
            kubernetes_validate.validate(found, version, strict=True)


def test_the_deployer_may_apply_what_is_rendered_and_nothing_else(rendered: Rendered) -> None:
    needed = {
        (found["apiVersion"].rpartition("/")[0], plural(found["kind"]))
        for found in rendered.objects
        if found["kind"] != "Namespace"
    }
    may = granted("Role")
    assert needed <= may.keys()
    assert {resource for _, resource in may} == {name for _, name in needed | OTHERWISE}
    for key in needed:
        waits = WAIT if key[1] in {"deployments", "jobs"} else set()
        assert may[key] == APPLY | waits | ({"delete"} if key[1] == "jobs" else set())


def test_the_namespace_is_changed_but_neither_made_nor_removed() -> None:
    assert granted("ClusterRole") == {("", "namespaces"): {"get", "patch"}}
    (role,) = [found for found in OBJECTS if found["kind"] == "ClusterRole"]
    assert role["rules"][0]["resourceNames"] == ["propmubi"]
