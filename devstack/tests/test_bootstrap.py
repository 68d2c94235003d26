"""What runs before anything is installed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from devstack import process

BOOTSTRAP = Path(process.__file__).parents[1] / "bootstrap.py"
# This Python, which says that it is an old one and lacks what is imported after the version check.
OLD = """
import runpy, sys
sys.version_info = (3, {minor}, 0)
sys.modules["fcntl"] = None
runpy.run_path({bootstrap!r}, run_name="__main__")
"""


@pytest.mark.parametrize("minor", [4, 10])
def test_an_old_python_gets_one_clear_line(minor: int) -> None:
    program = OLD.format(minor=minor, bootstrap=str(BOOTSTRAP))
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"PropMubi needs Python 3.11 or newer, but {sys.executable} is 3.{minor};"
        " name another one with: make PYTHON=/path/to/python3\n"
    )


def test_an_old_python_can_read_the_file_as_far_as_it_gets() -> None:
    """A SyntaxError anywhere in it would come before that line."""
    ast.parse(BOOTSTRAP.read_text(), feature_version=(3, 4))
