"""Sensors that are stuck while a model learns: whether they are told of afterwards.

A chapter of ``docs/measured/simulated.md`` (`simulated.py`): single series, learned from up to a
moment at which they repeat a value, with the settings that `anomaly backtest` has by default.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
from tqdm import tqdm

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.backtest.series import train_test

SEEDS = tuple(range(4))
PER_DAY, TEST_DAYS = 288, 7
#: Days to learn from, hours for which the sensor has been stuck then, and for which it goes on.
HISTORIES = (2, 4, 7, 14, 28)
STUCK_HOURS = (3.0, 7.5)
MORE_HOURS = 3.0
AGAIN_DAY = 4

CHAPTER = """## Stuck while a model learns

Single series at five minutes, 21 + 3 sin(day) + noise, rounded to a tenth, or one that wanders; α =
0.01, {seeds} seeds. At the end of training the sensor repeats a value, and goes on with it for
three hours; on the fifth day it repeats one for as long as it did in training. *Goes on*, *again*:
the share of these rows that is flagged. *False*: that of all others, from half a day after each.

| series | days | stuck for | goes on | again | false |
| --- | ---: | ---: | ---: | ---: | ---: |"""


def _daily(rng: np.random.Generator, rows: int) -> Floats:
    wave = 21.0 + 3.0 * np.sin(2.0 * np.pi * np.arange(rows) / PER_DAY)
    return np.asarray((wave + rng.normal(0.0, 0.1, rows)).round(1))


def _wandering(rng: np.random.Generator, rows: int) -> Floats:
    level = np.zeros(rows)
    for n, step in enumerate(rng.normal(0.0, 0.05, rows - 1), start=1):
        level[n] = 0.999 * level[n - 1] + step
    return np.asarray((50.0 + level + rng.normal(0.0, 0.05, rows)).round(2))


SERIES = {"a day's course": _daily, "wanders": _wandering}


def judged(what: str, days: int, hours: float, seed: int) -> tuple[float, float, float]:
    """Return the shares flagged of what goes on, of what comes again, and of the rest."""
    cut, stuck = days * PER_DAY, round(hours * PER_DAY / 24)
    values = SERIES[what](np.random.default_rng(seed), cut + TEST_DAYS * PER_DAY)
    more = round(MORE_HOURS * PER_DAY / 24)
    again = cut + AGAIN_DAY * PER_DAY + PER_DAY // 3
    values[cut - stuck : cut + more] = values[cut - stuck]
    values[again : again + stuck] = values[again]
    begin = datetime(2026, 1, 5)  # noqa: DTZ001  (as most files have it)
    times = [begin + timedelta(minutes=5 * n) for n in range(values.size)]
    frame = pl.DataFrame({"time": times, "value": values})
    flags = train_test(frame[:cut], frame[cut:], time_column="time").is_anomaly
    there = slice(again - cut, again - cut + stuck)
    ordinary = np.ones(flags.size, dtype=np.bool_)
    for first, end in ((0, more), (there.start, there.stop)):
        ordinary[first : end + PER_DAY // 2] = False
    return float(flags[:more].mean()), float(flags[there].mean()), float(flags[ordinary].mean())


def still_open_section() -> str:
    """Return the chapter."""
    lines = [CHAPTER.format(seeds=len(SEEDS))]
    for what in tqdm(SERIES, desc="still open"):
        for days in HISTORIES:
            for hours in STUCK_HOURS:
                shares = [judged(what, days, hours, seed) for seed in SEEDS]
                cells = " | ".join(f"{share:.1%}" for share in np.mean(shares, axis=0))
                lines.append(f"| {what} | {days} | {hours:g} h | {cells} |")
    return "\n".join(lines) + "\n"
