"""The arithmetic of a day ago: what a series was then, and how far it is from that now.

A series that has changed for good is as it was a day ago; one that is not is unusual, wherever it
lies.
"""

import math
from typing import Any

import numpy as np

from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.series_runs.layout import (
    AFTER,
    AFTER_AT,
    APART,
    DAY_AGO,
    HOUR,
    HOURS,
    LEVEL,
    LOOKS_AFTER,
    PER_HOUR,
    RARELY_APART,
    RARELY_MOVED,
    RARELY_OFF,
    SUMS,
    TYPICALLY_APART,
    USUAL,
    USUAL_LEVEL,
)

_HOUR = 3_600_000_000
#: How much wider than in training distances from a day ago may have become, and how many times as
#: far as they rarely were is as rare as 0.01.
_MOST_GROWN = 2.0
_RARE = 1.15
#: Evidence from which on it is told even where something else says more.
TELLING = 2.0 * math.log(10.0)


@compiled(error_model="numpy")
def _close_hour(state: Any) -> None:  # pragma: no cover
    """Keep what the newest hour was."""
    n = state[SUMS]
    place = HOURS + PER_HOUR * (int(state[HOUR]) % 24)
    t, v = state[SUMS + 1] / n, state[SUMS + 2] / n
    spread = state[SUMS + 3] / n - t * t
    state[place], state[place + 1] = t, v
    state[place + 2] = (state[SUMS + 4] / n - t * v) / spread if spread > 1e-6 else 0.0
    state[place + 3] = state[SUMS + 5] / state[SUMS + 6] if state[SUMS + 6] > 0.0 else np.nan
    state[place + 4] = state[HOUR]


@compiled(error_model="numpy")
def compare_with_yesterday(
    state: Any, time: int, value: float, out: Any, column: int, day: Any
) -> None:  # pragma: no cover
    """Write what the value was a day ago and how far that is usual, and take the reading in.

    What is known of the last day changes with the hour. `day`, (3,) and NaN first, keeps the hour
    and what is known in it for the next reading of the same series; where it is empty that is not
    found.
    """
    hour = float(time // _HOUR)
    if hour != state[HOUR]:
        if not math.isnan(state[HOUR]):
            _close_hour(state)
        state[HOUR] = hour
        for k in range(7):
            state[SUMS + k] = 0.0
    place = HOURS + PER_HOUR * (int(hour) % 24)
    t = float(time % _HOUR) / _HOUR
    apart = np.nan
    if state[place + 4] == hour - 24.0:
        then = state[place + 1] + state[place + 2] * (t - state[place])
        out[DAY_AGO, column] = then
        apart = abs(value - then)
        if day.size:
            if day[0] != hour:
                day[0] = hour
                day[1], day[2] = _median(state, hour, 3, 1), _median(state, hour, 1, 24)
            out[APART, column], out[LEVEL, column] = day[1], day[2]
        after = HOURS + PER_HOUR * (int(hour + 1.0) % 24)
        if state[after + 4] == hour - 23.0:
            out[AFTER, column], out[AFTER_AT, column] = state[after + 1], state[after]
    state[SUMS] += 1.0
    state[SUMS + 1] += t
    state[SUMS + 2] += value
    state[SUMS + 3] += t * t
    state[SUMS + 4] += t * value
    if not math.isnan(apart):
        state[SUMS + 5] += apart
        state[SUMS + 6] += 1.0


@compiled(error_model="numpy")
def _median(state: Any, hour: float, number: int, fewest: int) -> float:  # pragma: no cover
    """Return the median of a number of the last 24 hours, NaN where fewer are known."""
    found = np.empty(24)
    n = 0
    for k in range(24):
        place = HOURS + PER_HOUR * k
        if state[place + 4] >= hour - 24.0 and not math.isnan(state[place + number]):
            found[n] = state[place + number]
            n += 1
    if n < fewest:
        return np.nan
    for i in range(1, n):
        x = found[i]
        j = i - 1
        while j >= 0 and found[j] > x:
            found[j + 1] = found[j]
            j -= 1
        found[j + 1] = x
    return float(found[n // 2])


@compiled(error_model="numpy")
def _usual(hour: int, part: float, own: Any) -> float:  # pragma: no cover
    """Return what is usual at a part of an hour since 1970."""
    place = USUAL + 2 * (hour % 24)
    return float(own[place] + own[place + 1] * part)


@compiled(error_model="numpy")
def as_a_day_ago(
    time: int, value: float, runs: Any, column: int, own: Any
) -> float:  # pragma: no cover
    """Return the p-value of a reading beside what it was a day ago, 0 unless it was unusual then.

    What was unusual a day ago, and is now as it was, has changed for good. An hour that was odd
    itself says nothing of that; the one after it does, taken back by the usual course of the day.
    """
    then = runs[DAY_AGO, column]
    if math.isnan(then) or not own[RARELY_APART] > 0.0:
        return 0.0
    hour = time // _HOUR
    usual = _usual(hour, float(time % _HOUR) / _HOUR, own)
    grown = runs[APART, column] / own[TYPICALLY_APART]
    # Noise that is wider than that is the change itself.
    grown = grown if 1.0 < grown <= _MOST_GROWN else 1.0
    rare = _RARE * own[RARELY_APART] * grown
    far = abs(value - then) if abs(then - usual) > own[RARELY_OFF] else math.inf
    if own[LOOKS_AFTER] > 0.0:
        after = _usual(hour + 1, runs[AFTER_AT, column], own)
        moved = runs[AFTER, column] - after
        odd = abs(then - usual - moved) > abs(usual - after) + rare
        if odd and abs(moved) > own[RARELY_OFF]:
            far = min(far, abs(value - usual - moved))
    far /= rare
    return math.exp(-TELLING * far * far)


@compiled(error_model="numpy")
def has_moved(time: int, runs: Any, column: int, own: Any) -> bool:  # pragma: no cover
    """Return whether a series has lain elsewhere for a day: its usual place is usual no more.

    A day's level says nothing of the hour in which it moved; what was unusual a day ago does.
    """
    moved = abs(runs[LEVEL, column] - own[USUAL_LEVEL])
    if not (own[RARELY_MOVED] > 0.0 and moved > own[RARELY_MOVED]):
        return False
    usual = _usual(time // _HOUR, float(time % _HOUR) / _HOUR, own)
    return bool(abs(runs[DAY_AGO, column] - usual) > own[RARELY_OFF])
