"""Writes components/monitoring/rules.yaml, the PrometheusRule with the rules of deploy/observability: kustomize can't make
one from Prometheus' own files. `make manifests` does; `--check` sees whether it is up to date.
"""

import sys
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
RULES = HERE.parent / "observability" / "prometheus" / "rules"
WRITTEN = HERE / "components" / "monitoring" / "rules.yaml"
HEAD = "# Made by `make manifests` from deploy/observability/prometheus/rules: edit those.\n"


def rendered() -> str:
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


if __name__ == "__main__":
    if "--check" not in sys.argv:
        WRITTEN.write_text(rendered())
    elif WRITTEN.read_text() != rendered():
        sys.exit("The rules of deploy/observability have changed: run `make manifests`.")
