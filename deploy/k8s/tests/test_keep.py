"""What runs is kept on main, wherever main is by then: told to a repository of the test's own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.k8s.tests.conftest import K8S
from deploy.k8s.tests.test_manifests import PROCESSES

FILE = "deploy/k8s/overlays/staging/kustomization.yaml"
DIGESTS = [f"{process}=sha256:{number:064x}" for number, process in enumerate(PROCESSES)]
PUSHED_MEANWHILE = """#!/bin/sh
[ -e "$0.done" ] && exit
touch "$0.done" && git -C {other} commit --quiet --allow-empty --message "Somebody was faster" && git -C {other} push --quiet
"""


def git(folder: Path, *arguments: str) -> str:
    told = subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return told.stdout.strip()


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of a tag of which main has changed the overlay since; `other` is somebody else's, of main."""
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "release")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "release@example.in")
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "origin")
    git(tmp_path, "clone", "--quiet", "origin", "other")
    other = tmp_path / "other"
    git(other, "checkout", "--quiet", "-B", "main")
    for file in (FILE, "deploy/k8s/manifests.py", "deploy/k8s/keep"):
        (other / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(K8S.parents[1] / file, other / file)
    git(other, "add", "--all")
    git(other, "commit", "--quiet", "--message", "What is released")
    git(other, "tag", "v1")
    text = (other / FILE).read_text()
    (other / FILE).write_text(text.replace("TRACE_SAMPLE_RATIO=1", "TRACE_SAMPLE_RATIO=0.5"))
    git(other, "commit", "--quiet", "--all", "--message", "Main goes on")
    git(other, "push", "--quiet", "--set-upstream", "origin", "main", "v1")
    git(tmp_path, "clone", "--quiet", "--branch", "v1", "origin", "release")
    return tmp_path / "release"


def keep(release: Path) -> subprocess.CompletedProcess[str]:
    # As the deployment leaves it: with the digests in the tag's own overlay.
    (release / FILE).write_text((release / FILE).read_text() + "# written for this deployment\n")
    return subprocess.run(
        ["deploy/k8s/keep", "staging", "v1", "registry.example.in/propmubi", *DIGESTS],
        cwd=release,
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )


def subjects(release: Path) -> list[str]:
    return git(release.parent / "origin", "log", "--format=%s", "main").splitlines()


def test_main_goes_on_with_the_digests_and_keeps_its_own_changes(release: Path) -> None:
    assert keep(release).returncode == 0
    assert subjects(release)[0] == "v1 runs in staging"
    kept = git(release.parent / "origin", "show", f"main:{FILE}")
    assert DIGESTS[0].partition("=")[2] in kept
    assert "TRACE_SAMPLE_RATIO=0.5" in kept
    assert "# written for this deployment" not in kept


def test_run_again_it_has_nothing_to_say(release: Path) -> None:
    for _ in range(2):
        assert keep(release).returncode == 0
    assert subjects(release).count("v1 runs in staging") == 1


def test_a_push_that_comes_between_is_taken_along(release: Path) -> None:
    hook = release / ".git" / "hooks" / "pre-push"
    hook.write_text(PUSHED_MEANWHILE.format(other=release.parent / "other"))
    hook.chmod(0o755)
    assert keep(release).returncode == 0
    assert subjects(release)[:2] == ["v1 runs in staging", "Somebody was faster"]


def test_what_can_never_be_pushed_ends_it(release: Path) -> None:
    hook = release.parent / "origin" / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    kept = keep(release)
    assert kept.returncode == 1
    assert "five times" in kept.stderr
