"""The town that each worker's tests share, on the worker's own platform."""

from collections.abc import Iterator

import pytest

from devstack.testing_platform import RunningPlatform
from devstack.testing_town import Town, founded


@pytest.fixture(scope="session")
def settled(platform: RunningPlatform) -> Iterator[Town]:
    with founded(platform) as town:
        yield town


@pytest.fixture
def town(settled: Town) -> Town:
    settled.wake()
    return settled
