"""Z-score, IQR and MAD rules: three classical views of one value, and the fallback.

They compare a reading with the statistics of its own trailing window, which a feature row carries;
so they serve wherever no model does, from 30 readings on.

The three scores and how they are put on one scale (the standard deviations of a normal variable):

=========  ================================================  ==================================
`z_score`  ``|x - mean| / std``                              itself
`iqr`      distance outside the quartiles ``/ (q75 - q25)``  0.6745 + 1.349 score; 0 when inside
`mad`      ``|x - median| / MAD``                            score / 1.4826
=========  ================================================  ==================================

The combined raw score is the *median* of the three, so that one misled rule decides nothing: the
standard deviation by an old outlier, the others by a distribution in two lumps. Where the quartiles
or the MAD collapse (more than half of the history is one value) the distance from the median in
standard deviations stands in for them. Where all of the history is one value, the unchanged value
scores 0 and any other 1,000.
"""

import math
from typing import Any

import numpy as np

from anomaly_platform.ml.compiled import compiled

#: Rows of the history's statistics.
MEAN, STD, Q25, Q75, MEDIAN, MAD, COUNT = range(7)
#: Rows of what is written.
Z, IQR, MAD_SCORE, RAW, P = range(5)

#: What a value is compared with, in the order of the history's rows.
HISTORY = ("mean", "std", "q25", "q75", "median", "mad", "count")
#: Readings that the trailing window must hold before anything is said.
MIN_COUNT = 30
P_FLOOR = 1e-12
#: The largest score: what a change of a constant gets.
EXTREME = 1000.0
MAD_TO_SIGMA = 1.4826
_QUARTILE = 0.6745
_IQR_TO_SIGMA = 1.349


@compiled(error_model="numpy")
def _beyond_rounding(distance: float, value: float, level: float) -> float:  # pragma: no cover
    """Return a distance, 0 where rounding of sums (a relative 1e-9) can make it."""
    slack = 1e-9 * max(abs(value), abs(level))
    return distance if distance > slack else 0.0


@compiled(error_model="numpy")
def _spread(spread: float, level: float) -> float:  # pragma: no cover
    return spread if spread > 1e-9 * abs(level) else 0.0


@compiled(error_model="numpy")
def _ratio(distance: float, spread: float) -> float:  # pragma: no cover
    """Return distance / spread in 0 to 1,000, where 0 / 0 is 0."""
    if not distance > 0.0:
        return 0.0
    quotient = distance / spread
    if math.isnan(quotient):
        return EXTREME
    return min(quotient, EXTREME)


@compiled(error_model="numpy")
def sigma_p_value(sigma: float, floor: float) -> float:  # pragma: no cover
    """Return the two-sided p-value of a deviation ≥ 0 in standard deviations, at least `floor`.

    Student's t with four degrees of freedom, in closed form: telemetry has heavier tails than the
    normal distribution, and nothing has been calibrated where this is needed. 4.6 standard
    deviations have p = 0.01.
    """
    root = math.sqrt(4.0 + sigma * sigma)
    rest = 4.0 / (root * (root + sigma))  # 1 - sigma / root, without cancellation
    return max(0.5 * rest * rest * (3.0 - rest), floor)


@compiled(error_model="numpy")
def statistical_rows(
    values: Any, history: Any, least: float, floor: float, out: Any
) -> None:  # pragma: no cover
    """Write z-score, IQR and MAD score, their combination and its p-value, (5, n).

    Parameters
    ----------
    values, history
        (n,) readings and (7, n) statistics of what each is compared with.
    least
        Values that the history must hold.
    floor
        Smallest p-value.
    out
        Filled; NaN where the history is too short.
    """
    for i in range(values.size):
        value = values[i]
        if not (history[COUNT, i] >= least and math.isfinite(value)):
            for k in range(5):
                out[k, i] = np.nan
            continue
        mean, median = history[MEAN, i], history[MEDIAN, i]
        q25, q75 = history[Q25, i], history[Q75, i]
        std = _spread(history[STD, i], mean)
        z = _ratio(_beyond_rounding(abs(value - mean), value, mean), std)
        from_median = _beyond_rounding(abs(value - median), value, median)
        plain = _ratio(from_median, std)
        outside = max(q25 - value, value - q75)
        outside = _beyond_rounding(max(outside, 0.0), value, median)
        width = _spread(q75 - q25, median)
        iqr = _ratio(outside, width) if width > 0.0 else plain / _IQR_TO_SIGMA
        deviation = _spread(history[MAD, i], median)
        mad = _ratio(from_median, deviation) if deviation > 0.0 else plain * MAD_TO_SIGMA
        beyond = _QUARTILE + _IQR_TO_SIGMA * iqr if iqr > 0.0 else 0.0
        iqr_sigma = beyond if width > 0.0 else plain
        mad_sigma = mad / MAD_TO_SIGMA if deviation > 0.0 else plain
        low, high = min(z, iqr_sigma), max(z, iqr_sigma)
        sigma = min(max(low, min(high, mad_sigma)), EXTREME)
        out[Z, i], out[IQR, i], out[MAD_SCORE, i] = z, iqr, min(mad, EXTREME)
        out[RAW, i] = sigma
        out[P, i] = sigma_p_value(sigma, floor)
