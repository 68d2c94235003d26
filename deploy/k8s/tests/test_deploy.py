"""The order of a deployment, told to a kubectl that only notes what it is asked."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.k8s.tests.conftest import K8S

Deploy = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def deploy(tmp_path: Path) -> Deploy:
    """Runs `deploy` with a kubectl that answers `active` for running migrations, and fails at `fails`."""

    def run(*, active: str = "", fails: str = "nothing") -> tuple[int, list[str]]:
        kubectl, asked = tmp_path / "kubectl", tmp_path / "asked"
        kubectl.write_text(
            f'#!/bin/sh\necho "$1" >> {asked}\n[ "$1" = get ] && echo "{active}"\n[ "$1" != {fails} ]\n'
        )
        kubectl.chmod(0o755)
        environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
        ended = subprocess.run(
            [K8S / "deploy", "staging"], env=environment, check=False, capture_output=True
        )
        return ended.returncode, asked.read_text().split()

    return run


def test_migrations_of_the_last_release_make_room_and_the_rollout_is_waited_for(
    deploy: Deploy,
) -> None:
    assert deploy() == (0, ["get", "delete", "apply", "wait", "rollout"])


def test_a_migration_that_runs_is_not_disturbed(deploy: Deploy) -> None:
    code, asked = deploy(active="1")
    assert (code, asked) == (1, ["get"])


@pytest.mark.parametrize("fails", ["get", "delete", "apply", "wait", "rollout"])
def test_what_fails_ends_it_there(deploy: Deploy, fails: str) -> None:
    code, asked = deploy(fails=fails)
    assert code != 0
    assert asked[-1] == fails
