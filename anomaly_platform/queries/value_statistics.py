"""What is usual in some values: count, mean, spread, percentiles, trend."""

import datetime as dt
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

_PERCENTILES: Final = (5, 25, 50, 75, 95, 99)


def describe(times: Sequence[dt.datetime], values: Sequence[float | None]) -> dict[str, Any]:
    """Return the numbers of ``schemas.metrics.MetricValues`` for readings of one metric.

    Parameters
    ----------
    times
        Of the readings, ascending.
    values
        Finite; None is a missing reading.
    """
    known = [(time, value) for time, value in zip(times, values, strict=True) if value is not None]
    numbers = np.array([value for _, value in known], dtype=np.float64)
    described: dict[str, Any] = {
        "count": numbers.size,
        "missing": len(values) - numbers.size,
        **dict.fromkeys(("mean", "std", "min", "max", "percentiles", "trend")),
    }
    if numbers.size == 0:
        return described
    # In units of the largest, so that the squares of enormous readings stay finite.
    unit = float(np.abs(numbers).max()) or 1.0
    scaled = numbers / unit
    std = float(scaled.std())
    return {
        **described,
        "mean": _bounded(float(scaled.mean()) * unit),
        "std": _bounded(std * unit),
        "min": float(numbers.min()),
        "max": float(numbers.max()),
        "percentiles": {
            f"p{share}": float(value)
            for share, value in zip(
                _PERCENTILES, np.percentile(scaled, _PERCENTILES) * unit, strict=True
            )
        },
        "trend": _trend([time for time, _ in known], scaled, std, unit),
    }


def _trend(
    times: Sequence[dt.datetime], scaled: np.ndarray[Any, Any], std: float, unit: float
) -> dict[str, Any] | None:
    if len(times) < 2:
        return None
    hours = np.array([(time - times[0]).total_seconds() / 3600.0 for time in times])
    centred = hours - hours.mean()
    slope = float(centred @ (scaled - scaled.mean()) / (centred @ centred))
    moved = slope * float(hours[-1])
    direction = "flat"
    if abs(moved) > 0.5 * std:
        direction = "up" if moved > 0.0 else "down"
    per_hour = slope * unit
    return {
        "slope_per_hour": per_hour if math.isfinite(per_hour) else None,
        "direction": direction,
    }


def _bounded(number: float) -> float:
    largest = float(np.finfo(np.float64).max)
    return max(-largest, min(largest, number))
