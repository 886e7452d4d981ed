"""Lasting steps at any sampling and noise: how soon they are accepted, and what is found after."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import product

import numpy as np
import polars as pl
from tqdm import tqdm

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.backtest.series import train_test

MINUTES = (5, 15, 30, 60)
#: Noise of a series whose daily course swings by 5.
NOISES = (0.05, 0.3, 1.0, 3.0)
TRAIN_DAYS, TEST_DAYS = 28, 17
STEP_DAY = 2
SEEDS = (0, 1)
EVERY, SIZE = 97, 8.0

CHAPTER = """## Lasting steps

Single series, 50 + 5 sin(day) + noise, {train} days to learn from; on the third day after that the
series changes for good. Every {every}th reading from one day after the change to the fourteenth day
is off by {size:g} times the noise of that time. *False*: the share of the other readings of these
days that is flagged, without the hour after each; *found*: the share of those off. Two seeds,
α = 0.01; false / found.

| minutes | change | {noises} |
| ---: | --- |{columns}"""

STEPS = {
    "3 noises higher": lambda values, noise: values + 3.0 * noise,
    "12 noises higher": lambda values, noise: values + 12.0 * noise,
    "a swing higher": lambda values, _: values + 5.0,
    "four swings lower": lambda values, _: values - 20.0,
    "Celsius to Fahrenheit": lambda values, _: 1.8 * values + 32.0,
}


def judged(minutes: int, noise: float, step: str, seed: int) -> tuple[float, float]:
    """Return the share of false alarms after the step, and that of readings found."""
    per_day = 1440 // minutes
    day = np.arange((TRAIN_DAYS + TEST_DAYS) * per_day) / per_day
    rng = np.random.default_rng(seed)
    values: Floats = 50.0 + 5.0 * np.sin(2.0 * np.pi * day)
    values += noise * rng.standard_normal(day.size)
    cut, at = TRAIN_DAYS * per_day, (TRAIN_DAYS + STEP_DAY) * per_day
    before = values[at:].copy()
    values[at:] = STEPS[step](before, noise)
    rough = noise * (1.8 if "Fahrenheit" in step else 1.0)
    off = np.arange(at + per_day, min(at + 14 * per_day, values.size), EVERY)
    values[off] += SIZE * rough * np.where(np.arange(off.size) % 2, -1.0, 1.0)
    begin = datetime(2026, 1, 5)  # noqa: DTZ001  (as most files have it)
    times = [begin + timedelta(minutes=minutes * n) for n in range(values.size)]
    frame = pl.DataFrame({"time": times, "value": values})
    flags = train_test(frame[:cut], frame[cut:], time_column="time").is_anomaly
    ordinary = np.zeros(flags.size, dtype=np.bool_)
    ordinary[at - cut + per_day : at - cut + 14 * per_day] = True
    for row in off - cut:
        ordinary[row : row + 1 + max(60 // minutes, 1)] = False
    return float(flags[ordinary].mean()), float(flags[off - cut].mean())


def steps_section() -> str:
    """Return the chapter."""
    noises = " | ".join(f"noise {noise:g}" for noise in NOISES)
    lines = [
        CHAPTER.format(
            train=TRAIN_DAYS,
            every=EVERY,
            size=SIZE,
            noises=noises,
            columns=" ---: |" * len(NOISES),
        )
    ]
    for minutes, step in tqdm(list(product(MINUTES, STEPS)), desc="steps"):
        cells = []
        for noise in NOISES:
            false, found = zip(*(judged(minutes, noise, step, seed) for seed in SEEDS), strict=True)
            cells.append(f"{np.mean(false):.1%} / {np.mean(found):.0%}")
        lines.append(f"| {minutes} | {step} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
