"""What is looked for in what others publish, and when: before a change, each week, and before a release."""

from typing import Any

import yaml

from devstack.supervisor import ROOT

FOLDER = ROOT / ".github" / "workflows"
# YAML 1.1 reads the key `on` as true.
ON: Any = True


def workflow(name: str) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load((FOLDER / f"{name}.yml").read_text())
    return found


def test_dependencies_are_audited_with_each_change_each_week_and_before_a_release() -> None:
    audit = workflow("dependencies")
    assert {"pull_request", "schedule", "workflow_call"} <= audit[ON].keys()
    assert "pip-audit" in str(audit["jobs"])
    assert "requirements.lock" in str(audit["jobs"])
    assert weekly(audit)
    release = workflow("release")["jobs"]
    assert release["dependencies"]["uses"] == "./.github/workflows/dependencies.yml"
    assert "dependencies" in release["staging"]["needs"]


def test_images_are_scanned_with_each_change_each_week_and_before_a_release() -> None:
    images = workflow("images")
    assert {"pull_request", "push", "schedule"} <= images[ON].keys()
    assert weekly(images)
    for job in (images["jobs"]["images"], workflow("release")["jobs"]["image"]):
        scans = [step["with"] for step in job["steps"] if "trivy-action" in step.get("uses", "")]
        assert any(scan.get("exit-code") == "1" for scan in scans)


def weekly(one: dict[Any, Any]) -> bool:
    """Whether it runs by itself on one day of each week."""
    [when] = one[ON]["schedule"]
    minute, hour, *days, weekday = str(when["cron"]).split()
    return days == ["*", "*"] and all(part.isdigit() for part in (minute, hour, weekday))
