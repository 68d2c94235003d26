"""The load generator, a process of its own: `python -m bench.load HOMES` reads one script a line and writes its result.

Closed loop: each connection has one request under way, and sends the next when the answer has been read and judged.
With a rate, open loop: requests are due at that rate, whatever became of those before, and their time counts from when
they were due.
"""

import asyncio
import sys
import time
from collections import deque
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import httptools
import orjson
import uvloop

from bench.scenarios import Home, Request, Script, requests

# The gateway answers everything by then.
GRACE_SECONDS = 30.0
SHOWN_FAULTS = 3


class Run:
    """One measurement: what all its connections share."""

    def __init__(self, script: Script, stream: Iterator[Request]) -> None:
        self.stream = stream
        self.started = time.perf_counter()
        self.deadline = self.started + script.seconds
        self.latencies: list[float] = []
        self.faults: list[str] = []
        self.wrong = 0

    def free(self, connection: "Connection") -> None:
        """`connection` has nothing under way."""
        now = time.perf_counter()
        if now < self.deadline:
            connection.send(next(self.stream), now)
        else:
            connection.end()

    async def pace(self) -> None:
        """Have requests sent that no connection sends by itself."""

    def judge(self, request: Request, status: int, body: bytes, seconds: float) -> None:
        self.latencies.append(seconds)
        try:
            right = request.accepts(status, orjson.loads(body))
        except (ValueError, KeyError, TypeError):
            right = False
        if not right:
            self.fault(f"{status} {body[:300]!r} to {request.payload.splitlines()[0]!r}")

    def fault(self, what: str) -> None:
        self.wrong += 1
        if len(self.faults) < SHOWN_FAULTS:
            self.faults.append(what)


class PacedRun(Run):
    """One measurement in an open loop."""

    def __init__(self, script: Script, stream: Iterator[Request], rate: float) -> None:
        super().__init__(script, stream)
        self._rate = rate
        self._idle: list[Connection] = []
        self._waiting: deque[tuple[Request, float]] = deque()
        self._over = False

    def free(self, connection: "Connection") -> None:
        if self._waiting:
            connection.send(*self._waiting.popleft())
        elif self._over:
            connection.end()
        else:
            self._idle.append(connection)

    async def pace(self) -> None:
        for number in count():
            due = self.started + number / self._rate
            if due >= self.deadline:
                break
            await asyncio.sleep(due - time.perf_counter())
            self._waiting.append((next(self.stream), due))
            if self._idle:
                self.free(self._idle.pop())
        self._over = True
        for connection in self._idle:
            connection.end()


class Connection(asyncio.Protocol):
    """One keep-alive connection, with the callbacks that httptools wants."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._request: Request | None = None
        self._sent = 0.0
        self._body: list[bytes] = []
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.Transport = transport
        self._run.free(self)

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.ended.done():
            self._run.fault("The connection was closed.")
            self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, part: bytes) -> None:
        self._body.append(part)

    def on_message_complete(self) -> None:
        assert self._request is not None
        seconds = time.perf_counter() - self._sent
        self._run.judge(
            self._request, self._parser.get_status_code(), b"".join(self._body), seconds
        )
        self._run.free(self)

    def send(self, request: Request, since: float) -> None:
        """Ask `request`, whose time counts `since` then."""
        self._request = request
        self._body.clear()
        self._parser = httptools.HttpResponseParser(self)
        self._sent = since
        self._transport.write(request.payload)

    def end(self) -> None:
        self.ended.set_result(None)
        self._transport.close()


async def measure(script: Script, homes: list[Home]) -> dict[str, Any]:
    stream = requests(script, homes)
    run = PacedRun(script, stream, script.rate) if script.rate else Run(script, stream)
    started = time.perf_counter()
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(lambda: Connection(run), "127.0.0.1", script.port))[1]
        for _ in range(script.connections)
    ]
    async with asyncio.timeout(script.seconds + GRACE_SECONDS):
        await asyncio.gather(run.pace(), *(connection.ended for connection in connections))
    seconds = time.perf_counter() - started
    run.latencies.sort()
    return {
        "requests": len(run.latencies),
        "seconds": seconds,
        "p50": percentile(run.latencies, 0.50),
        "p99": percentile(run.latencies, 0.99),
        "wrong": run.wrong,
        "faults": run.faults,
    }


def percentile(ascending: list[float], share: float) -> float:
    return next(islice(ascending, int(len(ascending) * share), None), 0.0)


def main(homes_file: Path) -> None:
    homes = [Home(**home) for home in orjson.loads(homes_file.read_bytes())]
    for line in sys.stdin.buffer:
        script = Script(**orjson.loads(line))
        sys.stdout.buffer.write(orjson.dumps(uvloop.run(measure(script, homes))) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
