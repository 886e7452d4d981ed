"""A series' past as it is stored: the rows that a later reading may still look back on, as bytes.

What belongs here: which rows these are, and their format. Features of further rows come from
`series_buffers`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.features.metrics.layout import FeatureLayout
from anomaly_platform.ml.series_runs.fold import fold_unseen, no_runs, state_of_today
from anomaly_platform.ml.series_runs.layout import STATE_SIZE, STATE_SIZES

_MAGIC = b"AFS"
_VERSION = 3
#: Numbers of the runs by version.
_RUNS = {1: 0, 2: STATE_SIZES[0], _VERSION: STATE_SIZE}
_HEADER = struct.Struct("<3sB12sI")


@dataclass(frozen=True)
class SeriesState:
    """The rows of one series that features still need, oldest first.

    Attributes
    ----------
    feature_version
        `FeatureLayout.version` of the set it was kept for.
    times
        (rows,) microseconds since 1970, strictly ascending.
    values
        (rows,) readings, NaN where one is missing.
    before
        State of the runs (`series_runs`) after all older rows, which are no longer here.
    """

    feature_version: str
    times: Ints
    values: Floats
    before: Floats = field(default_factory=no_runs)

    @classmethod
    def empty(cls, feature_set: FeatureLayout) -> SeriesState:
        """Return the state of a series that has no past."""
        return cls(feature_set.version, np.empty(0, dtype=np.int64), np.empty(0))

    @classmethod
    def of(
        cls,
        feature_set: FeatureLayout,
        times: Ints,
        values: Floats,
        before: Floats | None = None,
    ) -> SeriesState:
        """Return the state after the given rows, which ascend in time, and the runs before them."""
        capacity, lookback, version = _bounds(feature_set)
        keep = max(0, times.size - capacity)
        if times.size and times[keep] <= times[-1] - lookback:
            keep = int(times.searchsorted(times[-1] - lookback, side="right"))
        runs = no_runs() if before is None else before.copy()
        if keep:
            fold_unseen(runs, times[:keep], values[:keep])
        return cls(version, times[keep:].copy(), values[keep:].copy(), runs)

    def with_runs(self, runs: Floats) -> SeriesState:
        """Return this state, of which `runs` is known already: folding it anew takes longer."""
        vars(self)["runs"] = runs
        return self

    @cached_property
    def runs(self) -> Floats:
        """State of the runs after the newest row."""
        state = self.before.copy()
        fold_unseen(state, self.times, self.values)
        return state

    def value_at(self, time: int) -> float | None:
        """Return the reading of a time, None where the state has none of it."""
        place = int(self.times.searchsorted(time))
        known = place < self.times.size and self.times[place] == time
        return float(self.values[place]) if known else None

    def to_bytes(self) -> bytes:
        """Return the state as little-endian bytes behind a versioned header."""
        header = _HEADER.pack(_MAGIC, _VERSION, self.feature_version.encode(), self.times.size)
        numbers = np.concatenate((self.values, self.before))
        return header + self.times.astype("<i8").tobytes() + numbers.astype("<f8").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> SeriesState:
        """Return the state that `to_bytes` wrote.

        Raises
        ------
        ValueError
            When the bytes are no state, of another version, or cut short.
        """
        if len(data) < _HEADER.size:
            raise ValueError("series state is cut short")
        magic, version, feature_version, rows = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise ValueError("these bytes are no series state")
        if version not in _RUNS:
            raise ValueError(f"series state has version {version}, not {_VERSION}")
        if len(data) != _HEADER.size + 16 * rows + 8 * _RUNS[version]:
            raise ValueError("series state is cut short")
        times = np.frombuffer(data, dtype="<i8", count=rows, offset=_HEADER.size)
        numbers = np.frombuffer(data, dtype="<f8", offset=_HEADER.size + 8 * rows)
        numbers = numbers.astype(np.float64)
        return cls(
            feature_version.decode(),
            times.astype(np.int64),
            numbers[:rows],
            state_of_today(numbers[rows:]),
        )


@lru_cache(maxsize=64)
def _bounds(feature_set: FeatureLayout) -> tuple[int, int, str]:
    """Return rows and microseconds that a state reaches back, and the features' version."""
    lookback = round(feature_set.lookback.total_seconds() * 1e6)
    return feature_set.capacity, lookback, feature_set.version
