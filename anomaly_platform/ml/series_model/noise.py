"""How much noisier a series has become than its training part was.

A level that changes slowly is followed by the trailing windows, noise that changes is not: it is
judged against the daily range, against training's steps and against training's distances, all of
which stay what they were. How noisy the last day was says the median size of its steps (`jitter`),
which half a day of something else does not move. Beyond what it rarely was in training, the noise
has *grown* by the ratio, and unusual means that much farther. Noise that becomes less is no growth:
the units of training stand.
"""

import numpy as np

from anomaly_platform.ml.arrays import Bools, Columns, Floats
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.order_statistics import median, quantile_of_sorted

#: Share of the longest window that must hold values for its statistics to be those of a cycle.
_FULL = 0.9
#: Quantile of the fit part's jitter beyond which it has grown.
_RARE = 0.99
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
