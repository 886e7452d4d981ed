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
from anomaly_platform.ml.evaluation.injection import inject, possible_kinds, robust_scale
from anomaly_platform.ml.evaluation.measures import Confusion
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.metrics.kernel_threads import run_kernel
from anomaly_platform.ml.scoring.model_stack import Columns, ModelStack
from anomaly_platform.ml.series_model.model import SeriesModel
from anomaly_platform.ml.training.quality_kernels import count_decisions

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
    stack, columns = ModelStack.of(model), _columns(feature_set)

    def judge(variants: list[Floats]) -> tuple[Bools, Bools]:
        """Return (variants, rows): flagged or not, and whether there is a value to be judged."""
        count = len(variants)
        features = run_kernel(
            feature_set,
            np.tile(times, count),
            np.concatenate(variants),
            np.arange(count + 1) * times.size,
            int(times[start]),
            count * rows,
        )
        clock = np.tile(times[start:], count)
        present = ~np.isnan(features[0])
        if not present.all():
            features, clock = features[:, present], clock[present]
        flagged = np.zeros(present.size, dtype=np.bool_)
        raw = stack.score_series(clock, features, columns).raw
        flagged[present] = calibration.p_value(raw) <= alpha
        return flagged.reshape(count, rows), present.reshape(count, rows)

    scale, later = robust_scale(values[:first]), clean[start:]
    kinds = possible_kinds(later, scale)
    injections = [
        inject(later, seed=seed + round_, rate=INJECTED_SHARE, scale=scale, possible=kinds)
        for round_ in range(min(_MOST_ROUNDS, max(1, _ENOUGH_ROWS // rows)))
    ]
    flagged, present = judge(
        [clean, *(np.concatenate((clean[:start], i.values)) for i in injections)]
    )
    if not present[0].any():
        return SeriesQuality()
    counts = np.zeros(6, dtype=np.int64)
    for injection, decided, there in zip(injections, flagged[1:], present[1:], strict=True):
        count_decisions(injection.labels, decided, there, counts)
    *decisions, events, found = counts.tolist()
    total = Confusion(*decisions)
    return SeriesQuality(
        total.balanced_accuracy,
        float(flagged[0, present[0]].mean()),
        total.recall,
        found / events if events else None,
    )
