"""Derives a series' threshold from the labels of its readings.

What belongs here: the rule, on arrays. Where labels and thresholds are kept is elsewhere.

The rule is conformal risk control (Angelopoulos, Bates, Fisch, Lei and Schuster, 2022,
arXiv:2208.02814) with the losses "a false alarm is raised again" and "an anomaly is missed". Of n
labelled readings of which k are still decided wrongly at a threshold, the expected share of wrong
decisions on further ones like them is at most (k + 1) / (n + 1). The threshold moves only when that
bound can be brought to :data:`RISK`, which takes at least nine labels of a kind, and only as far as
is needed. It stays within bounds around the stream's: normal readings are never flagged more than
:data:`MOST_ALARMS` times as often as α allows, nor a thousand times less often.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from anomaly_platform.ml.calibration.conformal import score_of_p

#: Largest expected share of wrong decisions on readings like the labelled ones.
RISK = 0.1
#: Fewest labels of a kind with which that can be promised.
FEWEST_LABELS = math.ceil(1 / RISK) - 1
#: How many times α a threshold that was lowered may flag of normal readings.
MOST_ALARMS = 5.0
_FEWEST_ALARMS = 1e-3


def threshold_from_labels(
    scores: ArrayLike, is_anomaly: ArrayLike, *, default: float, alpha: float
) -> float | None:
    """Return the threshold that a series' labels ask for.

    Parameters
    ----------
    scores : array_like of float, shape (n,)
        Scores in [0, 1] of labelled readings; NaN where a reading has none.
    is_anomaly : array_like of bool, shape (n,)
        What people know.
    default : float
        The stream's threshold, in (0, 1).
    alpha : float
        Share of normal readings in (0, 1) that lie above a score of 0.7.

    Returns
    -------
    float or None
        In (0, 1); None where the stream's holds: there are too few labels, they agree with it, or
        false alarms and anomalies lie too close to each other to be told apart.

    Examples
    --------
    >>> alarms = [0.71, 0.72, 0.73, 0.74, 0.75, 0.76, 0.77, 0.78, 0.79]
    >>> threshold = threshold_from_labels(alarms, [False] * 9, default=0.7, alpha=0.01)
    >>> 0.79 < threshold < 0.7901
    True
    """
    score = np.asarray(scores, dtype=np.float64)
    anomaly = np.asarray(is_anomaly, dtype=np.bool_)
    known = np.isfinite(score)
    score, anomaly = score[known], anomaly[known]
    false_alarms = np.sort(score[~anomaly & (score >= default)])
    anomalies = np.sort(score[anomaly])
    lowest, highest = _bounds(default, alpha)
    if false_alarms.size >= FEWEST_LABELS:
        # Above so many of the false alarms that few enough are left.
        left = _may_be_wrong(false_alarms.size)
        wanted = math.nextafter(float(false_alarms[false_alarms.size - 1 - left]), 1.0)
        raised = min(wanted, highest)
        silenced = int(np.count_nonzero((anomalies >= default) & (anomalies < raised)))
        found = int(np.count_nonzero(anomalies >= default))
        return raised if found == 0 or (silenced + 1) / (found + 1) <= 2 * RISK else None
    if anomalies.size >= FEWEST_LABELS and np.count_nonzero(anomalies < default) > _may_be_wrong(
        anomalies.size
    ):
        lowered = max(float(anomalies[_may_be_wrong(anomalies.size)]), lowest)
        again = int(np.count_nonzero(~anomaly & (score >= lowered)))
        normal = int(np.count_nonzero(~anomaly))
        if again > RISK * max(1, normal):
            return None
        return lowered if lowered < default else None
    return None


def _may_be_wrong(labels: int) -> int:
    """Return how many of so many labelled readings may be decided wrongly."""
    return max(0, math.floor(RISK * (labels + 1) + 1e-9) - 1)


def _bounds(default: float, alpha: float) -> tuple[float, float]:
    low = float(score_of_p(min(MOST_ALARMS * alpha, 0.5), alpha)[0])
    high = float(score_of_p(_FEWEST_ALARMS * alpha, alpha)[0])
    return min(low, default), max(high, default)
