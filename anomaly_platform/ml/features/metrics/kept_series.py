"""Many series' look-backs held in memory side by side, so that readings of all go in one pass.

What belongs here: the arrays, and a `SeriesState` in and out of them. The arithmetic is that of
`kept_kernels`; which series has which place, and for how long, is its holder's business.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.metrics.kernels import Ints, clock_table, constants_of, step_sizes
from anomaly_platform.ml.features.metrics.online import SeriesState
from anomaly_platform.ml.features.metrics.ordered import Floats

_SPARE_ROWS: Final = 48
"""Rows that are added to a series before its oldest ones make room."""

_FIRST_ROOM: Final = 64


class KeptSeries:
    """Look-backs by place. For one thread.

    Parameters
    ----------
    feature_set
        What is computed of them.
    """

    def __init__(self, feature_set: MetricFeatureSet) -> None:
        self._feature_set = feature_set
        self._names = len(feature_set.names)
        self._constants = constants_of(feature_set)
        windows = self._constants[0]
        room, number = _FIRST_ROOM, windows.size
        rows = feature_set.capacity + 1 + _SPARE_ROWS
        self._times = np.empty((room, rows), dtype=np.int64)
        self._values, self._steps = np.empty((2, room, rows))
        self._end, self._behind, self._horizon = np.zeros((3, room), dtype=np.int64)
        self._first, self._missing = np.zeros((2, room, number), dtype=np.int64)
        # Behind the windows: the steps within the longest.
        self._sizes = np.zeros((room, number + 1), dtype=np.int64)
        self._ordered = np.empty((room, number + 1, int(windows[-1]) + 1))

    @property
    def room(self) -> int:
        """Places that there are."""
        return int(self._end.size)

    def grow(self) -> None:
        """Make twice as many places."""
        for name in (
            "times",
            "values",
            "steps",
            "end",
            "behind",
            "horizon",
            "first",
            "sizes",
            "missing",
        ):
            setattr(self, f"_{name}", doubled(getattr(self, f"_{name}")))
        self._ordered = doubled(self._ordered)

    def put(self, place: int, state: SeriesState) -> None:
        """Lay a series' past into a place."""
        rows = state.times.size
        self._times[place, :rows] = state.times
        # 0.0 and −0.0 compare equal but differ in bits.
        self._values[place, :rows] = state.values + 0.0
        self._steps[place, :rows] = step_sizes(state.values)
        self._end[place] = rows
        self._behind[place], self._horizon[place] = -1, 0

    def state(self, place: int) -> SeriesState:
        """Return the state of the series in a place."""
        end = int(self._end[place])
        start = max(0, end - self._feature_set.capacity)
        return SeriesState.of(
            self._feature_set, self._times[place, start:end], self._values[place, start:end]
        )

    def newest(self, places: Ints) -> Ints:
        """Return the newest row's time of each series, the least number where there is none."""
        end = self._end[places]
        newest: Ints = self._times[places, end - 1]
        return np.where(end > 0, newest, np.iinfo(np.int64).min)

    def append(self, places: Ints, times: Ints, values: Floats) -> Floats:
        """Add rows, and return (features, n) of them.

        Parameters
        ----------
        places
            (n,) place of each row's series.
        times, values
            (n,) microseconds since 1970, each newer than all of its series so far; readings.
        """
        from anomaly_platform.ml.features.metrics.kept_kernels import append_rows

        out = np.empty((self._names, places.size))
        windows, lags, frequency, lookback = self._constants
        append_rows(
            places,
            times,
            values + 0.0,
            self._times,
            self._values,
            self._steps,
            self._end,
            self._behind,
            self._horizon,
            self._first,
            self._sizes,
            self._missing,
            self._ordered,
            windows,
            lags,
            frequency,
            lookback,
            clock_table(),
            out,
        )
        return out


def doubled(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a copy with as much room again at the end of the first axis."""
    larger = np.empty((2 * array.shape[0], *array.shape[1:]), dtype=array.dtype)
    larger[: array.shape[0]] = array
    return larger
