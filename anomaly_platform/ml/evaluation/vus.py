"""Volume under the surface: range-aware quality of scores, without any threshold.

What belongs here: VUS-PR and VUS-ROC as defined by Paparrizos, Boniol, Palpanas, Tsay, Elmore and
Franklin, "Volume Under the Surface: A New Accuracy Evaluation Measure for Time-Series Anomaly
Detection", PVLDB 15(11), 2022. What does not: point-wise measures (evaluation).

The idea: a detection a few rows beside an anomaly is worth something. Labels therefore get slopes
of ``w/2`` rows on either side; a flagged row on a slope counts as far as its label goes, one that
is not flagged costs nothing. Recall is multiplied by the share of anomalies hit at all, and the
areas under the resulting curves are averaged over every buffer ``w`` from 0 to `window`.

Two editions are in print and their figures differ: in the one of 2022 slopes that were not flagged
do count against recall and areas are taken by trapezoids; the one of the TSB-AD benchmark (release
1.5), described above, replaced it. Compare figures of one edition only.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike

from anomaly_platform.ml.arrays import Bools, Floats, Ints

Edition: TypeAlias = Literal["tsb-ad", "2022"]

DEFAULT_WINDOW = 100
DEFAULT_THRESHOLDS = 250


def segments(labels: ArrayLike) -> Ints:
    """Return first and last row (included) of every run of true labels, shape (k, 2)."""
    padded = np.concatenate(([False], np.asarray(labels, dtype=np.bool_), [False]))
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    return np.stack((edges[::2], edges[1::2] - 1), axis=1).astype(np.int64)


def vus(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    window: int = DEFAULT_WINDOW,
    thresholds: int = DEFAULT_THRESHOLDS,
    edition: Edition = "tsb-ad",
) -> tuple[float, float]:
    """Return VUS-PR and VUS-ROC, each in [0, 1].

    Parameters
    ----------
    labels : array_like of bool, shape (n,)
        True where anomalous; at least one of each value.
    scores : array_like of float, shape (n,)
        Higher = more anomalous, in order of time.
    window : int
        Largest buffer in rows, at least 0. The benchmark's default is 100.
    thresholds : int
        Points on each curve, spread evenly over the ranks of the scores, at least 2.
    edition : str
        ``tsb-ad`` or ``2022``, see the module's text.

    Returns
    -------
    vus_pr, vus_roc : float
        Averages over the buffers 0 … `window`.

    Raises
    ------
    ValueError
        If the arrays differ in length, a score is NaN, only one class is there, or a parameter is
        too small.

    Notes
    -----
    Which rows are flagged depends on the threshold alone, so each row is given the index of the
    first threshold that flags it, once; every curve is then a weighted histogram over these
    indices, cumulated, and only the rows near anomalies change from one buffer to the next.
    """
    truth = np.asarray(labels, dtype=np.bool_)
    values = np.asarray(scores, dtype=np.float64)
    _check(truth, values, window, thresholds)
    if edition not in get_args(Edition):
        raise ValueError(f"unknown edition {edition!r} of VUS")
    rows = truth.size
    ranked = np.sort(values)[::-1]
    levels = ranked[np.linspace(0, rows - 1, thresholds).astype(np.int64)]
    first_flag = np.searchsorted(-levels, -values, side="left")
    curves = _Curves(
        truth=truth,
        runs=segments(truth),
        first_flag=first_flag,
        flagged=_cumulated(first_flag, thresholds),
        hard_hits=_cumulated(first_flag[truth], thresholds),
        edition=edition,
    )
    areas = np.array([curves.areas(w) for w in range(window + 1)])
    vus_pr, vus_roc = areas.mean(axis=0).tolist()
    return vus_pr, vus_roc


def _check(truth: Bools, values: Floats, window: int, thresholds: int) -> None:
    if truth.ndim != 1 or truth.shape != values.shape:
        raise ValueError(f"labels {truth.shape} and scores {values.shape} must be equally long")
    if np.isnan(values).any():
        raise ValueError("scores must not be NaN")
    if truth.all() or not truth.any():
        raise ValueError("both normal and anomalous rows are needed")
    if window < 0 or thresholds < 2:
        raise ValueError("window must be at least 0 and thresholds at least 2")


def _cumulated(first_flag: Ints, size: int, weights: Floats | None = None) -> Floats:
    """Return how much is flagged at each threshold, from when each row is first flagged."""
    counts = np.bincount(first_flag, weights=weights, minlength=size)
    return np.cumsum(counts).astype(np.float64)


@dataclass(frozen=True, slots=True)
class _Curves:
    truth: Bools
    runs: Ints
    first_flag: Ints
    flagged: Floats
    hard_hits: Floats
    edition: Edition

    def areas(self, window: int) -> tuple[float, float]:
        """Return the areas under the PR and the ROC curve with one buffer."""
        rows, thresholds = self.truth.size, self.flagged.size
        slope, near = self._slopes(window)
        slope_hits = _cumulated(self.first_flag[near], thresholds, slope)
        true_positives = self.hard_hits + slope_hits
        # Half-way between the anomalous rows and those plus the slopes that count.
        slopes = slope_hits if self.edition == "tsb-ad" else np.full(thresholds, slope.sum())
        positives = self.hard_hits[-1] + slopes / 2
        groups = _merged(self.runs, window // 2, rows)
        earliest = [int(self.first_flag[start : stop + 1].min()) for start, stop in groups]
        found = _cumulated(np.array(earliest), thresholds) / len(groups)
        recall = np.minimum(true_positives / positives, 1.0) * found
        false_rate = (self.flagged - true_positives) / (rows - positives)
        precision = true_positives / self.flagged
        before = np.concatenate(([1.0], precision[:-1]))
        height = precision if self.edition == "tsb-ad" else (before + precision) / 2
        area_pr = float(np.dot(np.diff(recall, prepend=0.0), height))
        x = np.concatenate(([0.0], false_rate, [1.0]))
        y = np.concatenate(([0.0], recall, [1.0]))
        return area_pr, float(np.dot(np.diff(x), (y[1:] + y[:-1]) / 2))

    def _slopes(self, window: int) -> tuple[Floats, Ints]:
        """Return the soft labels of the rows beside the anomalies, and these rows."""
        half = window // 2
        soft = np.zeros(self.truth.size)
        if half:
            slope = np.sqrt(1 - np.arange(1, half + 1) / window)
            for start, stop in self.runs.tolist():
                after = min(half, self.truth.size - 1 - stop)
                soft[stop + 1 : stop + 1 + after] += slope[:after]
                before = min(half, start)
                soft[start - before : start] += slope[:before][::-1]
            soft[self.truth] = 0.0
            np.minimum(soft, 1.0, out=soft)
        near = np.flatnonzero(soft)
        return soft[near], near


def _merged(runs: Ints, half: int, rows: int) -> list[tuple[int, int]]:
    """Return the anomalies with their slopes, those that meet taken as one."""
    groups: list[tuple[int, int]] = []
    for start, stop in runs.tolist():
        low, high = max(start - half, 0), min(stop + half, rows - 1)
        if groups and start - half <= groups[-1][1]:
            groups[-1] = (groups[-1][0], high)
        else:
            groups.append((low, high))
    return groups
