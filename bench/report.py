"""The table: medians of the interleaved runs, side by side, and where each request's processor time goes."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench.scenarios import ROUTES

BUDGET = 1.5


@dataclass(frozen=True)
class Measured:
    """One run of one route on one side."""

    requests: int
    seconds: float
    p50: float
    p99: float
    cpu: Mapping[str, float]

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    @property
    def microseconds(self) -> dict[str, float]:
        """Processor time per request, by process."""
        return {name: used / self.requests * 1e6 for name, used in self.cpu.items()}

    @property
    def total_microseconds(self) -> float:
        return sum(self.microseconds.values())


Results = Mapping[tuple[str, str], Sequence[Measured]]  # By route and side.


def ratios(results: Results) -> dict[str, float]:
    """Requests per second of processor time, all processes together: the platform's over the monolith's."""
    return {
        route: median(run.total_microseconds for run in results[route, "monolith"])
        / median(run.total_microseconds for run in results[route, "platform"])
        for route in ROUTES
    }


def circumstances(listings: int, load_before: float) -> str:
    """When, where and with how much data it was measured."""
    return (
        f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC on {machine()}, {listings:,} listings,"
        f" load average {load_before:.1f} before it began"
    )


def table(results: Results, listings: int, load_before: float) -> str:
    rounds = len(next(iter(results.values())))
    lines = [
        f"{circumstances(listings, load_before)}; medians of {rounds} interleaved runs.",
        "",
        "| route | side | requests/s | p50 ms | p99 ms | CPU µs/request | per CPU-second |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    won = ratios(results)
    for route in ROUTES:
        for side in ("platform", "monolith"):
            runs = results[route, side]
            mid = median(run.total_microseconds for run in runs)
            share = f" **x {won[route]:.2f}**" if side == "platform" else ""
            lines.append(
                f"| {route} | {side} | {median(run.rate for run in runs):,.0f}"
                f" | {median(run.p50 for run in runs) * 1e3:.1f} | {median(run.p99 for run in runs) * 1e3:.1f}"
                f" | {mid:,.0f} | {1e6 / mid:,.0f}{share} |"
            )
    return "\n".join([*lines, "", *_by_process(results), ""])


def _by_process(results: Results) -> list[str]:
    """Where the time goes."""
    names = list(dict.fromkeys(name for runs in results.values() for name in runs[0].cpu))
    lines = [
        "CPU µs per request, by process:",
        "",
        f"| route | side | {' | '.join(names)} |",
        f"|---|---|{'---:|' * len(names)}",
    ]
    for (route, side), runs in sorted(
        results.items(), key=lambda item: (ROUTES.index(item[0][0]), item[0][1] != "platform")
    ):
        cells = (
            f"{median(run.microseconds[name] for run in runs):,.0f}" if name in runs[0].cpu else ""
            for name in names
        )
        lines.append(f"| {route} | {side} | {' | '.join(cells)} |")
    return lines


def machine() -> str:
    """What it ran on."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next(
        (
            line.partition(":")[2].strip()
            for line in cpuinfo.splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{len(os.sched_getaffinity(0))} cores of {model}, {memory:.0f} GiB, Linux {platform.release()},"
        f" Python {platform.python_version()}"
    )
