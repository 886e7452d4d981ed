# ruff: noqa: C901  (compiled: no keyword-only arguments, calls cost)
"""The arithmetic of metric features: the kernel of whole days, and the parts it is made of.

A row's features are computed from the row's window alone, never from the previous row's result, so
that a feature has the same bits wherever a batch starts, and in `append_kernel`, which is made of
the same parts:

*   sums are taken over the window in an order that depends on its length only, the shorter windows
    serving as parts of the longer ones;
*   order statistics come from sorted windows that are maintained from row to row: the multiset
    is the same, so the result is;
*   counts are integers;
*   sines and cosines come from a table with a row per minute of the week.

`metrics` defines what the features mean.
"""

import math
from functools import lru_cache

import numpy as np

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.features.metrics.layout import FeatureLayout
from anomaly_platform.ml.features.metrics.ordered import insert, mad, quantile, remove, replace

_MINUTE = 60_000_000
_MINUTES_OF_DAY = 1440
_MINUTES_OF_WEEK = 10080
#: 1970-01-01 was a Thursday; adding three days makes minute 0 of the week Monday 0:00.
_MONDAY = 3 * _MINUTES_OF_DAY
_LARGEST = float(np.finfo(np.float64).max)


@lru_cache(maxsize=1)
def clock_table() -> Floats:
    """Return (10080, 4) sines and cosines of the minute of day and of week, rounded to f32."""
    minute = range(_MINUTES_OF_WEEK)
    day = [2.0 * math.pi * (m % _MINUTES_OF_DAY) / _MINUTES_OF_DAY for m in minute]
    week = [2.0 * math.pi * m / _MINUTES_OF_WEEK for m in minute]
    columns = [
        [math.sin(a) for a in day],
        [math.cos(a) for a in day],
        [math.sin(a) for a in week],
        [math.cos(a) for a in week],
    ]
    return np.array(columns, dtype=np.float32).T.astype(np.float64)


@compiled()
def _bounded(x: float) -> float:  # pragma: no cover
    """Overflow of extreme inputs becomes the largest number instead of infinity."""
    if x > _LARGEST:
        return _LARGEST
    if x < -_LARGEST:
        return -_LARGEST
    return x


@compiled()
def _segment(
    segment: Floats, reference: float, sums: Floats, squares: Floats
) -> tuple[float, float]:  # pragma: no cover
    """Sum and sum of squares of value − reference; rows without a value add nothing.

    The segment is folded in half until little is left: element-wise loops, which the compiler
    may vectorise without changing a bit, where a running sum would have to stay serial.
    """
    half = (segment.size + 1) >> 1
    lower, upper = segment[:half], segment[half:]
    for j in range(upper.size):
        d = lower[j] - reference
        d = 0.0 if np.isnan(d) else d
        e = upper[j] - reference
        e = 0.0 if np.isnan(e) else e
        sums[j] = d + e
        squares[j] = d * d + e * e
    for j in range(upper.size, half):
        d = lower[j] - reference
        d = 0.0 if np.isnan(d) else d
        sums[j] = d
        squares[j] = d * d
    size = half
    while size > 4:
        half = (size + 1) >> 1
        more_sums, more_squares = sums[half:size], squares[half:size]
        for j in range(size - half):
            sums[j] += more_sums[j]
            squares[j] += more_squares[j]
        size = half
    total = total_squares = 0.0
    for j in range(size):
        total += sums[j]
        total_squares += squares[j]
    return total, total_squares


@compiled()
def _window_features(
    values: Floats,
    i: int,
    windows: Ints,
    oldest: Ints,
    ordered: Floats,
    sizes: Ints,
    scratch: Floats,
    out: Floats,
    column: int,
) -> int:  # pragma: no cover
    """Write mean, std, min, max, median per window and the extras of the largest; missing aside.

    `oldest[k]` is the first row of window k, `ordered[k, :sizes[k]]` its sorted values; behind
    the windows are the sizes of the largest one's steps. Returns the next free row of `out`.
    """
    value = values[i]
    last = windows.size - 1
    reference = 0.0
    if sizes[last] > 0:
        reference = quantile(ordered[last], sizes[last], 0.5)
    total = squares = 0.0
    newest = i
    at = 1
    for k in range(windows.size):
        size = sizes[k]
        more, more_squares = _segment(values[oldest[k] : newest], reference, scratch[0], scratch[1])
        total += more
        squares += more_squares
        newest = oldest[k]
        if size == 0:
            out[at, column] = value
            out[at + 1, column] = np.nan if np.isnan(value) else 0.0
            out[at + 2, column] = value
            out[at + 3, column] = value
            out[at + 4, column] = value
        else:
            smallest = ordered[k, 0]
            largest = ordered[k, size - 1]
            if smallest == largest:
                # Exact, so that a constant history is told from a nearly constant one.
                out[at, column] = smallest
                out[at + 1, column] = 0.0
            else:
                mean = reference + total / size
                out[at, column] = min(max(mean, smallest), largest)
                variance = (squares - total * (total / size)) / size
                if not variance > 0.0:
                    variance = np.inf if np.isnan(variance) else 0.0
                out[at + 1, column] = _bounded(math.sqrt(variance))
            out[at + 2, column] = smallest
            out[at + 3, column] = largest
            out[at + 4, column] = quantile(ordered[k], size, 0.5)
        at += 6
    if sizes[last] == 0:
        out[at, column] = value
        out[at + 1, column] = value
        out[at + 2, column] = np.nan if np.isnan(value) else 0.0
    else:
        out[at, column] = quantile(ordered[last], sizes[last], 0.25)
        out[at + 1, column] = quantile(ordered[last], sizes[last], 0.75)
        out[at + 2, column] = _bounded(mad(ordered[last], sizes[last], reference))
    out[at + 3, column] = sizes[last]
    if sizes[last + 1] > 0:
        out[at + 4, column] = quantile(ordered[last + 1], sizes[last + 1], 0.5)
    else:
        out[at + 4, column] = np.nan if np.isnan(value) and sizes[last] == 0 else 0.0
    return at + 5


@compiled()
def _lag_features(
    values: Floats, i: int, lags: Ints, oldest: int, out: Floats, column: int, at: int
) -> int:  # pragma: no cover
    value = values[i]
    for k in range(lags.size):
        j = i - lags[k]
        while j >= oldest and np.isnan(values[j]):
            j -= 1
        lagged = values[j] if j >= oldest else value
        if np.isnan(value):
            lagged = value
        out[at, column] = lagged
        out[at + 1, column] = _bounded(value - lagged)
        at += 2
    return at


@compiled()
def _gap(times: Ints, i: int, frequency: int) -> int:  # pragma: no cover
    """Count the readings that are missing between row i and the one before."""
    between: int = times[i] - times[i - 1]
    if between == frequency:
        # Most readings come on time, and a division costs more than all else here.
        return 0
    return max(0, (between + frequency // 2) // frequency - 1)


@compiled()
def _minute_of_week(time: int) -> int:  # pragma: no cover
    """Return the row of `clock_table` of a time in microseconds since 1970."""
    minute: int = (time // _MINUTE + _MONDAY) % _MINUTES_OF_WEEK
    return minute


@compiled()
def _step(values: Floats, i: int) -> float:  # pragma: no cover
    """Return the distance of row i from the one before it; NaN where either has no value."""
    return _bounded(abs(values[i] - values[i - 1]))


@compiled()
def _measure_steps(values: Floats, begin: int, end: int, steps: Floats) -> None:  # pragma: no cover
    """Write the distance of every row from the one before it; NaN where either has no value."""
    steps[begin] = np.nan
    for i in range(begin + 1, end):
        steps[i] = _step(values, i)


@compiled()
def _slide(
    values: Floats, i: int, start: int, ordered: Floats, size: int, first: int, behind: int
) -> int:  # pragma: no cover
    """Move one sorted window from rows [first, behind) to rows [start, i); return its size."""
    if start == first + 1 and behind == i - 1 and first < behind:
        old, new = values[first], values[behind]
        if not (np.isnan(old) or np.isnan(new)):
            replace(ordered, size, old, new)
            return size
    for j in range(first, min(start, behind)):
        if not np.isnan(values[j]):
            remove(ordered, size, values[j])
            size -= 1
    for j in range(max(behind, start), i):
        if not np.isnan(values[j]):
            insert(ordered, size, values[j])
            size += 1
    return size


@compiled()
def feature_kernel(
    times: Ints,
    values: Floats,
    offsets: Ints,
    since: Ints,
    windows: Ints,
    lags: Ints,
    frequency: int,
    lookback: int,
    clock: Floats,
    out: Floats,
    column: int,
) -> int:  # pragma: no cover
    """Write the features of every row at or after `since` and return the column after the last.

    Parameters
    ----------
    times
        (n,) microseconds since 1970, ascending within each series.
    values
        (n,) readings, NaN where one is missing; −0.0 must have been made 0.0.
    offsets
        (series + 1,) first row of each series, then n.
    since
        (series,) rows of a series before it serve as look-back only.
    windows, lags
        Rows, ascending.
    frequency, lookback
        Microseconds.
    clock
        `clock_table()`.
    out
        (features, rows at or after since), written column by column in the rows' order.
    column
        The first one to write.
    """
    number = windows.size
    capacity = windows[number - 1]
    furthest = max(capacity, lags[lags.size - 1])
    ordered = np.empty((number + 1, capacity + 1))
    scratch = np.empty((2, capacity))
    sizes = np.zeros(number + 1, dtype=np.int64)
    steps = np.empty(values.size)
    first = np.zeros(number, dtype=np.int64)
    empty = np.zeros(values.size + 1, dtype=np.int64)
    gaps = np.zeros(values.size + 1, dtype=np.int64)
    for series in range(offsets.size - 1):
        begin, end = offsets[series], offsets[series + 1]
        # Prefix counts: empty rows up to a row, and readings that fell into gaps before it.
        for i in range(begin, end):
            empty[i + 1] = empty[i] + (1 if np.isnan(values[i]) else 0)
            gaps[i] = gaps[i - 1] + _gap(times, i, frequency) if i > begin else 0
        _measure_steps(values, begin, end, steps)
        behind = begin
        horizon = begin
        sizes[:] = 0
        for k in range(number):
            first[k] = begin
        for i in range(begin, end):
            if times[i] < since[series]:
                continue
            while times[horizon] <= times[i] - lookback:
                horizon += 1
            if behind == begin:
                # The first row wanted: do not replay the rows that no window reaches.
                behind = max(begin, i - capacity)
                for k in range(number):
                    first[k] = behind
            held = first[number - 1] + 1
            for k in range(number):
                start = max(horizon, i - windows[k])
                sizes[k] = _slide(values, i, start, ordered[k], sizes[k], first[k], behind)
                first[k] = max(start, first[k])
            start = first[number - 1] + 1
            sizes[number] = _slide(steps, i, start, ordered[number], sizes[number], held, behind)
            behind = i
            out[0, column] = values[i]
            at = _window_features(values, i, windows, first, ordered, sizes, scratch, out, column)
            for k in range(number):
                missing = 0
                if first[k] < i:
                    missing = empty[i] - empty[first[k]] + gaps[i] - gaps[first[k]]
                out[6 + 6 * k, column] = missing
            reach = max(horizon, i - furthest)
            at = _lag_features(values, i, lags, reach, out, column, at)
            minute = _minute_of_week(times[i])
            for c in range(4):
                out[at + c, column] = clock[minute, c]
            column += 1
    return column


def step_sizes(values: Floats) -> Floats:
    """Return (n,) the distance of every row from the one before it, NaN where there is none."""
    steps = np.empty(values.size)
    if values.size:
        _measure_steps(values, 0, values.size, steps)
    return steps


@lru_cache(maxsize=64)
def constants_of(feature_set: FeatureLayout) -> tuple[Ints, Ints, int, int]:
    """Return a feature set's windows, lags, frequency and look-back as kernels want them."""
    return (
        np.array(feature_set.windows, dtype=np.int64),
        np.array(feature_set.lags, dtype=np.int64),
        round(feature_set.frequency.total_seconds() * 1e6),
        round(feature_set.lookback.total_seconds() * 1e6),
    )
