"""Measures the drift of a series' features on a day from those that it was trained on.

Belongs here: a reference per feature that is small enough for a hundred thousand series (eight
bins of about equal weight, 200 bytes), and the comparison of a day with it. The reference of the
readings themselves is finer, and in ``ml.drift``; what follows from drift is decided elsewhere.

A feature of a long window hardly moves within a day, so that each day of the training data lies
far from all of it. Its reference therefore also tells the largest population stability index that
a single day of training had: only what lies beyond is news.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.arrays import Floats, Ints, Singles, SmallInts
from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.drift.distances import MINIMUM_ROWS, PSEUDO_COUNT
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.metrics.layout import CLOCK_FEATURES

BINS = 8
#: A value that many rows share has an edge on either side, so that there may be twice as many.
EDGES = 2 * (BINS - 1)
_DAY = 86_400_000_000
# Enough for bins of about equal weight; their counts are of all rows.
_ROWS_FOR_EDGES = 256
_NOT_WATCHED = frozenset(("value", *CLOCK_FEATURES))


@cache
def watched_features(feature_set: MetricFeatureSet) -> tuple[str, ...]:
    """Return the features whose drift says more than that of the readings.

    Time of day and week cannot drift, and a lag has the readings' own values.
    """
    return tuple(
        name
        for name in feature_set.names
        if name not in _NOT_WATCHED and not name.startswith("lag_")
    )


@dataclass(frozen=True, slots=True)
class FeatureReferences:
    """The features of one series in training.

    Attributes
    ----------
    edges : ndarray of float32, shape (d, EDGES)
        Upper edges of the bins, rising, the rest of a row +inf.
    counts : ndarray of int32, shape (d, EDGES + 1)
        Rows in each bin.
    usual_psi : ndarray of float32, shape (d,)
        Largest PSI of a single day of the training data; NaN with fewer than two whole days.
    """

    edges: Singles
    counts: SmallInts
    usual_psi: Singles

    @classmethod
    def fit(
        cls, times: Ints, columns: Mapping[str, Floats], features: Sequence[str]
    ) -> FeatureReferences:
        """Describe the training data of a series.

        Parameters
        ----------
        times : ndarray of int64, shape (n,)
            Microseconds since 1970, ascending.
        columns : mapping of str to ndarray of float64, shape (n,)
            NaN where a feature does not exist.
        features : sequence of str, length d
            Which of the columns.
        """
        edges = np.full((len(features), EDGES), np.inf, dtype=np.float32)
        counts = np.zeros((len(features), EDGES + 1), dtype=np.int32)
        usual = np.empty(len(features), dtype=np.float32)
        table = np.array([columns[name] for name in features]).reshape(len(features), times.size)
        _describe_all(table, times // _DAY, edges, counts, usual)
        return cls(edges, counts, usual)

    def compare(
        self, columns: Mapping[str, Floats], features: Sequence[str]
    ) -> tuple[Floats, Floats, Floats]:
        """Compare a day with the training data.

        Parameters
        ----------
        columns : mapping of str to ndarray of float64, shape (m,)
            NaN where a feature does not exist.
        features : sequence of str, length d
            The same features in the same order as for :meth:`fit`.

        Returns
        -------
        psi, noise, ks : ndarrays of float64, shape (d,)
            Population stability index; what samples of these sizes have of it without any drift;
            largest distance of the two distribution functions at the edges. NaN where either side
            has fewer than :data:`~anomaly_platform.ml.drift.distances.MINIMUM_ROWS` values.
        """
        found = np.empty((3, len(features)))
        for row, name in enumerate(features):
            found[:, row] = _compare(columns[name], self.edges[row], self.counts[row])
        return found[0], found[1], found[2]

    def flat(self) -> tuple[Singles, SmallInts, Singles]:
        """Return edges, counts and usual PSI, row after row."""
        return self.edges.ravel(), self.counts.ravel(), self.usual_psi

    @classmethod
    def from_flat(
        cls, edges: npt.ArrayLike, counts: npt.ArrayLike, usual_psi: npt.ArrayLike
    ) -> FeatureReferences:
        """Return what :meth:`flat` returned."""
        return cls(
            np.array(edges, dtype=np.float32).reshape(-1, EDGES),
            np.array(counts, dtype=np.int32).reshape(-1, EDGES + 1),
            np.array(usual_psi, dtype=np.float32),
        )


@compiled()
def _describe(
    values: Floats, days: Ints, edges: Singles, counts: SmallInts
) -> float:  # pragma: no cover
    """Fill a feature's row of the reference and return its usual PSI."""
    n = values.size
    step = max(1, n // _ROWS_FOR_EDGES)
    # In step with hours or days, the sample would see always the same times of day.
    while step > 1 and (step % 2 == 0 or step % 3 == 0 or step % 5 == 0 or step % 7 == 0):
        step += 1
    sample = np.empty(n // step + 1, dtype=np.float32)
    size = 0
    for i in range(0, n, step):
        if np.isfinite(values[i]):
            sample[size] = np.float32(values[i])
            size += 1
    known = _fill_edges(np.sort(sample[:size]), edges)
    bins = _bins(values, edges, known)
    for i in range(n):
        if bins[i] >= 0:
            counts[bins[i]] += 1
    usual = -1.0
    whole = 0
    of_day = np.zeros(EDGES + 1, dtype=np.int32)
    present = 0
    for i in range(n):
        if bins[i] >= 0:
            of_day[bins[i]] += 1
            present += 1
        if i + 1 == n or days[i + 1] != days[i]:
            if present >= MINIMUM_ROWS:
                whole += 1
                usual = max(usual, _psi(counts, of_day, known + 1))
            of_day[:] = 0
            present = 0
    return usual if whole > 1 else np.nan


@compiled()
def _describe_all(
    table: Floats, days: Ints, edges: Singles, counts: SmallInts, usual: Singles
) -> None:  # pragma: no cover
    """Fill the reference of (features, n) values, a row each."""
    for row in range(table.shape[0]):
        usual[row] = _describe(table[row], days, edges[row], counts[row])


@compiled()
def _fill_edges(ordered: Singles, edges: Singles) -> int:  # pragma: no cover
    """Write the bins' upper edges and return how many there are."""
    known = 0
    n = ordered.size
    below = np.float32(-np.inf)
    for k in range(1, BINS):
        if n == 0:
            break
        at = ordered[(n * k + BINS - 1) // BINS - 1]
        if not np.isfinite(at):
            continue
        if known > 0 and edges[known - 1] == at:
            # Two quantiles on one value: it weighs a bin and gets one of its own.
            before = np.nextafter(at, below)
            if known == 1 or edges[known - 2] != before:
                edges[known] = at
                edges[known - 1] = before
                known += 1
            continue
        edges[known] = at
        known += 1
    return known


@compiled()
def _bins(values: Floats, edges: Singles, known: int) -> npt.NDArray[np.int8]:  # pragma: no cover
    """Return (n,) the bin of each value, -1 where there is none."""
    bins, singles = np.zeros(values.size, dtype=np.int8), values.astype(np.float32)
    # One edge after the other: so many values are compared at once.
    for k in range(known):
        edge = edges[k]
        for i in range(values.size):
            bins[i] += np.int8(singles[i] > edge)
    for i in range(values.size):
        if not np.isfinite(values[i]):
            bins[i] = -1
    return bins


@compiled()
def _psi(reference: SmallInts, current: SmallInts, bins: int) -> float:  # pragma: no cover
    before = after = PSEUDO_COUNT * bins
    for k in range(bins):
        before += reference[k]
        after += current[k]
    total = 0.0
    for k in range(bins):
        expected = (reference[k] + PSEUDO_COUNT) / before
        actual = (current[k] + PSEUDO_COUNT) / after
        total += (actual - expected) * np.log(actual / expected)
    return total


@compiled()
def _compare(
    values: Floats, edges: Singles, counts: SmallInts
) -> tuple[float, float, float]:  # pragma: no cover
    known = 0
    while known < EDGES and np.isfinite(edges[known]):
        known += 1
    current = np.zeros(EDGES + 1, dtype=np.int32)
    rows = 0
    for place in _bins(values, edges, known):
        if place >= 0:
            current[place] += 1
            rows += 1
    reference = 0
    for k in range(known + 1):
        reference += counts[k]
    if min(rows, reference) < MINIMUM_ROWS:
        return np.nan, np.nan, np.nan
    distance = largest = 0.0
    for k in range(known):
        distance += counts[k] / reference - current[k] / rows
        largest = max(largest, abs(distance))
    noise = known * (1 / reference + 1 / rows)
    return _psi(counts, current, known + 1), noise, largest
