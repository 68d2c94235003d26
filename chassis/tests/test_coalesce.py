"""Reads at the same time go together, and nobody pays for it: not who is alone, not whose neighbour leaves or fails."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

import grpc
import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from structlog.testing import capture_logs

from chassis import coalesce
from chassis.coalesce import Coalescer
from chassis.context import background_call, current_call, enter
from chassis.errors import DeadlineExceeded, Unavailable

GONE = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())


class Directory:
    """Knows the square of every number but those below 0; answers when it may."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.callers: list[str] = []
        self.open = asyncio.Event()
        self.fault: Exception | None = None
        self.poison: int | None = None

    async def batch_get(self, numbers: Sequence[int]) -> Mapping[int, int]:
        self.asked.append(list(numbers))
        self.callers.append(current_call().correlation_id)
        await self.open.wait()
        if self.fault is not None:
            raise self.fault
        if self.poison in numbers:
            raise ValueError(self.poison)
        return {number: number**2 for number in numbers if number >= 0}


@pytest.fixture
def directory() -> Directory:
    return Directory()


def coalescer(directory: Directory, seconds: float = 5.0, most: int = 64) -> Coalescer[int, int]:
    return Coalescer("squares", directory.batch_get, seconds=seconds, most=most)


async def asking(
    squares: Coalescer[int, int], *numbers: int, seconds: float = 30.0
) -> list[asyncio.Task[int | None]]:
    """A caller for each number, all of whom have asked and wait."""

    async def caller(number: int) -> int | None:
        enter(background_call("test", seconds=seconds, correlation_id=f"caller {number}"))
        return await squares.get(number)

    tasks = [asyncio.create_task(caller(number)) for number in numbers]
    await asyncio.sleep(0)
    return tasks


async def test_who_is_alone_asks_at_once_for_himself(directory: Directory) -> None:
    directory.open.set()
    squares = coalescer(directory)
    for number in (1, 2, 3, -1):
        [task] = await asking(squares, number)
        assert await task == (number**2 if number >= 0 else None)
    assert directory.asked == [[1], [2], [3], [-1]]
    assert directory.callers == ["caller 1", "caller 2", "caller 3", "caller -1"]


async def test_fifty_at_once_take_few_calls(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A logger that was used keeps where it wrote to.
    monkeypatch.setattr(coalesce, "log", structlog.get_logger())
    with capture_logs() as logged:
        tasks = await asking(coalescer(directory), *range(50))
        assert directory.asked == [[0], [1]]
        directory.open.set()
        assert await asyncio.gather(*tasks) == [number**2 for number in range(50)]
    assert directory.asked == [[0], [1], [*range(2, 50)]]
    # Nobody's correlation id stands for those of all, and one line leads from each to the call that was made for it.
    assert not directory.callers[2].startswith("caller")
    together = [f"caller {number}" for number in range(2, 50)]
    assert [(line["log_level"], line["event"], line["correlation_ids"]) for line in logged] == [
        ("info", "calls went together", together)
    ]


async def test_no_call_asks_for_more_than_most(directory: Directory) -> None:
    tasks = await asking(coalescer(directory, most=4), *range(12))
    directory.open.set()
    assert await asyncio.gather(*tasks) == [number**2 for number in range(12)]
    assert directory.asked == [[0], [1], [2, 3, 4, 5], [6, 7, 8, 9], [10, 11]]


async def test_who_wait_for_the_same_share_it(directory: Directory) -> None:
    tasks = await asking(coalescer(directory, most=2), 1, 2, 3, 3, 4, 3)
    directory.open.set()
    assert await asyncio.gather(*tasks) == [1, 4, 9, 9, 16, 9]
    assert directory.asked[:3] == [[1], [2], [3, 4]]


async def test_who_waited_alone_asks_for_himself(directory: Directory) -> None:
    tasks = await asking(coalescer(directory), 1, 2, 3)
    directory.open.set()
    assert await asyncio.gather(*tasks) == [1, 4, 9]
    assert directory.callers[2] == "caller 3"


async def test_who_leaves_takes_nothing_away_from_the_others(directory: Directory) -> None:
    first, second, left, stayed, same = await asking(coalescer(directory), 1, 2, 3, 4, 4)
    for task in (first, left, same):
        task.cancel()
    await asyncio.wait([first, left, same])
    directory.open.set()
    assert (await second, await stayed) == (4, 16)
    # The first one's place was taken at once, and nobody asked for what nobody waits for.
    assert directory.asked == [[1], [2], [4]]


async def test_who_leaves_a_batch_under_way(directory: Directory) -> None:
    tasks = await asking(coalescer(directory), 1, 2, 3, 4)
    first, _, left, stayed = tasks
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    await asyncio.sleep(0)
    assert directory.asked[2] == [3, 4]
    left.cancel()
    with suppress(asyncio.CancelledError):
        await left
    directory.open.set()
    assert await stayed == 16


@pytest.mark.parametrize("fault", [Unavailable("gone"), DeadlineExceeded("slow"), GONE])
async def test_a_peer_that_is_away_is_not_asked_again_for_each(
    directory: Directory, fault: Exception
) -> None:
    squares = coalescer(directory)
    tasks = await asking(squares, *range(5))
    directory.fault = fault
    directory.open.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [fault] * 5
    assert directory.asked == [[0], [1], [2, 3, 4]]
    directory.fault = None
    [task] = await asking(squares, 7)
    assert await task == 49


async def test_what_can_not_be_answered_fails_nobody_but_who_asked_for_it(
    directory: Directory,
) -> None:
    directory.poison = 3
    tasks = await asking(coalescer(directory), *range(6))
    directory.open.set()
    with pytest.raises(ValueError, match="3"):
        await tasks.pop(3)
    assert await asyncio.gather(*tasks) == [0, 1, 4, 16, 25]
    assert directory.asked == [[0], [1], [2, 3, 4, 5], [2], [3], [4], [5]]
    assert directory.callers[3:] == [f"caller {number}" for number in range(2, 6)]


async def test_each_waits_as_long_as_he_may(directory: Directory) -> None:
    squares = coalescer(directory, seconds=0.2)
    under_way = await asking(squares, 1, 2)
    [hurried] = await asking(squares, 3, seconds=0.05)
    [patient] = await asking(squares, 4)
    with pytest.raises(TimeoutError):
        await hurried
    assert not patient.done()
    with pytest.raises(TimeoutError):
        await patient
    directory.open.set()
    assert await asyncio.gather(*under_way) == [1, 4]


async def test_a_sampled_trace_takes_a_call_of_its_own(directory: Directory) -> None:
    squares = coalescer(directory)
    others = await asking(squares, 1, 2, 3, 4)
    with TracerProvider().get_tracer("test").start_as_current_span("sampled"):
        [traced] = await asking(squares, 5)
    assert directory.asked == [[1], [2], [5]]
    directory.open.set()
    assert await traced == 25
    assert await asyncio.gather(*others) == [1, 4, 9, 16]
