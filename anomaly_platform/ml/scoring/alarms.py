"""From what each reading says to when a stream should call: evidence gathered, alarms not repeated.

What belongs here: how the evidence of the last rows of one series or host is put together, and
which rows raise an alarm rather than continue one. What does not: what a single reading is worth
(`series`, `fusion`), and whom an alarm is sent to.

A reading judged by itself is flagged with probability alpha when nothing is wrong, and again and
again while something is. Someone who watches a stream wants one call at the beginning. So:

*   **Gathering.** Several readings that are each somewhat unusual are together more so. Their
    evidence −ln p is summed (Fisher) over the last rows and judged against the distribution that
    the sum has when adjacent readings are correlated (Brown 1975: a gamma distribution of the same
    mean and variance). One reading's evidence counts up to a limit there, so that a sum needs
    more than one; by itself it counts as before.
*   **Quiet after an alarm.** For a while a further row is an alarm only if its evidence is clearly
    stronger than that of the last alarm. Its score is otherwise held just below the threshold.

Both look backwards only.

References
----------
M. B. Brown, "A method for combining non-independent, one-sided tests of significance",
Biometrics 31, 1975.
"""

import numpy as np

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet

#: Rows whose evidence is summed.
GATHERED_ROWS = 10
#: Correlation of the evidence of adjacent rows; it falls geometrically with their distance.
CORRELATION = 0.6
#: Most that one row's evidence counts in a sum.
MOST_EVIDENCE = 7.0
#: Share of the longest window, in rows, for which an alarm is not repeated …
QUIET_SHARE = 0.75
#: … unless the evidence exceeds the last alarm's by this much: p must be e² times smaller.
ESCALATION = 2.0
#: A continued alarm's score is this share of the threshold.
_BELOW = 1.0 - 1e-6


def gather(p_values: Floats) -> Floats:
    """Return (n,) p-values of rows in view of those before them.

    Parameters
    ----------
    p_values
        (n,) of the rows by themselves, in (0, 1], in order of time; NaN where there is none, which
        says nothing and stays NaN.

    Examples
    --------
    >>> alone = gather(np.array([1.0, 1.0, 0.01]))
    >>> again = gather(np.array([0.02, 0.02, 0.01]))
    >>> bool(again[-1] < alone[-1])
    True
    """
    from scipy.special import gammaincc

    known = ~np.isnan(p_values)
    evidence = np.zeros(p_values.size)
    evidence[known] = -np.log(p_values[known])
    total = np.cumsum(np.concatenate((np.zeros(1), np.minimum(evidence, MOST_EVIDENCE))))
    rows = np.arange(1, p_values.size + 1)
    lately = total[rows] - total[np.maximum(rows - GATHERED_ROWS, 0)]
    distance = np.arange(1, GATHERED_ROWS)
    covariance = float(((GATHERED_ROWS - distance) * CORRELATION**distance).sum())
    variance = GATHERED_ROWS + 2.0 * covariance
    shape, scale = GATHERED_ROWS**2 / variance, variance / GATHERED_ROWS
    together = gammaincc(shape, lately / scale)
    # The better of two looks: twice the smaller p-value (Bonferroni).
    best = np.minimum(2.0 * np.fmin(p_values, together), 1.0)
    return np.where(known, best, np.nan)


def announce(
    scores: Floats, p_values: Floats, threshold: float, feature_set: MetricFeatureSet
) -> Floats:
    """Return (n,) scores in which an alarm that goes on stays below the threshold.

    Parameters
    ----------
    scores
        (n,) in [0, 1], in order of time; NaN where there is none.
    p_values
        (n,) that the scores were made of.
    threshold
        Score from which a row is an alarm.
    feature_set
        Says how long the longest window is.
    """
    quiet = round(QUIET_SHARE * feature_set.windows[-1])
    result = scores.copy()
    since, needed = -quiet - 1, np.inf
    for row in np.flatnonzero(np.nan_to_num(scores) >= threshold).tolist():
        evidence = -float(np.log(p_values[row]))
        if row - since <= quiet and evidence <= needed:
            result[row] = threshold * _BELOW
        else:
            since, needed = row, evidence + ESCALATION
    return result
