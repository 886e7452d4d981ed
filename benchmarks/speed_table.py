"""Timing, memory and Markdown for the speed benchmark."""

from __future__ import annotations

import os
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

#: How often something is timed; the median counts.
REPETITIONS = 5


@dataclass(frozen=True)
class Line:
    """Ours against a peer that was timed in the same run, in seconds."""

    what: str
    ours: float
    peer: str
    theirs: float
    wanted: str = ""

    @property
    def faster(self) -> float:
        """How many times faster ours is."""
        return self.theirs / self.ours

    @property
    def slower(self) -> float:
        """How many times as long ours takes."""
        return self.ours / self.theirs


def median(run: Callable[[], object], times: int = REPETITIONS, per: int = 1) -> float:
    """Return the median of several runs in seconds, divided by what one run does several times."""
    return statistics.median(seconds(run) for _ in range(times)) / per


def in_turns(
    ours: Callable[[], object], theirs: Callable[[], object], times: int = REPETITIONS
) -> tuple[float, float]:
    """Return the medians of two runs that take turns, so that a busy moment meets both."""
    taken = [(seconds(ours), seconds(theirs)) for _ in range(times)]
    return statistics.median(a for a, _ in taken), statistics.median(b for _, b in taken)


def seconds(run: Callable[[], object]) -> float:
    """Return how long one run takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_memory() -> int:
    """Return the most bytes of memory that this process has held so far.

    On Linux from its own accounting: a new process inherits `ru_maxrss` from the one it came from.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def clock(value: float) -> str:
    """Return a duration in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value / 1e-6:.1f} µs"


def size(count: float) -> str:
    """Return a number of bytes in the unit that suits it."""
    for unit, of in (("GB", 1e9), ("MB", 1e6)):
        if count >= of:
            return f"{count / of:.2f} {unit}"
    return f"{count / 1e3:.1f} KB"


def times(ratio: float) -> str:
    """Return a ratio."""
    return f"{ratio:.0f}×" if ratio >= 20 else f"{ratio:.1f}×"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; every column but the first is set to the right."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *rows)) + "\n"


def machine() -> str:
    """Return the machine in general terms."""
    return (
        f"{platform.system()} on {platform.machine()}, {psutil.cpu_count()} logical cores, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB of memory, "
        f"Python {platform.python_version()}"
    )


def moment() -> str:
    """Return the present and how busy the machine is: processes that want a core."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC (load {os.getloadavg()[1]:.1f})"
