"""Series that change for good: which changes are followed, and how soon.

A chapter of ``docs/simulated.md`` (`simulated.py`): single series with a daily course, learned from
before a change and judged after it, with the settings that `anomaly backtest` has by default.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from tqdm import tqdm

from anomaly_platform.ml.backtest import train_test

Floats = NDArray[np.float64]

PER_DAY = 288
TEST_DAYS = 14
TRAIN_DAYS = (10, 21)
NOISES = (1.0, 0.3)
SEEDS = (0, 1, 2)
#: By the fifth day after the change everything that is accepted has been.
SETTLED = 5 * PER_DAY

CHAPTER = """## Changes for good

Single series at five minutes, 50 + 5 sin(day) + noise, judged on {days} days of which every
anomalous row is a false alarm; three seeds, α = 0.01. With 10 days of training no season has been
shown and trailing windows are all there is, with 21 it has. *Later*: from the sixth day on. A step
or a wider swing is news for half a day and counted as such here, too.

| change after training | noise | 10 days: all | later | 21 days: all | later |
| --- | ---: | ---: | ---: | ---: | ---: |"""

CHANGES = {
    "none": "none",
    "ramp": "level rises by 0.5 a day",
    "step": "level 3 higher from the second day",
    "swing grows": "swing grows by 5 % a day",
    "swing jumps": "swing half as wide again from the second day",
    "noise": "noise half as much again within three days",
    "much noise": "noise three times as much within three days",
    "clock": "everything an hour earlier from the second day",
}


def series(days: int, known: int, change: str, noise: float, seed: int) -> Floats:
    """Return (rows,) readings that change after `known` days."""
    row = np.arange(days * PER_DAY)
    since = np.maximum(row / PER_DAY - known, 0.0)
    phase = 2.0 * np.pi * (row / PER_DAY)
    level = np.full(row.size, 50.0)
    swing = np.full(row.size, 5.0)
    rough = np.full(row.size, noise)
    if change == "ramp":
        level += 0.5 * since
    elif change == "step":
        level += 3.0 * (since > 1.0)
    elif change == "swing grows":
        swing *= 1.0 + 0.05 * since
    elif change == "swing jumps":
        swing *= np.where(since > 1.0, 1.5, 1.0)
    elif change == "noise":
        rough *= 1.0 + 0.5 * np.minimum(since / 3.0, 1.0)
    elif change == "much noise":
        rough *= 1.0 + 2.0 * np.minimum(since / 3.0, 1.0)
    elif change == "clock":
        phase += 2.0 * np.pi / 24.0 * (since > 1.0)
    normal = np.random.default_rng(seed).standard_normal(row.size)
    return level + swing * np.sin(phase) + rough * normal


def false_alarms(known: int, change: str, noise: float) -> tuple[float, float]:
    """Return the shares of flagged rows, of all and of the settled ones, over the seeds."""
    every, settled = [], []
    for seed in SEEDS:
        values = series(known + TEST_DAYS, known, change, noise, seed)
        begin = datetime(2026, 1, 5)  # noqa: DTZ001  (as most files have it)
        times = [begin + timedelta(minutes=5 * n) for n in range(values.size)]
        frame = pl.DataFrame({"time": times, "value": values})
        cut = known * PER_DAY
        flags = train_test(frame[:cut], frame[cut:], time_column="time").is_anomaly
        every.append(flags.mean())
        settled.append(flags[SETTLED:].mean())
    return float(np.mean(every)), float(np.mean(settled))


def changes_section() -> str:
    """Return the chapter."""
    lines = [CHAPTER.format(days=TEST_DAYS)]
    for change in tqdm(CHANGES, desc="changes"):
        for noise in NOISES:
            shares = [s for known in TRAIN_DAYS for s in false_alarms(known, change, noise)]
            cells = " | ".join(f"{share:.1%}" for share in shares)
            lines.append(f"| {CHANGES[change]} | {noise:g} | {cells} |")
    return "\n".join(lines) + "\n"
