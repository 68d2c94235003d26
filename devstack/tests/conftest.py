"""A folder that PostgreSQL's account can enter, also when the tests run as root."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.postgres import hand_over


@pytest.fixture
def postgres_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="propmubi-test-", dir="/var/tmp"))
    hand_over(folder)
    yield folder / "postgres"
    shutil.rmtree(folder)
