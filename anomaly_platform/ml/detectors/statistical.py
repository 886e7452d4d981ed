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

from dataclasses import dataclass

import numpy as np

from anomaly_platform.ml.arrays import Floats

MIN_COUNT = 30
"""Readings that the trailing window must hold before anything is said."""

P_FLOOR = 1e-12


HISTORY = ("mean", "std", "q25", "q75", "median", "mad", "count")
"""What a value is compared with, in the order of `WindowStatistics`."""


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

    mean: Floats
    std: Floats
    q25: Floats
    q75: Floats
    median: Floats
    mad: Floats
    count: Floats


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

    z: Floats
    iqr: Floats
    mad: Floats
    raw: Floats
    p_value: Floats


def statistical_scores(value: Floats, history: WindowStatistics) -> StatisticalScores:
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
    from anomaly_platform.ml.detectors.statistical_kernels import statistical_rows

    table, out = np.empty((len(HISTORY), value.size)), np.empty((5, value.size))
    for row, statistic in zip(table, vars(history).values(), strict=True):
        row[:] = statistic
    statistical_rows(np.ascontiguousarray(value), table, MIN_COUNT, P_FLOOR, out)
    return StatisticalScores(*out)
