"""What kustomize makes of the overlays, as objects."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

K8S = Path(__file__).resolve().parents[1]
OVERLAYS = ("staging", "production")
OLDEST_MINOR = 21  # From here on kubectl carries kustomize 4.

Object = dict[str, Any]
Labels = Mapping[str, str]


@dataclass(frozen=True)
class Rendered:
    """The objects of an overlay."""

    overlay: str
    objects: list[Object]

    def of(self, *kinds: str) -> list[Object]:
        return [found for found in self.objects if found["kind"] in kinds]

    def one(self, kind: str, name: str) -> Object:
        (found,) = [found for found in self.of(kind) if found["metadata"]["name"] == name]
        return found

    def names(self, kind: str) -> set[str]:
        return {found["metadata"]["name"] for found in self.of(kind)}

    def pods(self) -> Iterator[tuple[str, Labels, Object]]:
        """The name, the labels and the pod's spec of everything that makes pods."""
        for found in self.of("Deployment", "Job"):
            template = found["spec"]["template"]
            yield found["metadata"]["name"], template["metadata"]["labels"], template["spec"]


def kustomize(folder: Path) -> list[Object]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.fail(f"The manifests are rendered by kubectl 1.{OLDEST_MINOR} or newer: install it.")
    told = subprocess.run(
        [kubectl, "version", "--client", "-o", "json"], check=True, capture_output=True
    )
    client = json.loads(told.stdout)["clientVersion"]
    if int(client["minor"].rstrip("+")) < OLDEST_MINOR:
        pytest.fail(f"kubectl {client['gitVersion']} is too old: 1.{OLDEST_MINOR} is needed.")
    made = subprocess.run(
        [kubectl, "kustomize", folder], check=False, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    return [found for found in yaml.safe_load_all(made.stdout) if found]


@pytest.fixture(scope="session", params=OVERLAYS)
def rendered(request: pytest.FixtureRequest) -> Rendered:
    return Rendered(request.param, kustomize(K8S / "overlays" / request.param))


Render = Callable[[Object], Rendered]


@pytest.fixture
def render(tmp_path: Path) -> Render:
    """Renders a kustomization of the test's own, whose paths are relative to deploy/k8s."""

    def build(kustomization: Object) -> Rendered:
        home = os.path.relpath(K8S, tmp_path)
        for key in ("resources", "components"):
            kustomization[key] = [f"{home}/{path}" for path in kustomization.get(key, ())]
        (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return Rendered("own", kustomize(tmp_path))

    return build


def selects(selector: Object, labels: Labels) -> bool:
    """Whether a Kubernetes label selector selects what carries `labels`."""
    wanted = selector.get("matchLabels", {}).items()
    return all(labels.get(key) == value for key, value in wanted) and all(
        _holds(rule, labels) for rule in selector.get("matchExpressions", ())
    )


def _holds(rule: Object, labels: Labels) -> bool:
    assert rule["operator"] == "In", "teach this test more operators"
    return labels.get(rule["key"]) in rule["values"]
