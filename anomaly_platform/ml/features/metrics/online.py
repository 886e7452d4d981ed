"""Metric features one reading at a time, equal to the batch's to the bit.

A series' past is a `SeriesState`: the rows that a later reading may still look back on, a few
kilobytes, stored as bytes between readings. `step` is pure: it returns the features and the next
state, so that predicting without storing is the same call with the state thrown away.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import numpy as np

from anomaly_platform.ml.features.metrics.batch import _to_microseconds
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.metrics.kernels import Ints, run_kernel
from anomaly_platform.ml.features.metrics.ordered import Floats

_MAGIC = b"AFS"
_VERSION = 1
_HEADER = struct.Struct("<3sB12sI")


@dataclass(frozen=True)
class SeriesState:
    """The rows of one series that features still need, oldest first.

    Attributes
    ----------
    feature_version
        `MetricFeatureSet.version` of the set it was kept for.
    times
        (rows,) microseconds since 1970, strictly ascending.
    values
        (rows,) readings, NaN where one is missing.
    """

    feature_version: str
    times: Ints
    values: Floats

    @classmethod
    def empty(cls, feature_set: MetricFeatureSet) -> SeriesState:
        """Return the state of a series that has no past."""
        return cls(feature_set.version, np.empty(0, dtype=np.int64), np.empty(0))

    @classmethod
    def of(cls, feature_set: MetricFeatureSet, times: Ints, values: Floats) -> SeriesState:
        """Return the state after the given rows, which ascend in time."""
        capacity, lookback, version = _bounds(feature_set)
        keep = max(0, times.size - capacity)
        if times.size and times[keep] <= times[-1] - lookback:
            keep = int(times.searchsorted(times[-1] - lookback, side="right"))
        return cls(version, times[keep:].copy(), values[keep:].copy())

    def to_bytes(self) -> bytes:
        """Return the state as little-endian bytes behind a versioned header."""
        header = _HEADER.pack(_MAGIC, _VERSION, self.feature_version.encode(), self.times.size)
        return header + self.times.astype("<i8").tobytes() + self.values.astype("<f8").tobytes()

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
        if version != _VERSION:
            raise ValueError(f"series state has version {version}, not {_VERSION}")
        if len(data) != _HEADER.size + 16 * rows:
            raise ValueError("series state is cut short")
        times = np.frombuffer(data, dtype="<i8", count=rows, offset=_HEADER.size)
        values = np.frombuffer(data, dtype="<f8", offset=_HEADER.size + 8 * rows)
        return cls(feature_version.decode(), times.astype(np.int64), values.astype(np.float64))


def states_of(
    feature_set: MetricFeatureSet, times: Ints, values: Floats, offsets: Sequence[int]
) -> list[SeriesState]:
    """Return the states of many series: `SeriesState.of` for each, none of which is empty.

    Parameters
    ----------
    feature_set
        What to keep them for.
    times, values
        (n,) rows of all series, ascending in time in each.
    offsets
        (series + 1,) first row of each series, then n.
    """
    capacity, lookback, version = _bounds(feature_set)
    ends = np.array(offsets[1:])
    starts = np.maximum(np.array(offsets[:-1]), ends - capacity)
    newest = times[ends - 1] - lookback
    for series in np.flatnonzero(times[starts] <= newest):
        rows = times[starts[series] : ends[series]]
        starts[series] += int(rows.searchsorted(newest[series], side="right"))
    return [
        SeriesState(version, times[start:end].copy(), values[start:end].copy())
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]


@lru_cache(maxsize=64)
def _bounds(feature_set: MetricFeatureSet) -> tuple[int, int, str]:
    """Return rows and microseconds that a state reaches back, and the features' version."""
    lookback = round(feature_set.lookback.total_seconds() * 1e6)
    return feature_set.capacity, lookback, feature_set.version


def step(
    feature_set: MetricFeatureSet,
    state: SeriesState,
    event_time: datetime | int,
    value: float | None,
) -> tuple[Floats, SeriesState]:
    """Return the features of one reading and the state after it.

    A reading that comes late gets its features as of its place in time, from the rows that the
    state still holds: right as long as the state reaches back far enough, provisional otherwise
    (the batch's are final). It takes its place in the state if it is not older than all of a full
    one. A reading at a time that the state already holds gets its features, and the state keeps
    the first one, as ingestion does.

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
    features
        (features,) in the order of `feature_set.names`, NaN where one does not exist.
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
    now = event_time if isinstance(event_time, int) else _to_microseconds(event_time)
    reading = np.nan if value is None else float(value)
    place = int(np.searchsorted(state.times, now, side="left"))
    times = np.append(state.times[:place], now)
    values = np.append(state.values[:place], reading)
    offsets = np.array([0, times.size], dtype=np.int64)
    features = run_kernel(feature_set, times, values, offsets, now, 1)[:, 0]
    known = place < state.times.size and state.times[place] == now
    if known:
        return features, state
    times = np.concatenate((times, state.times[place:]))
    values = np.concatenate((values, state.values[place:]))
    return features, SeriesState.of(feature_set, times, values)
