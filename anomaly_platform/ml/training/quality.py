"""Measures the quality of a freshly trained series without labels.

Anomalies of the known kinds are injected into rows that neither the model nor the calibration in
use has seen; the features are computed anew, as they would have come; the decision at the
standard threshold is compared with what was injected. The same seed gives the same figures.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.ml.calibration.conformal import Calibration
from anomaly_platform.ml.evaluation.injection import (
    Injection,
    inject,
    possible_kinds,
    robust_scale,
)
from anomaly_platform.ml.evaluation.measures import Confusion
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.metrics.kernel_threads import run_kernel
from anomaly_platform.ml.scoring.model_stack import Columns, ModelStack
from anomaly_platform.ml.series_model.model import SeriesModel
from anomaly_platform.ml.training.quality_kernels import COUNTS, count_decisions, lay_variants

#: Share of the rows that injected anomalies take.
INJECTED_SHARE = 0.1
#: Fewest rows worth measuring on.
_FEWEST_ROWS = 30
#: A short part is measured several times with other anomalies, until so many rows were judged.
_ENOUGH_ROWS = 1500
_MOST_ROUNDS = 4
_columns = lru_cache(maxsize=8)(Columns)


@dataclass(frozen=True)
class SeriesQuality:
    """What was measured; None where there was too little to measure.

    Attributes
    ----------
    balanced_accuracy
        Mean of the shares of injected and of other rows decided rightly, in [0, 1]; 0.5 is chance.
    false_positive_rate
        Share of the rows flagged when nothing was injected, in [0, 1].
    true_positive_rate
        Share of the injected rows that are flagged, in [0, 1].
    event_recall
        Share of the injected anomalies of which at least one row is flagged, in [0, 1].
    """

    balanced_accuracy: float | None = None
    false_positive_rate: float | None = None
    true_positive_rate: float | None = None
    event_recall: float | None = None


def measure(
    model: SeriesModel,
    calibration: Calibration,
    times: Ints,
    values: Floats,
    first: int,
    feature_set: MetricFeatureSet,
    *,
    alpha: float,
    seed: int,
) -> SeriesQuality:
    """Measure a model on the rows from `first` on.

    Parameters
    ----------
    model
        Fitted on earlier rows; its own calibration is not used.
    calibration
        Fitted on rows before `first`.
    times, values
        (n,) the whole series: microseconds since 1970, and readings with NaN where one is missing.
    first
        First row to measure on; earlier ones are the look-back.
    alpha
        Share of normal readings that may be flagged.
    seed
        Of the injected anomalies.
    """
    rows = times.size - first
    if rows < _FEWEST_ROWS:
        return SeriesQuality()
    begin = max(0, first - feature_set.capacity)
    clean = values[begin:]
    times = times[begin:]
    start = first - begin
    scale, later = robust_scale(values[:first]), clean[start:]
    kinds = possible_kinds(later, scale)
    injections = [
        inject(later, seed=seed + round_, rate=INJECTED_SHARE, scale=scale, possible=kinds)
        for round_ in range(min(_MOST_ROUNDS, max(1, _ENOUGH_ROWS // rows)))
    ]
    # Up to its first anomaly a variant is the clean one, and so is what is decided there.
    judged = np.array([rows, *(rows - _before(i) for i in injections)])
    flagged, present = _judge(
        ModelStack.of(model),
        calibration,
        *(times, clean, np.array([i.values for i in injections]), judged),
        feature_set,
        alpha,
    )
    counts = np.zeros(COUNTS, dtype=np.int64)
    labels = np.array([i.labels for i in injections])
    count_decisions(labels, flagged, present[:rows], judged, counts)
    *decisions, events, found, there, wrong = counts.tolist()
    if not there:
        return SeriesQuality()
    total = Confusion(*decisions)
    return SeriesQuality(
        total.balanced_accuracy,
        wrong / there,
        total.recall,
        found / events if events else None,
    )


def _before(injection: Injection) -> int:
    """Return the rows before the first anomaly."""
    return injection.events[0].start if injection.events else injection.labels.size


def _judge(
    stack: ModelStack,
    calibration: Calibration,
    times: Ints,
    clean: Floats,
    changed: Floats,
    judged: Ints,
    feature_set: MetricFeatureSet,
    alpha: float,
) -> tuple[Bools, Bools]:
    """Return which rows are flagged, and which have a value that can be: the judged ones alone.

    Parameters
    ----------
    times, clean
        (n,) times, and readings of the first variant.
    changed
        (variants − 1, m) the last readings of each of the others.
    judged
        (variants,) how many of the last rows of each.
    """
    count, rows = judged.size, int(judged.sum())
    all_times, since, clock = (
        np.empty(k, dtype=np.int64) for k in (count * times.size, count, rows)
    )
    values = np.empty(count * times.size)
    lay_variants(times, clean, changed, judged, all_times, values, since, clock)
    offsets = np.arange(count + 1) * times.size
    features = run_kernel(feature_set, all_times, values, offsets, since, rows)
    present = ~np.isnan(features[0])
    if not present.all():
        features, clock = features[:, present], clock[present]
    flagged = np.zeros(rows, dtype=np.bool_)
    raw = stack.score_series(clock, features, _columns(feature_set)).raw
    flagged[present] = calibration.p_value(raw) <= alpha
    return flagged, present
