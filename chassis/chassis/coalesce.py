"""Work of one kind that is asked for at the same time, done in one go: a call (AIP-231 `BatchGet…`), a transaction.

Either costs the same whatever it carries. While few are under way the next goes at once, so that nobody waits for
company; what comes meanwhile goes together as soon as one of them is back. Only for what does not depend on who asks.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

import grpc
import structlog
from opentelemetry.trace import get_current_span

from chassis.context import Call, background_call, current_call, enter
from chassis.errors import DeadlineExceeded, Unavailable
from chassis.grpc_client import RESERVE_SECONDS
from chassis.status import from_rpc_error

K = TypeVar("K")
V = TypeVar("V")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Waiter(Generic[K, V]):
    key: K
    call: Call
    context: Context
    answer: asyncio.Future[V | None]
    # Whether it goes by itself, because a batch that it was in has failed.
    alone: bool = False


class Coalescer(Generic[K, V]):
    """Gathers keys for `fetch`, which gives what it found of at most `most` of them within `seconds`.

    No more than `in_flight` batches are under way at once.
    """

    def __init__(
        self,
        name: str,
        fetch: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]],
        *,
        seconds: float,
        most: int = 64,
        in_flight: int = 2,
    ) -> None:
        self._name = name
        self._fetch = fetch
        self._seconds = seconds
        self._most = most
        self._in_flight = in_flight
        self._waiting: deque[_Waiter[K, V]] = deque()
        self._under_way: set[asyncio.Task[Any]] = set()

    async def get(self, key: K) -> V | None:
        """What `fetch` finds for `key`, None when nothing; raises what it raises.

        Raises TimeoutError when `seconds`, or what is left of the current call's time, are over.
        """
        if get_current_span().is_recording():
            # A sampled trace leads to the peer's own part in it, and so takes a call of its own.
            return (await self._fetch([key])).get(key)
        if len(self._under_way) < self._in_flight:
            return await self._get_now(key)
        call = current_call()
        answer: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiter(key, call, copy_context(), answer))
        left = max(0.0, call.remaining() - RESERVE_SECONDS)
        # Who gives up or is cancelled takes his own answer away and nobody else's.
        async with asyncio.timeout(min(self._seconds, left)):
            return await answer

    async def _get_now(self, key: K) -> V | None:
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        try:
            return (await self._fetch([key])).get(key)
        finally:
            self._back(task)

    def _back(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        while self._waiting and len(self._under_way) < self._in_flight:
            if batch := self._next_batch():
                # Who is alone keeps his correlation id and deadline; several have none in common.
                context = batch[0].context if len(batch) == 1 else Context()
                asking = asyncio.create_task(self._ask(batch), context=context)
                asking.add_done_callback(partial(self._hand_out, batch))
                self._under_way.add(asking)

    def _next_batch(self) -> list[_Waiter[K, V]]:
        batch: list[_Waiter[K, V]] = []
        keys: set[K] = set()
        while self._waiting and len(keys) < self._most:
            if batch and (batch[0].alone or self._waiting[0].alone):
                break
            waiter = self._waiting.popleft()
            if not waiter.answer.done():
                batch.append(waiter)
                keys.add(waiter.key)
        return batch

    async def _ask(self, batch: list[_Waiter[K, V]]) -> Mapping[K, V]:
        if len(batch) > 1:
            enter(background_call(self._name, seconds=self._seconds))
            together = [waiter.call.correlation_id for waiter in batch]
            log.info("calls went together", what=self._name, correlation_ids=together)
        return await self._fetch(list(dict.fromkeys(waiter.key for waiter in batch)))

    def _hand_out(self, batch: list[_Waiter[K, V]], asked: asyncio.Task[Mapping[K, V]]) -> None:
        if len(batch) > 1 and not asked.cancelled() and _is_of_one(asked.exception()):
            log.warning("calls that went together go singly", what=self._name, calls=len(batch))
            self._waiting.extendleft(replace(waiter, alone=True) for waiter in reversed(batch))
            self._back(asked)
            return
        for waiter in batch:
            if waiter.answer.done():
                continue
            if asked.cancelled():
                waiter.answer.cancel()
            elif (error := asked.exception()) is not None:
                waiter.answer.set_exception(error)
            else:
                waiter.answer.set_result(asked.result().get(waiter.key))
        self._back(asked)


def _is_of_one(error: BaseException | None) -> bool:
    """Whether one of those who went together may have caused it, so that the others would succeed alone: it is not that
    the peer is away or too slow.
    """
    if isinstance(error, grpc.aio.AioRpcError):
        error = from_rpc_error(error) or error
    return error is not None and not isinstance(error, Unavailable | DeadlineExceeded)
