"""Series that change for good: which changes are followed, and what is found after them.

A chapter of ``docs/measured/simulated.md`` (`simulated.py`): single series with a daily course,
learned from before a change and judged after it, with the settings that `anomaly backtest` has by
default.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from tqdm import tqdm

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.backtest.series import train_test

FloatsOrOne = Floats | float

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

#: What a change makes of level, swing, roughness and the hour, so many days after training.
Course = Callable[[Floats], dict[str, FloatsOrOne]]
CHANGES: dict[str, Course] = {
    "none": lambda _: {},
    "level rises by 0.5 a day": lambda since: {"level": 0.5 * since},
    "level 3 higher from the second day": lambda since: {"level": 3.0 * (since > 1.0)},
    "swing grows by 5 % a day": lambda since: {"swing": 1.0 + 0.05 * since},
    "swing half as wide again from the second day": lambda since: {
        "swing": np.where(since > 1.0, 1.5, 1.0)
    },
    "noise half as much again within three days": lambda since: {
        "rough": 1.0 + 0.5 * np.minimum(since / 3.0, 1.0)
    },
    "noise three times as much within three days": lambda since: {"rough": _thrice(since)},
    "noise three times as much, of a series without a daily course": lambda since: {
        "rough": _thrice(since),
        "swing": 0.0,
    },
    "noise a third within three days": lambda since: {"rough": 1.0 / _thrice(since)},
    "swing a fifth from the second day": lambda since: {"swing": np.where(since > 1.0, 0.2, 1.0)},
    "everything an hour earlier from the second day": lambda since: {"hours": 1.0 * (since > 1.0)},
}


def _thrice(since: Floats) -> Floats:
    return 1.0 + 2.0 * np.minimum(since / 3.0, 1.0)


def series(days: int, known: int, change: str, noise: float, seed: int) -> tuple[Floats, Floats]:
    """Return (rows,) readings that change after `known` days, and how rough they are."""
    day = np.arange(days * PER_DAY) / PER_DAY
    course = {"level": 0.0, "swing": 1.0, "rough": 1.0, "hours": 0.0}
    course |= CHANGES[change](np.maximum(day - known, 0.0))
    rough = np.full(day.size, noise) * course["rough"]
    phase = 2.0 * np.pi * (day + course["hours"] / 24.0)
    normal = np.random.default_rng(seed).standard_normal(day.size)
    values = 50.0 + course["level"] + 5.0 * course["swing"] * np.sin(phase)
    return values + rough * normal, rough


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
            lines.append(f"| {change} | {noise:g} | {cells} |")
    return "\n".join(lines) + "\n"
