"""Series held in memory side by side: rows are added to many of them in one pass, with features.

What belongs here: the arrays, a `SeriesState` in and out of them, and one row at a time for those
who keep a state only. The arithmetic is that of `append_kernel`; which series has which place, and
for how long, is its holder's business.
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import numpy as np

from anomaly_platform.ml.arrays import AnyArray, Floats, Ints
from anomaly_platform.ml.features.metrics.batch import to_microseconds
from anomaly_platform.ml.features.metrics.kernels import clock_table, constants_of, step_sizes
from anomaly_platform.ml.features.metrics.layout import FeatureLayout
from anomaly_platform.ml.features.metrics.series_state import SeriesState
from anomaly_platform.ml.series_runs.layout import RUN_COLUMNS, STATE_SIZE

if TYPE_CHECKING:
    from anomaly_platform.ml.addresses import Table

_SPARE_ROWS: Final = 48
"""Rows that are added to a series before its oldest ones make room."""

_NEVER: Final = np.iinfo(np.int64).min


class SeriesBuffers:
    """Look-backs of series by place. Not for two threads at the same time.

    Parameters
    ----------
    feature_set
        What is computed of them.
    places
        How many there are at first.
    """

    def __init__(self, feature_set: FeatureLayout, places: int = 64) -> None:
        # numba takes a while to import, and not every holder of a series' state needs it.
        from anomaly_platform.ml.features.metrics.append_kernel import (
            LAYOUT,
            Held,
            Look,
            append_rows,
            count_windows,
            next_row,
        )

        self._feature_set = feature_set
        self._names = len(feature_set.names)
        self._constants = constants_of(feature_set)
        self._append, self._count = append_rows, count_windows
        self._next, self._layout = next_row, LAYOUT
        #: Of the arrays, for rows that are not added; None where they are others by now.
        self._addresses: Table | None = None
        self._look = Look(*self._constants[:2])
        number, longest = len(feature_set.windows), feature_set.windows[-1]
        rows = feature_set.capacity + 1 + _SPARE_ROWS
        self._arrays = Held._make(
            (
                np.empty((places, rows), dtype=np.int64),
                *np.empty((2, places, rows)),
                *np.zeros((3, places), dtype=np.int64),
                *np.zeros((2, places, number), dtype=np.int64),
                # Behind the windows: the steps within the longest.
                np.zeros((places, number + 1), dtype=np.int64),
                np.empty((places, number + 1, longest + 1)),
                *np.zeros((2, places, STATE_SIZE)),
            )
        )

    @property
    def room(self) -> int:
        """Places that there are."""
        return int(self._arrays.end.size)

    def grow(self) -> None:
        """Make twice as many places."""
        self._arrays, self._addresses = type(self._arrays)(*map(doubled, self._arrays)), None

    def put(self, place: int, state: SeriesState) -> None:
        """Lay a series' past into a place."""
        arrays, rows = self._arrays, state.times.size
        # 0.0 and −0.0 compare equal but differ in bits.
        values, steps = state.values + 0.0, step_sizes(state.values)
        arrays.times[place, :rows], arrays.values[place, :rows] = state.times, values
        arrays.steps[place, :rows] = steps
        arrays.end[place] = arrays.filled[place] = rows
        arrays.horizon[place] = 0
        arrays.bases[place], arrays.states[place] = state.before, state.runs
        # Sorted here: rows that are inserted one by one take five times as long.
        ordered, (windows, _, frequency, _) = arrays.ordered[place], self._constants
        for k, window in enumerate(self._feature_set.windows):
            _lay_in_order(ordered[k], values[-window:])
        _lay_in_order(ordered[-1], steps[max(0, rows - self._feature_set.windows[-1]) + 1 :])
        self._count(
            *(state.times, rows, windows, frequency),
            *(arrays.first[place], arrays.missing[place], arrays.sizes[place], ordered),
        )

    def state(self, place: int) -> SeriesState:
        """Return the state of the series in a place."""
        arrays = self._arrays
        end = int(arrays.end[place])
        state = SeriesState.of(
            self._feature_set,
            arrays.times[place, :end],
            arrays.values[place, :end],
            arrays.bases[place],
        )
        return state.with_runs(arrays.states[place].copy())

    def newest(self, places: Ints) -> Ints:
        """Return the newest row's time of each series, the least number where there is none."""
        end = self._arrays.end[places]
        newest: Ints = self._arrays.times[places, end - 1]
        return np.where(end > 0, newest, _NEVER)

    def append(self, places: Ints, times: Ints, values: Floats) -> Floats:
        """Add rows, and return (features, n) of them; parameters as in `take`."""
        return self.take(places, times, values)[: self._names]

    def take(self, places: Ints, times: Ints, values: Floats) -> Floats:
        """Add rows, and return (features + `RUN_COLUMNS`, n): features, then run columns.

        Parameters
        ----------
        places
            (n,) place of each row's series.
        times, values
            (n,) microseconds since 1970, each newer than all of its series so far; readings, NaN
            where one is missing.
        """
        names = self._names
        out = np.empty((names + RUN_COLUMNS, places.size))
        self._append(
            *(places, times, values + 0.0, *self._arrays, *self._constants, clock_table()),
            *(out[:names], out[names:]),
        )
        return out

    def next_row(self, place: int, time: int, value: float) -> Floats:
        """Return features and run columns, as `take`, of a row that is not added."""
        _, _, frequency, lookback = self._constants
        if self._addresses is None:
            self._addresses = self._layout.table(self._arrays, self._look)
        row = np.empty((self._names + RUN_COLUMNS, 1))
        rows = self._addresses.rows
        self._next(rows, place, time, value, frequency, lookback, clock_table(), row)
        return row


def step(
    feature_set: FeatureLayout,
    state: SeriesState,
    event_time: datetime | int,
    value: float | None,
) -> tuple[Floats, SeriesState]:
    """Return the features of one reading and the state after it; see `step_with_runs`."""
    row, after = step_with_runs(feature_set, state, event_time, value)
    return row[: len(feature_set.names)], after


def step_with_runs(
    feature_set: FeatureLayout,
    state: SeriesState,
    event_time: datetime | int,
    value: float | None,
) -> tuple[Floats, SeriesState]:
    """Return the row of one reading and the state after it; neither argument is changed.

    A late reading gets its features as of its place in time, from the rows that the state still
    holds: right as long as the state reaches back far enough, provisional otherwise (the batch's
    are final). It takes its place in the state if it is not older than all of a full one. A reading
    at a time that the state already holds gets its features, and the state keeps the first one, as
    ingestion does.

    Parameters
    ----------
    feature_set
        What to compute.
    state
        The series' past.
    event_time
        With a time zone, or microseconds since 1970.
    value
        The reading; None for a missing one.

    Returns
    -------
    row
        (features + `RUN_COLUMNS`,) features in the order of `feature_set.names`, NaN where one
        does not exist, and run columns.
    state
        The state to keep.

    Raises
    ------
    ValueError
        When the state belongs to another feature set, or the value is not finite.
    """
    if state.feature_version != feature_set.version:
        raise ValueError(
            f"the state was kept for features {state.feature_version}, not {feature_set.version}"
        )
    if value is not None and not np.isfinite(value):
        raise ValueError(f"value must be finite or None, not {value}")
    now = event_time if isinstance(event_time, int) else to_microseconds(event_time)
    reading = np.nan if value is None else float(value)
    place = int(state.times.searchsorted(now))
    buffers = SeriesBuffers(feature_set, 1)
    earlier = state
    if place < state.times.size:
        earlier = SeriesState(
            state.feature_version, state.times[:place], state.values[:place], state.before
        )
    buffers.put(0, earlier)
    row = buffers.take(np.zeros(1, np.int64), np.array([now]), np.array([reading]))[:, 0]
    if place == state.times.size:
        return row, buffers.state(0)
    if state.times[place] == now:
        return row, state
    times, values = np.insert(state.times, place, now), np.insert(state.values, place, reading)
    return row, SeriesState.of(feature_set, times, values, state.before)


def features_in_turn(
    feature_set: FeatureLayout,
    state: SeriesState,
    times: Sequence[int],
    values: Sequence[float],
) -> Floats:
    """Return (features, n) of readings; parameters as in `rows_in_turn`."""
    return rows_in_turn(feature_set, state, times, values)[: len(feature_set.names)]


def rows_in_turn(
    feature_set: FeatureLayout,
    state: SeriesState,
    times: Sequence[int],
    values: Sequence[float],
) -> Floats:
    """Return (features + `RUN_COLUMNS`, n) of readings, each with those before it as its past.

    Parameters
    ----------
    feature_set, state
        As in `step_with_runs`, which this repeats in one pass.
    times
        Microseconds since 1970, strictly ascending.
    values
        Readings, NaN where one is missing.
    """
    late: list[Floats] = []
    at = 0 if state.times.size == 0 else bisect_right(times, int(state.times[-1]))
    for time, value in zip(times[:at], values[:at], strict=True):
        row, state = step_with_runs(feature_set, state, time, value)
        late.append(row[:, None])
    buffers = SeriesBuffers(feature_set, 1)
    buffers.put(0, state)
    rest = np.array(times[at:], dtype=np.int64)
    rows = buffers.take(np.zeros_like(rest), rest, np.array(values[at:], dtype=np.float64))
    return np.concatenate((*late, rows), axis=1)


def _lay_in_order(room: Floats, values: Floats) -> None:
    room[: values.size] = values
    room[: values.size].sort()


def doubled(array: AnyArray) -> AnyArray:
    """Return a copy with as much room again at the end of the first axis."""
    larger = np.empty((2 * array.shape[0], *array.shape[1:]), dtype=array.dtype)
    larger[: array.shape[0]] = array
    return larger
