# ruff: noqa: C901  (compiled: no keyword-only arguments, calls cost)
"""The arithmetic of `series_buffers`: features of rows that are added to series held in memory.

As `kernels.feature_kernel`, of whose parts it is made, to the bit; a test holds the two together.
What that kernel carries from row to row of a day (sorted windows, first rows, counts) stands here
in arrays with a place per series, so that a row costs what a row in the middle of a day costs.
"""

from typing import Annotated, NamedTuple

import numpy as np

from anomaly_platform.ml.addresses import Layout
from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.features.metrics.kernels import (
    _gap,
    _lag_features,
    _minute_of_week,
    _slide,
    _step,
    _window_features,
)
from anomaly_platform.ml.series_runs.kernels import pass_readings, take_reading
from anomaly_platform.ml.series_runs.layout import RUN_COLUMNS


class Held(NamedTuple):
    """The series of `append_rows`."""

    times: Annotated[Ints, 2]
    values: Annotated[Floats, 2]
    steps: Annotated[Floats, 2]
    end: Annotated[Ints, 1]
    filled: Annotated[Ints, 1]
    horizon: Annotated[Ints, 1]
    first: Annotated[Ints, 2]
    missing: Annotated[Ints, 2]
    sizes: Annotated[Ints, 2]
    ordered: Annotated[Floats, 3]
    bases: Annotated[Floats, 2]
    states: Annotated[Floats, 2]


class Look(NamedTuple):
    """How far the features of `append_rows` look back, in rows."""

    windows: Annotated[Ints, 1]
    lags: Annotated[Ints, 1]


LAYOUT = Layout(Held, Look)
_read = LAYOUT.reader()


@compiled()
def _slide_missing(
    times: Ints,
    values: Floats,
    i: int,
    start: int,
    missing: int,
    first: int,
    filled: int,
    frequency: int,
) -> int:  # pragma: no cover
    """Return the readings missing from rows [start, i), from those missing from [first, filled)."""
    if start >= filled:
        missing = 0
    else:
        for j in range(first, start):
            missing -= (1 if np.isnan(values[j]) else 0) + _gap(times, j + 1, frequency)
    for j in range(max(filled, start), i):
        missing += 1 if np.isnan(values[j]) else 0
        if j > start:
            missing += _gap(times, j, frequency)
    return missing


@compiled()
def count_windows(
    times: Ints,
    end: int,
    windows: Ints,
    frequency: int,
    first: Ints,
    missing: Ints,
    sizes: Ints,
    ordered: Floats,
) -> None:  # pragma: no cover
    """Write where each window over the newest of `end` rows begins, and how much it holds.

    Parameters as in `append_rows`, of one series; `ordered` holds the windows' rows in order, those
    without a value last.
    """
    for k in range(windows.size + 1):
        if k < windows.size:
            first[k], missing[k] = max(0, end - windows[k]), 0
            for j in range(first[k] + 1, end):
                missing[k] += _gap(times, j, frequency)
            size = end - first[k]
        else:
            size = max(0, end - first[k - 1] - 1)
        while size > 0 and np.isnan(ordered[k, size - 1]):
            size -= 1
            if k < windows.size:
                missing[k] += 1
        sizes[k] = size


@compiled()
def append_rows(
    places: Ints,
    new_times: Ints,
    new_values: Floats,
    times: Ints,
    values: Floats,
    steps: Floats,
    end: Ints,
    filled: Ints,
    horizon: Ints,
    first: Ints,
    missing: Ints,
    sizes: Ints,
    ordered: Floats,
    bases: Floats,
    states: Floats,
    windows: Ints,
    lags: Ints,
    frequency: int,
    lookback: int,
    clock: Floats,
    out: Floats,
    runs: Floats,
) -> None:  # pragma: no cover
    """Add rows to series, each newer than its series, and write their features.

    A row can be taken back by lowering `end`: what the windows hold stays right for the next.

    Parameters
    ----------
    places, new_times, new_values
        (n,) place of each row's series, microseconds since 1970, readings without −0.0.
    times, values, steps
        (series, room) rows of each series, the first `end` of them in use; a step is the distance
        from the row before.
    end, filled, horizon
        (series,) number of rows; row up to which the windows reach, −1 where they are to be filled
        anew; first row within the look-back of the newest.
    first, missing
        (series, windows) first row of each window, and readings missing between its rows.
    sizes, ordered
        (series, windows + 1) how many values each window holds, (…, longest + 1) these in order;
        the last are the steps within the longest.
    bases, states
        (series, …) states of runs before the first row that is held, and after the newest.
    windows, lags, frequency, lookback, clock
        As in `kernels.feature_kernel`.
    out, runs
        (features, n), and run columns (`series_runs.kernels`); filled.
    """
    number = windows.size
    capacity = windows[number - 1]
    furthest = max(capacity, lags[lags.size - 1])
    scratch = np.empty((2, capacity))
    for column in range(places.size):
        place = places[column]
        own_times, own_values, own_steps = times[place], values[place], steps[place]
        i = end[place]
        if i == own_times.size:
            shift = i - furthest - 1
            pass_readings(bases[place], own_times[:shift], own_values[:shift])
            for j in range(shift, i):
                own_times[j - shift] = own_times[j]
                own_values[j - shift] = own_values[j]
                own_steps[j - shift] = own_steps[j]
            i -= shift
            horizon[place] = max(0, horizon[place] - shift)
            if filled[place] >= 0:
                filled[place] -= shift
                for k in range(number):
                    first[place, k] -= shift
        now = new_times[column]
        own_times[i], own_values[i] = now, new_values[column]
        take_reading(states[place], now, new_values[column], runs, column, np.full(3, np.nan))
        own_steps[i] = _step(own_values, i) if i > 0 else np.nan
        far = horizon[place]
        if far > 0 and own_times[far - 1] > now - lookback:
            # The row before was taken back, and was later: windows have lost what is wanted now.
            far, filled[place] = 0, -1
        while own_times[far] <= now - lookback:
            far += 1
        horizon[place] = far
        if filled[place] < 0:
            filled[place] = max(0, i - capacity)
            for k in range(number):
                first[place, k] = filled[place]
                missing[place, k] = 0
            sizes[place] = 0
        held = first[place, number - 1] + 1
        for k in range(number):
            old, start = first[place, k], max(far, i - windows[k])
            sizes[place, k] = _slide(
                own_values, i, start, ordered[place, k], sizes[place, k], old, filled[place]
            )
            start = max(start, old)
            missing[place, k] = _slide_missing(
                own_times, own_values, i, start, missing[place, k], old, filled[place], frequency
            )
            first[place, k] = start
        sizes[place, number] = _slide(
            own_steps,
            i,
            first[place, number - 1] + 1,
            ordered[place, number],
            sizes[place, number],
            held,
            filled[place],
        )
        filled[place], end[place] = i, i + 1
        out[0, column] = own_values[i]
        at = _window_features(
            own_values,
            i,
            windows,
            first[place],
            ordered[place],
            sizes[place],
            scratch,
            out,
            column,
        )
        newest_gap = _gap(own_times, i, frequency) if i > 0 else 0
        for k in range(number):
            absent = missing[place, k] + newest_gap if first[place, k] < i else 0
            out[6 + 6 * k, column] = absent
        at = _lag_features(own_values, i, lags, max(far, i - furthest), out, column, at)
        minute = _minute_of_week(now)
        for c in range(4):
            out[at + c, column] = clock[minute, c]


@compiled()
def next_row(
    at: Ints,
    place: int,
    time: int,
    value: float,
    frequency: int,
    lookback: int,
    clock: Floats,
    row: Floats,
) -> None:  # pragma: no cover
    """Write features and run columns of a row that is not added to its series.

    Parameters
    ----------
    at
        Rows of a table of `LAYOUT`.
    place, time, value
        Of the row, as in `append_rows`.
    frequency, lookback, clock
        As there.
    row
        (features + run columns, 1), filled.
    """
    held, look = _read(at)
    before, names = held.states[place].copy(), row.shape[0] - RUN_COLUMNS
    append_rows(
        np.full(1, place),
        np.full(1, time),
        np.full(1, value + 0.0),
        held.times,
        held.values,
        held.steps,
        held.end,
        held.filled,
        held.horizon,
        held.first,
        held.missing,
        held.sizes,
        held.ordered,
        held.bases,
        held.states,
        look.windows,
        look.lags,
        frequency,
        lookback,
        clock,
        row[:names],
        row[names:],
    )
    held.end[place] -= 1
    held.states[place] = before
