"""The features of a series' next reading, asked for often: its past is brought in order once.

What belongs here: what of a look-back stays the same from one reading to the next that is tried.
The arithmetic is `kernels`', so that the bits are those of `online.step` and of the batch.
"""

from __future__ import annotations

import numpy as np

from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.metrics.kernels import (
    appended_kernel,
    clock_table,
    constants_of,
    sorted_windows,
)
from anomaly_platform.ml.features.metrics.online import SeriesState
from anomaly_platform.ml.features.metrics.ordered import Floats


class NextReading:
    """What a next reading is, seen from a series' past. Not for two threads at the same time.

    Parameters
    ----------
    feature_set
        What to compute.
    state
        The series' past, of that feature set.
    """

    def __init__(self, feature_set: MetricFeatureSet, state: SeriesState) -> None:
        rows = state.times.size
        self._feature_set = feature_set
        self._number = len(feature_set.names)
        # The reading that is tried is laid behind the rows that are there.
        self._times = np.append(state.times, 0)
        self._values = np.append(state.values, 0.0) + 0.0
        self._offsets = np.array([0, rows + 1], dtype=np.int64)
        self._wanted = np.array([rows], dtype=np.int64)
        self._windows, self._lags, self._frequency, self._lookback = constants_of(feature_set)
        #: Times for which the windows hold, from the first to before the second.
        self._since = self._until = 0

    def features(self, when: int, value: float) -> Floats:
        """Return (features, 1) of a reading.

        Parameters
        ----------
        when
            Microseconds since 1970, after all that the state holds.
        value
            The reading, finite.
        """
        self._times[-1] = when
        self._values[-1] = value + 0.0
        if not self._since <= when < self._until:
            self._bring_in_order(when)
        out = np.empty((self._number, 1))
        appended_kernel(
            self._times,
            self._values,
            self._offsets,
            self._wanted,
            self._windows,
            self._lags,
            self._frequency,
            self._lookback,
            clock_table(),
            self._ordered,
            self._sizes,
            out,
        )
        return out

    def _bring_in_order(self, when: int) -> None:
        self._ordered, self._sizes = sorted_windows(
            self._feature_set, self._times, self._values, self._offsets, self._wanted
        )
        past = self._times[:-1]
        # The windows change when a row comes within the look-back or leaves it.
        first = int(past.searchsorted(when - self._lookback, side="right"))
        self._since = int(past[first - 1]) + self._lookback if first else -(2**63)
        self._until = int(past[first]) + self._lookback if first < past.size else 2**63
