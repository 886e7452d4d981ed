"""How much noisier, or quieter, a series has become than its training part was.

A level that changes slowly is followed by the trailing windows, noise that changes is not: it is
judged against the daily range, against training's steps and against training's distances, all of
which stay what they were. How noisy the last day was says the median size of its steps (`jitter`),
which half a day of something else does not move. Beyond what it rarely was in training, the noise
has *grown* by the ratio, and unusual means that much farther. Where the last day is clearly quieter
than every one of the fit part, and the last hour quieter than its hours rarely were, the units of
what the noise alone decides shrink: quiet nights and Sundays that the fit part knows shrink none,
and once the noise is back it takes a few readings until the units of training stand again.
"""

import numpy as np

from anomaly_platform.ml.arrays import Bools, Columns, Floats, Ints
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.order_statistics import median, median_of_sorted, quantile_of_sorted
from anomaly_platform.ml.series_model.input_kernels import (
    CALM,
    FULL,
    QUIET_JITTER,
    QUIET_UNITS,
    USUAL,
)

#: Share of the longest window that must hold values for its statistics to be those of a cycle.
_FULL = 0.9
#: Quantile of the fit part's jitter beyond which it has grown.
_RARE = 0.99
#: Units shrink only where the fit part is at least so long, in microseconds: one of weekdays alone
#: knows no quiet Sunday. The last of seven days need not be whole.
_LEAST_SPAN = round(6.9 * 86_400_000_000)
#: Units shrink below this part of the least jitter of the fit part, …
_QUIETER = 0.75
#: … and below this quantile of the shortest window's spread.
_CALM_SHARE = 0.1
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


def quiet_units(times: Ints, columns: Columns, feature_set: MetricFeatureSet, start: int) -> Floats:
    """Return from when on units shrink, as `input_kernels.shrink_units` takes it.

    Days that are quiet by habit, such as Sundays, are the least there was, and a fit part of less
    than a week may lack them. Parameters as in `settled`, and `times` are (n,) microseconds.
    """
    found = no_quiet_units()
    if times[start - 1] - times[0] < _LEAST_SPAN or len(feature_set.windows) < 2:
        return found
    full = settled(columns, feature_set, start)
    jitter = columns[f"jitter_{feature_set.windows[-1]}"][:start][full]
    spread = np.sort(columns[f"std_{feature_set.windows[0]}"][:start][full])
    if median(jitter) > 0.0:
        found[FULL] = _FULL * feature_set.windows[-1]
        found[QUIET_JITTER] = _QUIETER * jitter.min()
        found[CALM] = quantile_of_sorted(spread, _CALM_SHARE)
        found[USUAL] = median_of_sorted(spread)
    return found


def no_quiet_units() -> Floats:
    """Return what `quiet_units` does of a series whose units never shrink."""
    return np.zeros(QUIET_UNITS)


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
