"""Readings every five minutes: their values, as a file has them, and as validated events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.streams import MetricStream

#: A Monday.
START = datetime(2026, 1, 5, tzinfo=UTC)
STEP = timedelta(minutes=5)
PER_DAY = 288

Seed = int | Sequence[int] | np.random.Generator


def normal(
    rows: int, mean: float = 0.0, sigma: float = 1.0, seed: Seed = 0
) -> npt.NDArray[np.float64]:
    """Return noise."""
    return np.random.default_rng(seed).normal(mean, sigma, rows)


def daily_cycle(
    rows: int,
    seed: Seed,
    *,
    first: int = 0,
    level: float = 50.0,
    swing: float = 10.0,
    spread: float = 1.0,
) -> npt.NDArray[np.float64]:
    """Return values with a daily rhythm and noise; row `first` of the rhythm is the first one."""
    noise = normal(rows, sigma=spread, seed=seed)
    clock = np.arange(first, first + rows)
    return level + swing * np.sin(clock / PER_DAY * 2 * np.pi) + noise


def times_of(
    rows: int, *, first: int = 0, start: datetime = START, step: timedelta = STEP
) -> list[datetime]:
    """Return the times of `rows` readings in a row, the first one `first` steps after `start`."""
    return [start + (first + n) * step for n in range(rows)]


def file_of(
    stream: MetricStream,
    entity: str,
    metric: str,
    values: npt.NDArray[np.float64],
    *,
    first: int = 0,
    start: datetime = START,
) -> pl.DataFrame:
    """Return values as a long file of the stream has them, rounded to three digits."""
    return pl.DataFrame(
        {
            stream.entity_field: [entity] * len(values),
            "metric_name": [metric] * len(values),
            "timestamp": times_of(len(values), first=first, start=start),
            "value": values.round(3),
        }
    )


def readings(
    stream: MetricStream,
    entity: str,
    metric: str = "cpu",
    *,
    days: float,
    first: int = 0,
    seed: Seed | None = None,
    spread: float = 1.0,
) -> pl.DataFrame:
    """Return days of a series with a daily rhythm, from day `first` on, as a file has them."""
    row = first * PER_DAY
    seed = [first, *f"{entity} {metric}".encode()] if seed is None else seed
    values = daily_cycle(round(days * PER_DAY), seed, first=row, spread=spread)
    return file_of(stream, entity, metric, values, first=row)


def series(
    entity: str,
    metric: str,
    values: Sequence[float | None] | npt.NDArray[np.float64],
    *,
    first: int = 0,
    start: datetime = START,
    step: timedelta = STEP,
    times: Sequence[datetime] | None = None,
) -> pl.DataFrame:
    """Return values as validated events: at `times`, or evenly, `first` steps after `start`."""
    if times is None:
        times = times_of(len(values), first=first, start=start, step=step)
    return pl.DataFrame(
        {
            "entity": entity,
            "metric": metric,
            "event_time": times,
            "value": values,
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC"), "value": pl.Float64},
    )
