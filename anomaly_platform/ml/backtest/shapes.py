"""How unlike all earlier ones the shape of a series' last rows is: it ranks rows without a call.

What belongs here: the distance of each row's last windows to their nearest earlier windows, and the
score of a stream's rows below the threshold. What does not: which rows are calls (`ml.scoring`).

The last rows, at three lengths, are compared with every earlier window of that length that they do
not overlap, each about its own mean: the left matrix profile (Yeh et al. 2016) of centred windows.
Where the window begins moves by a twelfth of its length at a time, which finds nearly the same
neighbours for a twelfth of the work. Only earlier rows count, so a row's distance does not change
with what comes later. All earlier rows are needed, though: this is for files, not for rows that
come one by one.

References
----------
C.-C. M. Yeh et al., "Matrix Profile I: All Pairs Similarity Joins for Time Series", ICDM 2016.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.scoring.alarms import MOST_EVIDENCE

#: Lengths of the windows, as shares of the longest window of the features.
LENGTHS: Final = (1.0 / 12.0, 1.0 / 3.0, 2.0 / 3.0)
#: By what share of its length the beginning of an earlier window moves.
STEP: Final = 1.0 / 12.0
#: How many rows back the neighbours are looked for.
FURTHEST_BACK: Final = 10_000
#: What the rows' own evidence counts beside the distance.
OWN_WEIGHT: Final = 0.2
#: Readings further from the centre of the first ones, in standard deviations, count as this far.
_FAR: Final = 1e3
#: Unit where the first readings are all the same, as a share of their size.
_AT_REST: Final = 1e-3
_BELOW: Final = 1.0 - 1e-6


def distances(values: Floats, first: int, longest: int) -> Floats:
    """Return (n,) distances of each row's last windows to the nearest earlier ones, summed.

    A distance is the root of the mean square, in standard deviations of the first readings. It is 0
    for a length that no two windows of fit into the rows up to here.

    Parameters
    ----------
    values
        (n,) readings in order of time; where one is missing, the one before stands in.
    first
        How many of them the unit is taken from.
    longest
        Rows of the features' longest window.
    """
    scaled = _scaled(values, first)
    total = np.zeros(values.size)
    for share in LENGTHS:
        rows = max(round(share * longest), 2)
        nearest = np.full(values.size, np.inf)
        _nearest(scaled, rows, max(round(rows * STEP), 1), FURTHEST_BACK, nearest)
        total += np.sqrt(np.where(np.isfinite(nearest), nearest, 0.0))
    return total


def ranked(
    scores: Floats, distance: Floats, p_values: Floats, threshold: float, longest: int
) -> Floats:
    """Return (n,) scores in which rows below the threshold are ordered by their shapes.

    Parameters
    ----------
    scores
        (n,) of a stream (`novelty.on_top`); NaN where there is none, which stays so.
    distance
        (n,) of `distances`.
    p_values
        (n,) of the rows by themselves; NaN where there is none. Their mean evidence over the
        longest of `LENGTHS` is added to the distance.
    threshold
        Score from which a row is a call.
    longest
        Rows of the features' longest window.
    """
    evidence = np.nan_to_num(np.minimum(-np.log(p_values), MOST_EVIDENCE), nan=0.0)
    total = np.cumsum(np.concatenate((np.zeros(1), evidence)))
    rows, window = np.arange(1, scores.size + 1), max(round(LENGTHS[-1] * longest), 2)
    lately = (total[rows] - total[np.maximum(rows - window, 0)]) / window
    unusual = distance + OWN_WEIGHT * lately
    below = threshold * _BELOW * unusual / (1.0 + unusual)
    return np.where(scores < threshold, below, scores)


def _scaled(values: Floats, first: int) -> Floats:
    """Return readings from the centre of the first ones, in their standard deviations."""
    known = np.isfinite(values)
    last = np.maximum.accumulate(np.where(known, np.arange(values.size), -1))
    learned = values[:first][known[:first]]
    # In shares of the largest reading: neither squares nor distances overflow.
    size = (float(np.abs(learned).max()) if learned.size else 0.0) or 1.0
    learned = learned / size if learned.size else np.zeros(1)
    centre = float(np.median(learned))
    unit = float(learned.std()) or _AT_REST * abs(centre) or 1.0
    with np.errstate(over="ignore"):
        shares = np.where(last >= 0, values[last] / size, centre)
        return np.clip((shares - centre) / unit, -_FAR, _FAR)


@compiled(error_model="numpy")
def _nearest(x: Any, rows: Any, step: Any, furthest: Any, nearest: Any) -> None:  # pragma: no cover
    """Write the least mean square of each row's window about its mean to an earlier one's."""
    for lag in range(rows, min(furthest, x.size - 1) + 1, step):
        total, squares = 0.0, 0.0
        for t in range(lag, x.size):
            apart = x[t] - x[t - lag]
            total += apart
            squares += apart * apart
            if t - lag >= rows:
                gone = x[t - rows] - x[t - lag - rows]
                total -= gone
                squares -= gone * gone
            if t - lag >= rows - 1:
                square = max(squares / rows - (total / rows) ** 2, 0.0)
                nearest[t] = min(nearest[t], square)
