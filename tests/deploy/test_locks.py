"""Lock files say what is installed, never from where: that is for whoever installs."""

from pathlib import Path

import pytest

from devstack.supervisor import ROOT

LOCKS = [
    *ROOT.glob("requirements*.lock"),
    *ROOT.glob("deploy/*/package-lock.json"),
    *ROOT.glob("tests/*/*/package-lock.json"),
]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
def test_a_lock_file_carries_no_address(lock: Path) -> None:
    assert [line for line in lock.read_text().splitlines() if "://" in line] == []
