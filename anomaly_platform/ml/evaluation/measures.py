"""Measures the quality of scores and decisions against labels.

What belongs here: point-wise measures, event recall, and the :class:`Report` that joins them with
VUS. What does not: the range-aware areas themselves (vus), NAB's scoring (nab), making labels by
injection. Point-adjusted measures are absent on purpose: random scores look excellent under them.

The direction is one everywhere: a higher score is more anomalous, a true label is an anomaly.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from operator import add

import numpy as np
from numpy.typing import ArrayLike

from anomaly_platform.ml.arrays import Bools, Floats
from anomaly_platform.ml.evaluation.vus import DEFAULT_WINDOW, segments, vus


@dataclass(frozen=True, slots=True)
class Report:
    """What scores and flags are worth against labels.

    A measure that these labels cannot give (recall without an anomaly, precision without a flag,
    an area with one class only) is None, never 0 or 1.

    Attributes
    ----------
    rows, anomalies, events : int
        Rows with a known label, those labelled anomalous, and runs of these.
    flagged, unscored : int
        Rows flagged, and rows without a score.
    vus_pr, vus_roc, auc_pr, auc_roc : float or None
        Threshold-free, in [0, 1].
    precision, recall, f1, false_positive_rate, balanced_accuracy : float or None
        Of the flags, row by row, in [0, 1].
    event_recall : float or None
        Share of runs of anomalous rows with at least one flag, in [0, 1].
    """

    rows: int
    anomalies: int
    events: int
    flagged: int
    unscored: int
    vus_pr: float | None
    vus_roc: float | None
    auc_pr: float | None
    auc_roc: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    false_positive_rate: float | None
    balanced_accuracy: float | None
    event_recall: float | None


def evaluate(
    labels: ArrayLike,
    scores: ArrayLike,
    flags: ArrayLike,
    *,
    vus_window: int = DEFAULT_WINDOW,
) -> Report:
    """Measure scores and flags of one series or one host, in order of time.

    Parameters
    ----------
    labels : array_like of bool, shape (n,)
        True where anomalous.
    scores : array_like of float, shape (n,)
        Higher = more anomalous. NaN where a row has no score: it counts as the most ordinary of
        all, so that not answering is never better than answering.
    flags : array_like of bool, shape (n,)
        What was decided; a row without a decision counts as not flagged.
    vus_window : int
        Largest buffer of VUS in rows.

    Returns
    -------
    Report
        Every measure, None where undefined.

    Raises
    ------
    ValueError
        If the arrays are not one-dimensional and equally long.
    """
    truth = bools(labels, "labels")
    decided = bools(flags, "flags")
    values = np.asarray(scores, dtype=np.float64)
    if not truth.shape == values.shape == decided.shape:
        raise ValueError(
            f"labels {truth.shape}, scores {values.shape} and flags {decided.shape} "
            "must be equally long"
        )
    unscored = np.isnan(values)
    ranked = np.where(unscored, -np.inf, values)
    both = bool(truth.any()) and not bool(truth.all())
    vus_pr, vus_roc = vus(truth, ranked, window=vus_window) if both else (None, None)
    counts = confusion(truth, decided)
    return Report(
        rows=truth.size,
        anomalies=int(truth.sum()),
        events=len(segments(truth)),
        flagged=int(decided.sum()),
        unscored=int(unscored.sum()),
        vus_pr=vus_pr,
        vus_roc=vus_roc,
        auc_pr=auc_pr(truth, ranked) if both else None,
        auc_roc=auc_roc(truth, ranked) if both else None,
        precision=counts.precision,
        recall=counts.recall,
        f1=counts.f1,
        false_positive_rate=counts.false_positive_rate,
        balanced_accuracy=counts.balanced_accuracy,
        event_recall=event_recall(truth, decided),
    )


@dataclass(frozen=True, slots=True)
class Confusion:
    """Rows by label and decision, and the shares that follow; adding two pools their rows.

    Attributes
    ----------
    true_positives, false_positives, true_negatives, false_negatives : int
        Rows.
    """

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(*map(add, astuple(self), astuple(other)))

    @property
    def precision(self) -> float | None:
        """Share of the flagged rows that are anomalous."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float | None:
        """Share of the anomalous rows that are flagged."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None without an anomalous row."""
        if self.recall is None:
            return None
        wrong = self.false_positives + self.false_negatives
        return _share(2 * self.true_positives, 2 * self.true_positives + wrong)

    @property
    def false_positive_rate(self) -> float | None:
        """Share of the normal rows that are flagged."""
        return _share(self.false_positives, self.false_positives + self.true_negatives)

    @property
    def balanced_accuracy(self) -> float | None:
        """Mean of the shares of anomalous and of normal rows decided rightly; 0.5 is chance."""
        recall, false_rate = self.recall, self.false_positive_rate
        return None if recall is None or false_rate is None else (recall + 1 - false_rate) / 2


def confusion(labels: ArrayLike, flags: ArrayLike) -> Confusion:
    """Count rows by label and decision.

    Parameters
    ----------
    labels, flags : array_like of bool, shape (n,)
        Truth and decision.
    """
    truth, decided = bools(labels, "labels"), bools(flags, "flags")
    both = int(np.count_nonzero(truth & decided))
    anomalous, flagged = int(np.count_nonzero(truth)), int(np.count_nonzero(decided))
    return Confusion(
        both, flagged - both, truth.size - anomalous - flagged + both, anomalous - both
    )


def event_recall(labels: ArrayLike, flags: ArrayLike) -> float | None:
    """Return the share of anomalies with at least one flagged row, None without an anomaly.

    Parameters
    ----------
    labels, flags : array_like of bool, shape (n,)
        Truth and decision in order of time; a run of true labels is one anomaly.
    """
    found = events_found(labels, flags)
    return float(found.mean()) if found.size else None


def events_found(labels: ArrayLike, flags: ArrayLike) -> Bools:
    """Return for each run of true labels whether any of its rows is flagged, shape (events,)."""
    truth, decided = bools(labels, "labels"), bools(flags, "flags")
    before = np.concatenate(([0], np.cumsum(decided)))
    runs = segments(truth)
    return np.asarray(before[runs[:, 1] + 1] > before[runs[:, 0]])


def random_event_recall(labels: ArrayLike, rate: float) -> float | None:
    """Return the event recall that flagging rows at random would be expected to reach.

    Parameters
    ----------
    labels : array_like of bool, shape (n,)
        Truth in order of time.
    rate : float
        Share of rows flagged, in [0, 1].

    Returns
    -------
    float or None
        Mean over the anomalies of ``1 - (1 - rate) ** length``: exact, no draw. Long anomalies
        are easily hit by chance, which an event recall alone does not tell.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must lie in [0, 1], not {rate}")
    runs = segments(labels)
    if not len(runs):
        return None
    lengths = runs[:, 1] - runs[:, 0] + 1
    return float(np.mean(1 - (1 - rate) ** lengths))


def pr_curve(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    """Return recall (rising) and precision at every distinct score, from the highest down.

    Parameters
    ----------
    labels : array_like of bool, shape (n,)
        At least one true.
    scores : array_like of float, shape (n,)
        Not NaN.
    """
    hits, flagged, total, _ = _ranked_counts(labels, scores)
    if total == 0:
        raise ValueError("a precision-recall curve needs an anomalous row")
    return hits / total, hits / flagged


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    """Return false-positive rate and recall, both rising from (0, 0) to (1, 1).

    Parameters
    ----------
    labels : array_like of bool, shape (n,)
        At least one of each class.
    scores : array_like of float, shape (n,)
        Not NaN.
    """
    hits, flagged, total, rows = _ranked_counts(labels, scores)
    if total in (0, rows):
        raise ValueError("a ROC curve needs both normal and anomalous rows")
    false_rate = (flagged - hits) / (rows - total)
    return np.concatenate(([0.0], false_rate)), np.concatenate(([0.0], hits / total))


def auc_pr(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the area under the precision-recall curve as average precision, in [0, 1].

    The sum of precision times the step in recall, without interpolation between points, which
    would be too kind. A random score reaches the share of anomalous rows.
    """
    recall, precision = pr_curve(labels, scores)
    return float(np.dot(np.diff(recall, prepend=0.0), precision))


def auc_roc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the area under the ROC curve, in [0, 1]; ties count half, 0.5 is chance."""
    false_rate, recall = roc_curve(labels, scores)
    return float(np.trapezoid(recall, false_rate))


def _ranked_counts(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats, int, int]:
    """Return anomalous and all rows at or above each distinct score, and both totals."""
    truth = bools(labels, "labels")
    values = np.asarray(scores, dtype=np.float64)
    if truth.shape != values.shape:
        raise ValueError(f"labels {truth.shape} and scores {values.shape} must be equally long")
    if np.isnan(values).any():
        raise ValueError("scores must not be NaN")
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if ranked.size else order
    hits = np.cumsum(truth[order])[last].astype(np.float64)
    return hits, (last + 1).astype(np.float64), int(truth.sum()), truth.size


def bools(values: ArrayLike, name: str) -> Bools:
    """Return labels or decisions, named so in errors, as an array of one dimension."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension, not {array.ndim}")
    if array.dtype == object:
        # A decision that was not taken (None) is no flag.
        return np.array([bool(value) for value in array.tolist()], dtype=np.bool_)
    return array.astype(np.bool_)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
