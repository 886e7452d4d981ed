"""Series that change for good: which changes are followed, and what is found after them.

A chapter of ``docs/measured/simulated.md`` (`simulated.py`): single series with a daily course,
learned from before a change and judged after it, with the settings that `anomaly backtest` has by
default.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from tqdm import tqdm

from anomaly_platform.ml.backtest.series import train_test

Floats = NDArray[np.float64]

PER_DAY = 288
TEST_DAYS = 14
TRAIN_DAYS = (10, 21)
NOISES = (1.0, 0.3)
SEEDS = (0, 1, 2)
#: By the fifth day after the change everything that is accepted has been.
SETTLED = 5 * PER_DAY
EVERY = 97
SIZE = 8.0
#: An alarm within an hour after an incident is no false one.
AFTER = 12

CHAPTER = """## Changes for good

Single series at five minutes, 50 + 5 sin(day) + noise, judged on {days} days; three seeds,
α = 0.01. With 10 days of training no season has been shown and trailing windows are all there is,
with 21 it has. From the sixth day on every 97th reading is off by {size} times the noise of that
time, up and down in turns. *Found*: the share of these that is flagged; *false*: the share of the
other readings of these days, without the hour after each.

| change after training | noise | 10 days: false | found | 21 days: false | found |
| --- | ---: | ---: | ---: | ---: | ---: |"""

CHANGES = {
    "none": "none",
    "ramp": "level rises by 0.5 a day",
    "step": "level 3 higher from the second day",
    "swing grows": "swing grows by 5 % a day",
    "swing jumps": "swing half as wide again from the second day",
    "noise": "noise half as much again within three days",
    "much noise": "noise three times as much within three days",
    "flat, much noise": "noise three times as much, of a series without a daily course",
    "less noise": "noise a third within three days",
    "swing shrinks": "swing a fifth from the second day",
    "clock": "everything an hour earlier from the second day",
}


def series(days: int, known: int, change: str, noise: float, seed: int) -> tuple[Floats, Floats]:
    """Return (rows,) readings that change after `known` days, and how rough they are."""
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
    elif change in ("much noise", "flat, much noise"):
        rough *= 1.0 + 2.0 * np.minimum(since / 3.0, 1.0)
        swing *= 0.0 if change.startswith("flat") else 1.0
    elif change == "less noise":
        rough /= 1.0 + 2.0 * np.minimum(since / 3.0, 1.0)
    elif change == "swing shrinks":
        swing *= np.where(since > 1.0, 0.2, 1.0)
    elif change == "clock":
        phase += 2.0 * np.pi / 24.0 * (since > 1.0)
    normal = np.random.default_rng(seed).standard_normal(row.size)
    return level + swing * np.sin(phase) + rough * normal, rough


def judged(known: int, change: str, noise: float) -> tuple[float, float]:
    """Return the share of false alarms and that of incidents found, over the seeds."""
    false, found = [], []
    for seed in SEEDS:
        values, rough = series(known + TEST_DAYS, known, change, noise, seed)
        off = np.arange(known * PER_DAY + SETTLED, values.size - AFTER, EVERY)
        values[off] += SIZE * rough[off] * np.where(np.arange(off.size) % 2, -1.0, 1.0)
        begin = datetime(2026, 1, 5)  # noqa: DTZ001  (as most files have it)
        times = [begin + timedelta(minutes=5 * n) for n in range(values.size)]
        frame = pl.DataFrame({"time": times, "value": values})
        cut = known * PER_DAY
        flags = train_test(frame[:cut], frame[cut:], time_column="time").is_anomaly
        found.append(flags[off - cut].mean())
        ordinary = np.arange(flags.size) >= SETTLED
        for row in off - cut:
            ordinary[row : row + AFTER] = False
        false.append(flags[ordinary].mean())
    return float(np.mean(false)), float(np.mean(found))


def changes_section() -> str:
    """Return the chapter."""
    lines = [CHAPTER.format(days=TEST_DAYS, size=f"{SIZE:g}")]
    for change in tqdm(CHANGES, desc="changes"):
        for noise in NOISES:
            pairs = [judged(known, change, noise) for known in TRAIN_DAYS]
            cells = " | ".join(f"{false:.1%} | {found:.0%}" for false, found in pairs)
            lines.append(f"| {CHANGES[change]} | {noise:g} | {cells} |")
    return "\n".join(lines) + "\n"
