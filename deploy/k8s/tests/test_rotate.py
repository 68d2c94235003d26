"""New secrets reach the pods before these are replaced, told to a kubectl that only notes what it is asked."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.k8s.tests.conftest import K8S

# Says that a secret is as fresh as the last time it was asked to be, but for one that never is.
KUBECTL = """#!/bin/sh
shift 2
case "$1 $2" in
  "get externalsecret") cat "{folder}/$3" 2>/dev/null || echo never; exit ;;
  "annotate externalsecret") [ "$3" = {stuck} ] || echo "$5" > "{folder}/$3" ;;
esac
echo "$1 $2 $3 $4" >> "{folder}/asked"
"""
Rotate = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def rotate(tmp_path: Path) -> Rotate:
    def run(*processes: str, stuck: str = "nobody") -> tuple[int, list[str], str]:
        kubectl, asked = tmp_path / "kubectl", tmp_path / "asked"
        kubectl.write_text(KUBECTL.format(folder=tmp_path, stuck=stuck))
        kubectl.chmod(0o755)
        asked.touch()
        ended = subprocess.run(
            [K8S / "rotate", *processes],
            env={
                "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
                "LOOK_AGAIN_SECONDS": "0",
            },
            check=False,
            capture_output=True,
            text=True,
        )
        return ended.returncode, asked.read_text().splitlines(), ended.stderr

    return run


def test_one_after_the_other_is_synced_and_then_rolled_out(rotate: Rotate) -> None:
    code, asked, _ = rotate("auth", "crm")
    assert code == 0
    assert asked == [
        *("annotate externalsecret auth --overwrite", "rollout restart deployment auth"),
        "rollout status deployment auth",
        *("annotate externalsecret crm --overwrite", "rollout restart deployment crm"),
        "rollout status deployment crm",
    ]


def test_a_secret_that_is_not_synced_restarts_nobody(rotate: Rotate) -> None:
    code, asked, said = rotate("auth", "crm", stuck="auth")
    assert code == 1
    assert asked == ["annotate externalsecret auth --overwrite"]
    assert "describe externalsecret auth" in said


def test_somebody_must_be_named(rotate: Rotate) -> None:
    assert rotate()[:2] == (2, [])
