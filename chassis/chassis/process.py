"""A process: how every `__main__` starts, and how it ends on SIGTERM or Ctrl-C."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog
import uvloop

from chassis import logs, metrics, tracing
from chassis.settings import Settings

# Collections of the young are cheap but many; those of the old walk every compiled descriptor.
GC_THRESHOLDS = (20_000, 20, 100)

# Longer than what ends usually needs to clean up, such as giving its leases back: asked again, it would leave that.
RECANCEL_SECONDS = 1.0

log = structlog.get_logger()


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `main` on uvloop to its end."""
    uvloop.run(main())


@asynccontextmanager
async def telemetry(settings: Settings, service: str, host: str) -> AsyncIterator[None]:
    """Logs, traces and metrics, these on `host`, of the process `service`, for as long as it runs."""
    logs.configure(settings, service)
    tracing.configure(settings, service)
    try:
        metrics.serve(host, settings.metrics_port)
    except OSError as error:
        raise SystemExit(
            f"METRICS_PORT: {settings.metrics_port} can't be listened on; is it taken?"
        ) from error
    if settings.tls_cert_file is not None:
        metrics.watch_certificate(settings.tls_cert_file)
    async with logs.flushing():
        try:
            yield
        finally:
            tracing.shutdown()


def settle() -> None:
    """Start-up is over: what it made stays, and the garbage collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def until_stopped() -> None:
    """Wait for SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    await stop.wait()


@asynccontextmanager
async def background(*works: Awaitable[None]) -> AsyncIterator[None]:
    """Run `works` beside the block; they are cancelled at its end. One that fails ends the process: its supervisor
    starts a whole one rather than leave half of one running.
    """

    def ended(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("background work failed", exc_info=error)
            signal.raise_signal(signal.SIGTERM)

    tasks = [asyncio.ensure_future(work) for work in works]
    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    finally:
        await cancel(*tasks)


async def cancel(*tasks: "asyncio.Future[None]") -> None:
    """Cancel `tasks`, and return when they have ended."""
    while running := [task for task in tasks if not task.done()]:
        # Asked again and again: before Python 3.12, `wait_for` in a library may swallow a cancellation.
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=RECANCEL_SECONDS)
