"""Simulated hosts whose metrics rest together, and then longer than ever: one event, not many."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import product

import numpy as np
import polars as pl
from tqdm import tqdm

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.backtest.series import train_test

METRICS = (7, 19)
#: How many times as long the host rests after training; 0 where it never rests.
RESTS = {"never": 0.0, "as ever": 1.0, "half as long again": 1.5, "twice as long": 2.0}
TRAIN_DAYS, TEST_DAYS, PER_DAY = 28, 10, 288
SEEDS = (0, 1, 2)
EVENT, EVENT_ROWS = 4 * PER_DAY + 120, 90

CHAPTER = """## Hosts whose metrics rest together

Hosts at five minutes, {train} days to learn from and {test} judged, α = 0.01, {seeds} seeds. A load
moves all metrics; twice a day or so the host rests for about 90 minutes, and its metrics stay at
0.15 or so but for the last digit. On the fifth day *one* metric, or in another run *all*, repeat a
value for 90 readings. *False*: the share of the other rows that the host's score flags; found by
the host's score, and by the metric's own.

| metrics | rests | false | one, host | one, own | all, host |
| ---: | --- | ---: | ---: | ---: | ---: |"""


def host(rng: np.random.Generator, metrics: int, longer: float) -> Floats:
    """Return (metrics, rows) of a host that rests `longer` times as long after training."""
    rows = (TRAIN_DAYS + TEST_DAYS) * PER_DAY
    rests = np.zeros(rows, dtype=np.bool_)
    at = 0
    while longer and at < rows:
        length = round(18 * rng.lognormal(0.0, 0.4) * (longer if at >= TRAIN_DAYS * PER_DAY else 1))
        at += round(rng.exponential(150)) + 20
        rests[at : at + length] = True
        at += length
    load, steps = np.zeros(rows), rng.normal(0.0, 0.05, rows)
    for n in range(1, rows):
        load[n] = 0.97 * load[n - 1] + steps[n]
    values = np.empty((metrics, rows))
    for one in values:
        busy = 0.5 + load * rng.uniform(0.3, 0.6) + rng.normal(0.0, 0.03, rows)
        idle = 0.15 + rng.uniform(-0.003, 0.003) + rng.normal(0.0, 0.001, rows)
        one[:] = np.where(rests, idle, busy).round(2)
    return values


def judged(metrics: int, longer: float, stuck: int, seed: int) -> tuple[float, bool, bool]:
    """Return the false share, and whether `stuck` metrics were found by host and own score."""
    values = host(np.random.default_rng(seed), metrics, longer)
    at = TRAIN_DAYS * PER_DAY + EVENT
    values[:stuck, at : at + EVENT_ROWS] = values[:stuck, at - 1 : at]
    begin = datetime(2026, 1, 5)  # noqa: DTZ001  (as most files have it)
    times = [begin + timedelta(minutes=5 * n) for n in range(values.shape[1])]
    frame = pl.DataFrame({"time": times, **{f"m{k:02}": one for k, one in enumerate(values)}})
    cut = TRAIN_DAYS * PER_DAY
    result = train_test(frame[:cut], frame[cut:], time_column="time")
    event = slice(EVENT, EVENT + EVENT_ROWS)
    said = result.reasons.fill_null("").str.contains("repeats|for .* h").to_numpy()
    ordinary = np.ones(said.size, dtype=np.bool_)
    ordinary[EVENT : EVENT + EVENT_ROWS + PER_DAY // 2] = False
    return (
        float(result.is_anomaly[ordinary].mean()),
        bool((result.is_anomaly & said)[event].any()),
        bool((result.metric_scores["m00"][event] >= result.threshold).any()),
    )


def resting_section() -> str:
    """Return the chapter."""
    lines = [CHAPTER.format(train=TRAIN_DAYS, test=TEST_DAYS, seeds=len(SEEDS))]
    for metrics, (what, longer) in tqdm(list(product(METRICS, RESTS.items())), desc="resting"):
        one = [judged(metrics, longer, 1, seed) for seed in SEEDS]
        everything = [judged(metrics, longer, metrics, seed) for seed in SEEDS]
        lines.append(
            f"| {metrics} | {what} | {np.mean([false for false, *_ in one + everything]):.2%} | "
            f"{sum(found for _, found, _ in one)} of {len(SEEDS)} | "
            f"{sum(own for *_, own in one)} of {len(SEEDS)} | "
            f"{sum(found for _, found, _ in everything)} of {len(SEEDS)} |"
        )
    return "\n".join(lines) + "\n"
