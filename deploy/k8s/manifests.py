"""What kustomize can't write by itself.

`manifests.py rules`: components/monitoring/rules.yaml, the PrometheusRule with the rules of deploy/observability,
which are in Prometheus' own format. `make manifests` does it.
`manifests.py images OVERLAY REGISTRY gateway=sha256:… …`: the images of a release, by their digests. The release does
it.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
RULES = HERE.parent / "observability" / "prometheus" / "rules"
WRITTEN = HERE / "components" / "monitoring" / "rules.yaml"
HEAD = "# Made by `make manifests` from deploy/observability/prometheus/rules: edit those.\n"


def rules() -> str:
    """The PrometheusRule with every group of every file."""
    groups = [
        group
        for file in sorted(RULES.glob("*.yml"))
        for group in yaml.safe_load(file.read_text())["groups"]
    ]
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "propmubi"},
        "spec": {"groups": groups},
    }
    return f"{HEAD}{yaml.safe_dump(rule, sort_keys=False, allow_unicode=True, width=120)}"


def with_images(overlay: str, registry: str, digests: Mapping[str, str]) -> str:
    """The kustomization `overlay` with each of its images from `registry` by the digest in `digests`.

    Raises SystemExit when a digest is missing, is none, or is of no image in there.
    """
    given = dict(digests)

    def image(line: re.Match[str]) -> str:
        name = line["name"]
        digest = given.pop(name, "")
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise SystemExit(f"{name}: there is no digest of it: {digest or 'nothing'}")
        return f"  - {{name: propmubi/{name}, newName: {registry}/{name}, digest: {digest}}}"

    written = re.sub(r"(?m)^  - \{name: propmubi/(?P<name>[a-z]+), .*\}$", image, overlay)
    if given:
        raise SystemExit(f"{', '.join(given)}: the overlay has no such image")
    return written


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["rules"]:
            WRITTEN.write_text(rules())
        case ["images", overlay, registry, *pairs]:
            file = HERE / "overlays" / overlay / "kustomization.yaml"
            digests = dict(pair.split("=", 1) for pair in pairs)
            file.write_text(with_images(file.read_text(), registry, digests))
        case _:
            sys.exit(__doc__)
