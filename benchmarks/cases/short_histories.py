"""Hosts that have been known for a few minutes: what is found after so short a history.

What belongs here: simulated hosts of two to eight metrics with 200 to 800 rows to learn from, and
what the platform finds in the 800 rows after them. What does not: months and single series
(`simulated`).

The metrics follow slow loads that they share and have autocorrelated noise of their own; some
wander, some have set points that move a little now and then, some are rounded. Faults: spikes,
levels, ramps, noise, metrics that turn against the others, metrics that stick. After half of the
levels and ramps the metrics need a minute to come back, which counts as ordinary.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
from tqdm import tqdm

from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.ml.backtest.series import train_test
from anomaly_platform.ml.evaluation.measures import Confusion, confusion, events_found
from anomaly_platform.ml.evaluation.vus import vus

SEEDS = range(1000, 1040)
JUDGED = 800
_KINDS = ("level", "noise", "apart", "ramp", "stuck")
_KIND_SHARES = (0.35, 0.2, 0.2, 0.15, 0.1)
_LENGTHS = (1, 10, 40, 150, 300)
_LENGTH_SHARES = (0.15, 0.15, 0.25, 0.25, 0.2)

SECTION = """## Hosts with a short history

{hosts} hosts of two to eight metrics, a row a second, 200 to 800 rows to learn from and 800 to
judge; rows of all hosts are pooled. All histories are shorter than the longest window.

| F1 | false alarms | missed | VUS-PR | events found |
| ---: | ---: | ---: | ---: | ---: |"""


class ShortHost(NamedTuple):
    """A host: its rows, how many are learned from, and which rows are anomalous."""

    frame: pl.DataFrame
    train: int
    labels: Bools


def short_host(seed: int) -> ShortHost:
    """Return a simulated host."""
    rng = np.random.default_rng(seed)
    metrics, train = int(rng.integers(2, 9)), int(rng.integers(200, 801))
    rows = train + JUDGED
    values = _ordinary(rng, rows, metrics)
    labels = np.zeros(rows, dtype=np.bool_)
    begin = train + int(rng.integers(60, 150))
    while True:
        length = int(rng.choice(_LENGTHS, p=_LENGTH_SHARES))
        if begin + length >= rows - 20:
            break
        _break(rng, values, begin, length, values[:train].std(axis=0), train)
        labels[begin : begin + length] = True
        begin += length + int(rng.integers(100, 300))
    scale = 10.0 ** rng.uniform(-1.0, 2.0, metrics)
    values = values * scale + rng.normal(size=metrics) * 20.0 * scale
    for metric in np.flatnonzero(rng.random(metrics) < 0.25):
        unit = scale[metric] * rng.choice([0.1, 0.5])
        values[:, metric] = np.round(values[:, metric] / unit) * unit
    start = datetime(2026, 3, 2)  # noqa: DTZ001
    times = [start + timedelta(seconds=row) for row in range(rows)]
    columns = {f"m{metric}": values[:, metric] for metric in range(metrics)}
    return ShortHost(pl.DataFrame({"time": times, **columns}), train, labels)


def short_section() -> str:
    """Return the chapter on short histories."""
    counts, areas, found, events = Confusion(0, 0, 0, 0), [], 0, 0
    for seed in tqdm(SEEDS, desc="short histories"):
        frame, train, labels = short_host(seed)
        result = train_test(frame[:train], frame[train:], time_column="time")
        truth = labels[train:]
        counts += confusion(truth, result.is_anomaly)
        areas.append(vus(truth, result.score)[0])
        hits = events_found(truth, result.is_anomaly)
        found, events = found + int(hits.sum()), events + hits.size
    missed = 1.0 - (counts.recall or 0.0)
    return (
        f"{SECTION.format(hosts=len(SEEDS))}\n"
        f"| {counts.f1:.3f} | {counts.false_positive_rate:.1%} | {missed:.1%} | "
        f"{np.mean(areas):.3f} | {found}/{events} |\n"
    )


def _ordinary(rng: np.random.Generator, rows: int, metrics: int) -> Floats:
    """Return (rows, metrics) readings of a host that works."""
    loads = max(1, metrics // 3)
    shared = _noise(rng, rows, rng.uniform(0.8, 0.995, loads))
    own = _noise(rng, rows, rng.uniform(0.0, 0.9, metrics))
    gains = rng.normal(size=(loads, metrics)) * (rng.random((loads, metrics)) < 0.6)
    wandering = rng.uniform(0.0, 0.06, metrics) * (rng.random(metrics) < 0.6)
    values: Floats = shared @ gains + own
    values += np.cumsum(rng.normal(size=(rows, metrics)), axis=0) * wandering
    for metric in np.flatnonzero(rng.random(metrics) < 0.3):
        for row in rng.integers(0, rows, rng.poisson(rows / 300)):
            values[row:, metric] += 0.8 * rng.normal()
    return values


def _noise(rng: np.random.Generator, rows: int, memory: Floats) -> Floats:
    """Return (rows, n) autocorrelated noise of unit variance."""
    shocks = rng.normal(size=(rows + 200, memory.size))
    values = np.zeros_like(shocks)
    for row in range(1, rows + 200):
        values[row] = memory * values[row - 1] + np.sqrt(1.0 - memory**2) * shocks[row]
    return values[200:]


def _break(
    rng: np.random.Generator, values: Floats, begin: int, length: int, usual: Floats, train: int
) -> None:
    """Make some metrics anomalous for a while, in place."""
    kind = "spike" if length == 1 else str(rng.choice(_KINDS, p=_KIND_SHARES))
    metrics = values.shape[1]
    hit: Ints = rng.choice(metrics, int(rng.integers(1, max(2, metrics // 2) + 1)), replace=False)
    rows = np.arange(begin, begin + length)[:, None]
    size = rng.choice([-1.0, 1.0], hit.size) * rng.uniform(2.5, 6.0, hit.size) * usual[hit]
    centre = values[:train, hit].mean(axis=0)
    if kind == "spike":
        values[rows, hit] += size + 2.0 * np.sign(size) * usual[hit]
    elif kind == "level":
        values[rows, hit] += size
    elif kind == "ramp":
        values[rows, hit] += np.linspace(0.0, 1.0, length)[:, None] * size
    elif kind == "noise":
        values[rows, hit] += rng.normal(size=(length, hit.size)) * size / 2.0
    elif kind == "apart":
        values[rows, hit] = centre - 1.5 * (values[rows, hit] - centre)
    else:
        values[rows, hit] = values[begin, hit]
    if kind in {"level", "ramp"} and rng.random() < 0.5:
        after = np.arange(begin + length, min(begin + length + 60, len(values)))[:, None]
        values[after, hit] += 0.7 * size * np.exp(-(after - begin - length) / 12.0)
