"""Measures drift from the training reference: PSI and KS per feature.

What belongs here: a compact reference distribution per feature, and its comparison with a batch.
What does not: deciding what to do about drift (sensors), drift of scores or labels as a policy.

The reference keeps, per feature, quantile edges and how many training rows fall between them. A
value that many rows share gets a bin of its own, so that a constant feature that changes, or a
counter that stops being zero, shows at full strength.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomaly_platform.ml.arrays import Floats, Ints

DEFAULT_BINS = 10
MINIMUM_ROWS = 50
_KNOTS = 20
_SHARES = np.linspace(0, 1, _KNOTS + 1)[1:-1]
# Half a row in every bin keeps a bin that is empty on one side from making PSI infinite.
PSEUDO_COUNT = 0.5


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """How one feature of a batch compares with its reference.

    Attributes
    ----------
    feature : str
        Name.
    rows : int
        Finite values in the batch.
    psi : float or None
        Population stability index, at least 0; None when either side has fewer than
        :data:`MINIMUM_ROWS` finite values. By custom, from 0.1 on there is some drift, from 0.25
        on much.
    psi_noise : float or None
        PSI to be expected between two samples of these sizes without any drift.
    ks : float or None
        Largest distance between the two distribution functions, in [0, 1], at the reference's
        edges.
    missing_share, reference_missing_share : float
        Share of values that are missing (NaN, infinite), in [0, 1].
    """

    feature: str
    rows: int
    psi: float | None
    psi_noise: float | None
    ks: float | None
    missing_share: float
    reference_missing_share: float


@dataclass(frozen=True, slots=True)
class ReferenceDistribution:
    """Distribution of every feature in the training part, at most 41 bins each.

    Attributes
    ----------
    features : tuple of str, length d
        Names, in the order of the columns.
    edges : ndarray of float64, shape (d, k)
        Upper edges of the bins, rising, the rest of a row +inf.
    counts : ndarray of int64, shape (d, k + 1)
        Rows in each bin; bin j holds the values above edge j - 1 up to and including edge j.
    missing : ndarray of int64, shape (d,)
        Rows without a finite value.
    """

    features: tuple[str, ...]
    edges: Floats
    counts: Ints
    missing: Ints

    @classmethod
    def fit(cls, values: ArrayLike, features: Sequence[str]) -> ReferenceDistribution:
        """Describe the training part.

        Parameters
        ----------
        values : array_like of float, shape (n, d)
            Features; NaN and infinity count as missing.
        features : sequence of str, length d
            Their names.

        Raises
        ------
        ValueError
            If the names do not fit the columns.
        """
        from anomaly_platform.ml.drift.distance_kernels import fill_reference

        matrix = _matrix(values, features)
        edges = np.full((len(features), 2 * _KNOTS), np.inf)
        counts = np.zeros((len(features), 2 * _KNOTS + 1), dtype=np.int64)
        missing = np.zeros(len(features), dtype=np.int64)
        widest = 1
        for column in range(len(features)):
            finite = matrix[np.isfinite(matrix[:, column]), column]
            missing[column] = matrix.shape[0] - finite.size
            finite.sort()
            widest = max(widest, fill_reference(finite, _SHARES, edges[column], counts[column]))
        return cls(
            tuple(features),
            edges[:, :widest],
            np.ascontiguousarray(counts[:, : widest + 1]),
            missing,
        )

    def compare(self, values: ArrayLike, *, bins: int = DEFAULT_BINS) -> list[FeatureDrift]:
        """Compare a batch with the reference.

        Parameters
        ----------
        values : array_like of float, shape (m, d)
            The same features in the same order.
        bins : int
            Bins of about equal weight in which PSI is summed, at least 2.

        Returns
        -------
        list of FeatureDrift
            One per feature, in order.

        Raises
        ------
        ValueError
            If the columns do not fit, or `bins` is too small.
        """
        if bins < 2:
            raise ValueError(f"PSI needs at least 2 bins, not {bins}")
        matrix = _matrix(values, self.features)
        return [
            self._compare_column(column, matrix[:, column], bins)
            for column in range(len(self.features))
        ]

    def usual_psi(self, values: ArrayLike, groups: Ints) -> float | None:
        """Return the largest PSI that a part of the training data itself has.

        A day of a machine that works in shifts, or of a level that wanders, is far from a month
        of it without any drift. Only what lies beyond is news.

        Parameters
        ----------
        values : array_like of float, shape (n,)
            The training values of the only feature.
        groups : ndarray of int64, shape (n,)
            Which part each belongs to, such as its day; ascending.

        Returns
        -------
        float or None
            None where fewer than two parts have :data:`MINIMUM_ROWS` finite values.

        Raises
        ------
        ValueError
            If there is more than one feature.
        """
        if len(self.features) != 1:
            raise ValueError(f"one feature is needed, not {len(self.features)}")
        from anomaly_platform.ml.drift.distance_kernels import count_parts

        coarse = _coarse(self.counts[0], DEFAULT_BINS)
        table = count_parts(np.asarray(values, np.float64), groups, self.edges[0], coarse)
        table = table[table.sum(axis=1) >= MINIMUM_ROWS]
        if len(table) < 2:
            return None
        return float(_psi(_sum(self.counts[0], coarse), table).max())

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays to store beside a model; the names of the features are not in them."""
        return {
            "edges": self.edges,
            "counts": self.counts.astype(np.int32),
            "missing": self.missing.astype(np.int32),
        }

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[np.generic]], features: Sequence[str]
    ) -> ReferenceDistribution:
        """Return what :meth:`to_arrays` stored.

        Raises
        ------
        ValueError
            If an array is missing or does not fit the features.
        """
        try:
            edges = np.asarray(arrays["edges"], dtype=np.float64)
            counts = np.asarray(arrays["counts"], dtype=np.int64)
            missing = np.asarray(arrays["missing"], dtype=np.int64)
        except KeyError as error:
            raise ValueError(f"the reference distribution lacks {error.args[0]}") from None
        width = edges.shape[1] if edges.ndim == 2 else -1
        if edges.shape != (len(features), width) or counts.shape != (len(features), width + 1):
            raise ValueError(
                f"edges {edges.shape} and counts {counts.shape} do not fit {len(features)} features"
            )
        return cls(tuple(features), edges, counts, missing)

    def _compare_column(self, column: int, values: Floats, bins: int) -> FeatureDrift:
        finite = values[np.isfinite(values)]
        reference = self.counts[column]
        known = int(reference.sum())
        psi = noise = ks = None
        if min(finite.size, known) >= MINIMUM_ROWS:
            current = _histogram(finite, self.edges[column])
            groups = _coarse(reference, bins)
            psi = float(_psi(_sum(reference, groups), _sum(current, groups)))
            noise = float(groups[-1] * (1 / known + 1 / finite.size))
            distance = np.cumsum(reference) / known - np.cumsum(current) / finite.size
            ks = float(np.abs(distance).max())
        total = known + int(self.missing[column])
        return FeatureDrift(
            feature=self.features[column],
            rows=finite.size,
            psi=psi,
            psi_noise=noise,
            ks=ks,
            missing_share=1 - finite.size / values.size if values.size else 0.0,
            reference_missing_share=int(self.missing[column]) / total if total else 0.0,
        )


SCORE_BINS = 10


def score_psi(p_values: ArrayLike) -> float | None:
    """Return how far p-values lie from evenly spread, as a PSI over ten bins of equal width.

    Conformal p-values of data like the calibration part are evenly spread in [0, 1] by
    construction, so that the drift of scores needs no stored reference.

    Parameters
    ----------
    p_values : array_like of float, shape (n,)
        NaN where a reading has none.

    Returns
    -------
    float or None
        At least 0; None below :data:`MINIMUM_ROWS` p-values.
    """
    p = np.asarray(p_values, dtype=np.float64)
    p = p[np.isfinite(p)]
    if p.size < MINIMUM_ROWS:
        return None
    inside = np.minimum((p * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
    current = np.bincount(inside, minlength=SCORE_BINS).astype(np.float64)
    return float(_psi(np.full(SCORE_BINS, p.size / SCORE_BINS), current))


def _matrix(values: ArrayLike, features: Sequence[str]) -> Floats:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] != len(features):
        raise ValueError(f"values {matrix.shape} do not fit {len(features)} features")
    return matrix


def _histogram(finite: Floats, edges: Floats) -> Ints:
    inside = np.searchsorted(edges, finite, side="left")
    return np.bincount(inside, minlength=edges.size + 1).astype(np.int64)


def _coarse(reference: Ints, bins: int) -> Ints:
    """Return for each fine bin the coarse one it belongs to, of about equal reference weight.

    A fine bin that alone weighs a coarse one or more stays alone, and so do the empty ones beside
    such a bin: they are where a constant value goes when it changes.
    """
    counts: list[int] = reference.tolist()
    share = sum(counts) / bins
    group = [0] * len(counts)
    filled = 0.0
    current = 0
    for index, (before, here) in enumerate(itertools.pairwise(counts), start=1):
        filled += before
        if here >= share or before >= share or filled + here / 2 > share:
            current += 1
            filled = 0.0
        group[index] = current
    return np.array(group, dtype=np.int64)


def _sum(counts: Ints, groups: Ints) -> Floats:
    totals: Floats = np.bincount(groups, weights=counts.astype(np.float64)).astype(np.float64)
    return totals


def _psi(reference: Floats, current: Floats) -> Floats:
    """Return (...,) stability indices of (..., bins) rows from those of the (bins,) reference."""
    expected = (reference + PSEUDO_COUNT) / (reference + PSEUDO_COUNT).sum()
    actual = (current + PSEUDO_COUNT) / (current + PSEUDO_COUNT).sum(axis=-1, keepdims=True)
    return np.asarray(((actual - expected) * np.log(actual / expected)).sum(axis=-1))
