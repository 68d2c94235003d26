"""The load generator, a process of its own: `python -m bench.load HOMES` reads one script a line and writes its result.

Closed loop: each connection has one request under way, and sends the next when the answer has been read and judged.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import httptools
import orjson
import uvloop

from bench.scenarios import Home, Request, Script, requests

GRACE_SECONDS = 10.0
SHOWN_FAULTS = 3


class Run:
    """One measurement: what all its connections share."""

    def __init__(self, script: Script, stream: Iterator[Request]) -> None:
        self.stream = stream
        self.deadline = time.perf_counter() + script.seconds
        self.latencies: list[float] = []
        self.faults: list[str] = []
        self.wrong = 0

    def next(self) -> Request | None:
        return next(self.stream) if time.perf_counter() < self.deadline else None

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
        self._send()

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
        self._send()

    def _send(self) -> None:
        self._request = self._run.next()
        if self._request is None:
            self.ended.set_result(None)
            self._transport.close()
            return
        self._body.clear()
        self._parser = httptools.HttpResponseParser(self)
        self._sent = time.perf_counter()
        self._transport.write(self._request.payload)


async def measure(script: Script, homes: list[Home]) -> dict[str, Any]:
    run = Run(script, requests(script, homes))
    started = time.perf_counter()
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(lambda: Connection(run), "127.0.0.1", script.port))[1]
        for _ in range(script.connections)
    ]
    async with asyncio.timeout(script.seconds + GRACE_SECONDS):
        await asyncio.gather(*(connection.ended for connection in connections))
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
