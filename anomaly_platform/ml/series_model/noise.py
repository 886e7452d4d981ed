"""How much noisier, or quieter, a series has become than its training part was.

A level that changes slowly is followed by the trailing windows, noise that changes is not: it is
judged against the daily range, against training's steps and against training's distances, all of
which stay what they were. How noisy the last day was says the median size of its steps (`jitter`),
which half a day of something else does not move. Beyond what it rarely was in training, the noise
has *grown* by the ratio, and unusual means that much farther. Where the last day is clearly quieter
than every one in training, and the last hour quieter than its hours rarely were, the units of what
the noise alone decides shrink: quiet nights and Sundays that training knows shrink none, and once
the noise is back it takes a few readings until the units of training stand again.
"""

import numpy as np

from anomaly_platform.ml.arrays import Bools, Columns, Floats
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.order_statistics import median, median_of_sorted, quantile_of_sorted

#: Share of the longest window that must hold values for its statistics to be those of a cycle.
_FULL = 0.9
#: Numbers of `least_noise`.
LESS = 4
#: Quantile of the fit part's jitter beyond which it has grown.
_RARE = 0.99
#: Units shrink below this part of the least jitter of the fit part, …
_QUIETER = 0.75
#: … and below this quantile of the shortest window's spread.
_CALM = 0.1
#: Growth beyond this is not told apart.
MOST_GROWTH = 1e6


def settled(columns: Columns, feature_set: MetricFeatureSet, start: int) -> Bools:
    """Return (start,) rows before which the longest window was full; where none is, all.

    A window that fills up walks through the first cycle, and its statistics with it: a way that
    no later day has to go.

    Parameters
    ----------
    columns
        (n,) feature columns, n ≥ `start`.
    feature_set
        What the columns are.
    start
        First row of the calibration part, ≥ 1.
    """
    longest = feature_set.windows[-1]
    full = np.asarray(columns[f"count_{longest}"][:start] >= _FULL * longest)
    return full if full.any() else np.ones(start, dtype=np.bool_)


def rare_jitter(columns: Columns, feature_set: MetricFeatureSet, start: int) -> float:
    """Return the jitter that one settled row of the fit part in a hundred exceeds, ≥ 0.

    It is 0 for a series that most often does not move, such as a counter of errors: its rare
    jitter tells of the few days with incidents, not of noise. Parameters as in `settled`.
    """
    jitter = columns[f"jitter_{feature_set.windows[-1]}"][:start]
    ordered = np.sort(jitter[settled(columns, feature_set, start)])
    return quantile_of_sorted(ordered, _RARE) if median(ordered) > 0.0 else 0.0


def least_noise(columns: Columns, feature_set: MetricFeatureSet, start: int) -> Floats:
    """Return from when on units shrink, as `input_kernels.tighten` takes it.

    The values that the longest window holds then, the jitter and the shortest window's spread that
    are below what they were in the fit part, and the typical one of these spreads. Days that are
    quiet by habit, such as Sundays, are the least there was. Parameters as in `settled`.
    """
    full = settled(columns, feature_set, start)
    jitter = columns[f"jitter_{feature_set.windows[-1]}"][:start][full]
    spread = np.sort(columns[f"std_{feature_set.windows[0]}"][:start][full])
    if not median(jitter) > 0.0 or len(feature_set.windows) < 2:
        return never_less()
    calm, usual = quantile_of_sorted(spread, _CALM), median_of_sorted(spread)
    return np.array([_FULL * feature_set.windows[-1], _QUIETER * jitter.min(), calm, usual])


def never_less() -> Floats:
    """Return what `least_noise` does of a series whose units never shrink."""
    return np.zeros(LESS)


def growth(columns: Columns, feature_set: MetricFeatureSet, rare: float) -> Floats:
    """Return (n,) by how much the noise before each reading has grown, ≥ 1.

    Parameters
    ----------
    columns
        (n,) feature columns of rows with a value.
    feature_set
        What the columns are.
    rare
        From `rare_jitter`; where it is 0 there is no noise to compare with.
    """
    jitter = columns[f"jitter_{feature_set.windows[-1]}"]
    if not rare > 0.0:
        return np.ones(jitter.size)
    with np.errstate(over="ignore"):
        return np.minimum(np.maximum(jitter / rare, 1.0), MOST_GROWTH)
