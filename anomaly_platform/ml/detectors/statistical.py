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

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from anomaly_platform.ml.detectors.base import FloatArray
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet

MIN_COUNT = 30
"""Readings that the trailing window must hold before anything is said."""

EXTREME = 1000.0
"""The largest score: what a change of a constant gets."""

P_FLOOR = 1e-12

_MAD_TO_SIGMA = 1.4826
_QUARTILE = 0.6745
_IQR_TO_SIGMA = 1.349


@dataclass(frozen=True)
class WindowStatistics:
    """What the rules compare a value with: arrays of one shape, or scalars.

    Attributes
    ----------
    mean, std, q25, q75, median
        Of the history; the standard deviation is that of the population.
    mad
        Median absolute deviation from the median, not scaled.
    count
        Number of values in the history.
    """

    mean: FloatArray
    std: FloatArray
    q25: FloatArray
    q75: FloatArray
    median: FloatArray
    mad: FloatArray
    count: FloatArray


@dataclass(frozen=True)
class StatisticalScores:
    """The rules' verdict on each of n readings; NaN where the history is too short for one.

    Attributes
    ----------
    z, iqr, mad
        The three scores in their own units, 0 to 1,000, (n,).
    raw
        Their combination in standard deviations, 0 to 1,000, (n,).
    p_value
        Of ``raw`` under a heavy-tailed standard distribution, 1e-12 to 1, (n,).
    """

    z: FloatArray
    iqr: FloatArray
    mad: FloatArray
    raw: FloatArray
    p_value: FloatArray


def statistical_scores(value: FloatArray, history: WindowStatistics) -> StatisticalScores:
    """Score values against histories of which they are no part.

    Parameters
    ----------
    value
        Readings, (n,); NaN = missing, which scores NaN.
    history
        The statistics for each reading, (n,) or scalars.

    Returns
    -------
    StatisticalScores
        NaN wherever ``count`` is below 30.
    """
    with np.errstate(all="ignore"):
        std = _spread_beyond_rounding(history.std, history.mean)
        z = _ratio(_beyond_rounding(np.abs(value - history.mean), value, history.mean), std)
        from_median = _beyond_rounding(np.abs(value - history.median), value, history.median)
        plain = _ratio(from_median, std)
        outside = np.maximum(history.q25 - value, value - history.q75)
        outside = _beyond_rounding(np.maximum(outside, 0.0), value, history.median)
        width = _spread_beyond_rounding(history.q75 - history.q25, history.median)
        iqr = np.where(width > 0.0, _ratio(outside, width), plain / _IQR_TO_SIGMA)
        deviation = _spread_beyond_rounding(history.mad, history.median)
        mad = np.where(deviation > 0.0, _ratio(from_median, deviation), plain * _MAD_TO_SIGMA)
        beyond = np.where(iqr > 0.0, _QUARTILE + _IQR_TO_SIGMA * iqr, 0.0)
        iqr_sigma = np.where(width > 0.0, beyond, plain)
        mad_sigma = np.where(deviation > 0.0, mad / _MAD_TO_SIGMA, plain)
        low, high = np.minimum(z, iqr_sigma), np.maximum(z, iqr_sigma)
        raw = np.maximum(low, np.minimum(high, mad_sigma))
    usable = (np.asarray(history.count) >= MIN_COUNT) & np.isfinite(value)
    z, iqr, mad, raw = (
        np.where(usable, np.minimum(score, EXTREME), np.nan) for score in (z, iqr, mad, raw)
    )
    return StatisticalScores(z, iqr, mad, raw, sigma_p_value(raw))


def sigma_p_value(sigma: FloatArray) -> FloatArray:
    """Return the two-sided p-value of a deviation in standard deviations.

    Student's t with four degrees of freedom, in closed form: telemetry has heavier tails than the
    normal distribution, and nothing has been calibrated where this is needed. 4.6 standard
    deviations have p = 0.01.

    Parameters
    ----------
    sigma
        Deviations >= 0, (n,); NaN stays NaN.

    Returns
    -------
    numpy.ndarray
        (n,), strictly falling until the floor of 1e-12.

    Examples
    --------
    >>> sigma_p_value(np.array([0.0, 4.604])).round(4).tolist()
    [1.0, 0.01]
    """
    root = np.sqrt(4.0 + sigma * sigma)
    rest = 4.0 / (root * (root + sigma))  # 1 - sigma / root, without cancellation
    return np.maximum(0.5 * rest * rest * (3.0 - rest), P_FLOOR)


def fallback_scores(
    columns: Mapping[str, FloatArray], feature_set: MetricFeatureSet
) -> StatisticalScores:
    """Score readings by the statistics of their own trailing window, the largest of the set.

    Parameters
    ----------
    columns
        Feature columns by name, (n,) each, as `MetricFeatureSet.compute` gives them.
    feature_set
        What the columns are.

    Returns
    -------
    StatisticalScores
        NaN where the window holds fewer than 30 values.
    """
    window = feature_set.windows[-1]
    history = WindowStatistics(
        *(
            columns[f"{name}_{window}"]
            for name in ("mean", "std", "q25", "q75", "median", "mad", "count")
        )
    )
    return statistical_scores(columns["value"], history)


def _beyond_rounding(distance: FloatArray, value: FloatArray, level: FloatArray) -> FloatArray:
    """Return distances, with what rounding of sums can make (a relative 1e-9) set to zero."""
    slack = 1e-9 * np.maximum(np.abs(value), np.abs(level))
    return np.where(distance > slack, distance, 0.0)


def _spread_beyond_rounding(spread: FloatArray, level: FloatArray) -> FloatArray:
    return np.where(spread > 1e-9 * np.abs(level), spread, 0.0)


def _ratio(distance: FloatArray, spread: FloatArray) -> FloatArray:
    """Return distance / spread in 0 to 1,000, where 0 / 0 is 0."""
    quotient = np.where(distance > 0.0, distance / spread, 0.0)
    return np.where(np.isnan(quotient), EXTREME, np.minimum(quotient, EXTREME))
