"""How much noisier a series has become than its training part was.

A level that changes slowly is followed by the trailing windows, noise that changes is not: it is
judged against the daily range, against training's steps and against training's distances, all of
which stay what they were. How noisy the last day was says the median size of its steps (`jitter`),
which half a day of something else does not move. Beyond what it rarely was in training, the noise
has *grown* by the ratio, and unusual means that much farther.

Below what it rarely was, the noise has *shrunk*, and what is off by many times the new noise is
unusual, even where the noise of training would have hidden it. Less is known then than of growth: a
distance is noise and course together, and the course stays what it was. So a unit shrinks by the
part of it that the noise has in it (`Quiet`). And since noise may come back at any time, while the
last day knows of it half a day later only, the last readings have a say: the spreads of the two
shortest windows tell noise and slope apart.
"""

from typing import NamedTuple, Self

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
#: A normal distribution's quantile that is `_RARE` of absolute values.
_NORMAL_TAIL = 2.5758
#: Part that noise must have in the rare steps: elsewhere the typical ones say nothing of these.
_ONE_NOISE = 0.5
#: Share of steps of 0 at most: more where the last digit is as coarse as the noise, which then has
#: no size that could shrink.
_STILL = 0.05
#: How many times as wide as the noise its steps are.
_OF_STEP = 2.0**0.5


class Quiet(NamedTuple):
    """What shrinks with the noise of one series; nothing where `calm` is 0.

    Attributes
    ----------
    calm
        The longest window's jitter below which the noise has shrunk.
    rough
        Typical noise of the shortest window.
    usual
        Typical spread of the shortest window, floor included.
    of_place, of_step
        The part that noise has in the squares of the units of the first input and of the last.
    ratio
        How many times as wide a slope makes the second window, in squares, as the first.
    """

    calm: float = 0.0
    rough: float = 0.0
    usual: float = 0.0
    of_place: float = 0.0
    of_step: float = 0.0
    ratio: float = 0.0

    @classmethod
    def fit(
        cls,
        columns: Columns,
        feature_set: MetricFeatureSet,
        start: int,
        floor: float,
        step: float,
        tails: Floats,
    ) -> Self:
        """Learn from the rows before `start`; parameters as in `settled`, and of `InputModel`.

        Parameters
        ----------
        floor
            As in `input_kernels.relate`.
        step, tails
            Typical size of the first difference, and the units of the inputs.
        """
        if len(feature_set.windows) < 2:
            return cls()
        full = settled(columns, feature_set, start)
        jitter = np.sort(columns[f"jitter_{feature_set.windows[-1]}"][:start][full])
        first, second = (columns[f"std_{w}"][:start][full] for w in feature_set.windows[:2])
        ratio = float((feature_set.windows[1] / feature_set.windows[0]) ** 2)
        with np.errstate(over="ignore", invalid="ignore"):
            rough = median(np.sqrt(np.maximum((ratio * first**2 - second**2) / (ratio - 1), 0)))
            usual = float(np.hypot(median(first), floor))
            of_place = part_of_noise(step, usual * float(np.sinh(tails[0])))
            of_step = part_of_noise(step, step * float(np.sinh(tails[-1])) / _OF_STEP)
        calm = quantile_of_sorted(jitter, 1.0 - _RARE)
        found = cls(calm, rough, usual, of_place, of_step, ratio)
        still = float(np.mean(columns[f"diff_{feature_set.lags[0]}"][:start] == 0.0))
        one_noise = min(calm, rough) > 0.0 and of_step >= _ONE_NOISE and still <= _STILL
        return found if one_noise and np.isfinite(found).all() else cls()


def part_of_noise(step: float, unit: float) -> float:
    """Return the part, at most 1, that noise has in the square of a rare distance.

    Parameters
    ----------
    step
        Typical size of the first difference, which is √2 times the noise.
    unit
        The distance that one reading in a hundred exceeds, > 0.
    """
    noise = _NORMAL_TAIL / _OF_STEP * step / max(unit, np.finfo(np.float64).tiny)
    return float(min(noise * noise, 1.0))


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
