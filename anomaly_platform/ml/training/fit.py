"""Fits one series: from its feature columns to a model, calibration scores and quality.

`series` says how the rows are split; `fleet` calls this for every series.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Self

import numpy as np

from anomaly_platform.ml.arrays import Bools, Columns, Floats, Ints
from anomaly_platform.ml.calibration.conformal import KNOTS, P_FLOOR, Calibration
from anomaly_platform.ml.detectors.base import derive_seed
from anomaly_platform.ml.detectors.series_forest import SeriesForest
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.series_model.inputs import (
    InputModel,
    input_schema,
    related_names,
    spread_names,
)
from anomaly_platform.ml.series_model.level_shift import PositionModel, level_names
from anomaly_platform.ml.series_model.model import (
    CROSS_BLOCKS,
    SeriesModel,
    calibration_start,
    required_history,
)
from anomaly_platform.ml.series_model.visited import nothing_visited, visited_by
from anomaly_platform.ml.series_runs.fold import fold_unseen
from anomaly_platform.ml.series_runs.model import RunModel
from anomaly_platform.ml.training.outlier_trimming import (
    MOST,
    decided_by_few,
    few_decide,
    outliers,
    spikes,
)
from anomaly_platform.ml.training.quality import SeriesQuality, measure
from anomaly_platform.ml.training.unreported import suspects


@dataclass(frozen=True)
class FleetPolicy:
    """How the series of a stream are trained.

    Attributes
    ----------
    alpha
        Share of normal readings in (0, 1) that may lie above the standard threshold.
    threshold
        Score from which a reading is an anomaly, in (0, 1).
    seed
        Every series derives its own from it and its key.
    min_samples
        Readings with a value below which a series is not trained.
    contamination
        Largest share of rows that fitting may set aside as suspect; it never sets the alarm rate.
    trees
        Trees of a forest.
    evaluate
        Whether to measure each series' quality with injected anomalies.
    """

    alpha: float = 0.01
    threshold: float = 0.7
    seed: int = 42
    min_samples: int = 100
    contamination: float = 0.1
    trees: int = 100
    evaluate: bool = True


@dataclass(frozen=True)
class FittedSeries:
    """A trained series.

    Attributes
    ----------
    model
        Its model, calibrated on its own calibration part.
    times, scores
        (c,) times and raw scores of the calibration part: the newest fifth or, where that is
        shorter than 1/alpha rows and the history is not, all fifths, each judged by the others.
    kept
        (c,) which of its rows are calibrated on: those that are no outliers.
    p_values
        (c,) p-values of the calibration part's blocks, each from the others.
    quality
        What was measured.
    held_out
        How many of the newest rows `model` was not fitted on.
    """

    model: SeriesModel
    times: Ints
    scores: Floats
    kept: Bools
    p_values: Floats
    quality: SeriesQuality
    held_out: int

    @property
    def ordinary(self) -> Floats:
        """The raw scores that are calibrated on."""
        return self.scores[self.kept]

    def followed_by(self, times: Ints, values: Floats) -> Self:
        """Return the series with later rows, (n,) each, which only its state has seen."""
        last = self.model.runs.last.copy()
        fold_unseen(last, times, values)
        runs = replace(self.model.runs, last=last)
        return replace(self, model=replace(self.model, runs=runs))


def fit_series(
    key: tuple[str, str],
    times: Ints,
    columns: Columns,
    feature_set: MetricFeatureSet,
    policy: FleetPolicy,
) -> FittedSeries:
    """Train one series.

    Parameters
    ----------
    key
        Entity and metric.
    times
        (n,) microseconds since 1970, ascending.
    columns
        (n,) feature columns, NaN where one does not exist.
    feature_set
        What the columns are.
    policy
        How to train.

    Raises
    ------
    ValueError
        When the columns hold what no model can be fitted on.
    """
    seed = derive_seed(policy.seed, *key)
    present = ~np.isnan(columns["value"])
    full: Columns = {name: columns[name] for name in _read(feature_set)}
    clock = times
    if not present.all():
        full, clock = _rows(full, present), times[present]
    start = calibration_start(clock.size)
    usual = usual_rows(clock, full["value"], feature_set, policy, start)
    if not usual.all():
        # Those held out are judged all the same: they count for the host.
        taken = usual | (np.arange(clock.size) >= start)
        full, clock, usual = _rows(full, taken), clock[taken], usual[taken]
        start -= int(np.count_nonzero(~taken))
    held_out = clock.size - start
    enough = max(math.ceil(1.0 / policy.alpha), feature_set.windows[-1])
    crossed = held_out < 1.0 / policy.alpha and clock.size >= enough
    few = few_decide(policy.alpha, clock.size if crossed else held_out)
    ordinary, ordinary_times = (full, clock) if usual.all() else (_rows(full, usual), clock[usual])
    fit = partial(_Parts.fit, feature_set=feature_set, policy=policy, seed=seed, forgets=few)
    parts = fit(clock, full, start, (ordinary_times, ordinary))
    judged = [parts]
    if crossed:
        judged = [*_judged_by_others(fit, clock, full, start, feature_set.windows[:2][-1]), parts]
    position, scores, kept = _calibrated(judged, full["value"], usual, feature_set, policy)
    calibration = Calibration.fit(scores[kept], tail_floor=SeriesForest.tail_floor)
    history = required_history({name: column[start:] for name, column in full.items()}, feature_set)
    values = ordinary["value"]
    runs = RunModel.fit(ordinary_times, values, feature_set.windows[-1], forgets=few)
    # A counter is somewhere for the first time with each reading.
    visited = nothing_visited() if runs.counts else visited_by(values, int(clock[0]))
    model = SeriesModel(parts.inputs, parts.detector, position, calibration, history, runs, visited)
    calibrating = clock[-scores.size :]
    fitted = FittedSeries(
        model, calibrating, scores, kept, np.ones(scores.size), SeriesQuality(), held_out
    )
    if scores.size < 2:
        return fitted
    if policy.evaluate:
        middle = scores.size - held_out // 2
        row = int(np.searchsorted(times, calibrating[middle]))
        first = Calibration.fit(scores[:middle][kept[:middle]], tail_floor=SeriesForest.tail_floor)
        quality = measure(
            model, first, times, columns["value"], row, feature_set, alpha=policy.alpha, seed=seed
        )
        fitted = replace(fitted, quality=quality)
    return replace(fitted, p_values=cross_p_values(scores, kept))


@dataclass(frozen=True)
class _Parts:
    """What raw scores are made of, and what it says of the rows that it was not fitted on."""

    inputs: InputModel
    detector: SeriesForest
    position: PositionModel
    related: Floats
    distances: Floats

    @classmethod
    def fit(
        cls,
        times: Ints,
        rows: Columns,
        start: int,
        ordinary: tuple[Ints, Columns],
        *,
        feature_set: MetricFeatureSet,
        policy: FleetPolicy,
        seed: int,
        forgets: bool,
        serves: bool = True,
    ) -> Self:
        """Fit on the rows before `start` and judge the others; levels are those of `ordinary`.

        Parts that do not serve know their levels no better than that needs.
        """
        inputs, matrix = InputModel.fit_and_derive(times, rows, feature_set, start, forgets=forgets)
        detector = SeriesForest(
            input_schema(feature_set), n_trees=policy.trees, contamination=policy.contamination
        ).fit(matrix[:start], seed=seed)
        position = PositionModel.fit(*ordinary, feature_set, start, serves=serves)
        rest = {name: column[start:] for name, column in rows.items()}
        distances = position.levels(times[start:], rest, feature_set).distance
        return cls(inputs, detector, position, detector.score(matrix[start:]), distances)


def _judged_by_others(
    fit: Callable[..., _Parts], times: Ints, rows: Columns, start: int, memory: int
) -> list[_Parts]:
    """Judge each fifth of a short history but the newest by parts fitted on the other four.

    A newest fifth of fewer than 1/alpha rows cannot show what is rare, and other series' scores
    say little of this one's. All fifths together can (cross-conformal prediction, Vovk 2015). Only
    a history that fills the longest window is so judged: fifths of a shorter one have too little
    in common, as those of half a day.

    The `memory` rows after a fifth, another fifth at most, are left out of what judges it: their
    windows contain it, and an incident would teach its own aftermath (purging; López de Prado
    2018). Rows before it stay, as they do before readings that the served model judges.
    """
    found, all_rows = [], np.arange(times.size)
    for block in np.array_split(all_rows[:start], CROSS_BLOCKS - 1):
        others = np.delete(all_rows, slice(block[0], block[-1] + 1 + min(memory, block.size)))
        order = np.concatenate((others, block))
        known = (times[others], _rows(rows, others))
        found.append(fit(times[order], _rows(rows, order), others.size, known, serves=False))
    return found


def _calibrated(
    judged: list[_Parts],
    values: Floats,
    usual: Bools,
    feature_set: MetricFeatureSet,
    policy: FleetPolicy,
) -> tuple[PositionModel, Floats, Bools]:
    """Return the calibrated levels, (c,) raw scores and which rows of them are calibrated on.

    The last of `judged` is what serves; the rows of all of them are the newest ones of the series,
    whose readings are (n,) `values`.
    """
    related = np.concatenate([part.related for part in judged])
    distances = np.concatenate([part.distances for part in judged])
    rows, shortest = related.size, feature_set.windows[0]
    kept = usual[-rows:]
    position = judged[-1].position.calibrated(distances[kept], related[kept])
    scores = np.maximum(related, position.worth(distances))
    kept = without_outliers(scores, kept, policy)
    kept &= ~spikes(values, policy.alpha, rows, shortest)[-rows:]
    if not kept.all():
        position = position.calibrated(distances[kept], related[kept])
        scores = np.maximum(related, position.worth(distances))
    return position, scores, kept


def usual_rows(
    times: Ints, values: Floats, feature_set: MetricFeatureSet, policy: FleetPolicy, start: int
) -> Bools:
    """Return (n,) which rows look like no unreported incident; all where too few could calibrate.

    As with `outliers`, only where few calibration rows, those from `start` on, decide what is rare.
    """
    everything = np.ones(times.size, dtype=np.bool_)
    if not decided_by_few(policy.alpha, times.size - start):
        return everything
    frequency = round(feature_set.frequency.total_seconds() * 1e6)
    usual = ~suspects(times, values, frequency, feature_set.windows[0], policy.contamination)
    held_out = usual[start:]
    enough = held_out.mean() >= 1.0 - MOST and held_out.sum() * policy.alpha >= 1.0
    return usual if enough else everything


def without_outliers(scores: Floats, usual: Bools, policy: FleetPolicy) -> Bools:
    """Return (c,) which calibration rows are usual and no outliers of those.

    Both together set aside no more than outliers alone may.
    """
    kept = usual.copy()
    count, share = int(usual.sum()), min(policy.contamination, MOST)
    left = max(share * usual.size - (usual.size - count), 0.0) / max(count, 1)
    kept[kept] = ~outliers(scores[kept], left, policy.alpha)
    return kept


@cache
def _read(feature_set: MetricFeatureSet) -> tuple[str, ...]:
    """Return the features that a model is fitted on, each once."""
    longest = feature_set.windows[-1]
    names = (*related_names(feature_set), *spread_names(feature_set), *level_names(feature_set))
    return tuple(dict.fromkeys((*names, f"count_{longest}", f"jitter_{longest}")))


def _rows(columns: Columns, taken: Bools | Ints) -> Columns:
    return {name: column[taken] for name, column in columns.items()}


def cross_p_values(
    scores: Floats, kept: Bools, tail_floor: float | None = SeriesForest.tail_floor
) -> Floats:
    """Return (c,) p-values of c ≥ 2 calibration scores, each block judged by the other blocks.

    Those count with their kept rows (`outliers`) alone, but every row has a p-value. The tail is
    as in `Calibration.fit`.

    Against themselves the scores would be evenly spread by construction; against the other days
    they show how far one stretch of time differs from another.
    """
    from anomaly_platform.ml.calibration.kernels import cross_p_values as compiled

    count, found = min(CROSS_BLOCKS, scores.size), np.empty(scores.size)
    order = np.argsort(scores)
    if np.isfinite(scores).all() and compiled(
        scores, kept, order, count, tail_floor or 0.0, KNOTS, P_FLOOR, found
    ):
        return found
    blocks = np.array_split(scores, count)
    usual = [block[there] for block, there in zip(blocks, np.array_split(kept, count), strict=True)]
    return np.concatenate(
        [
            Calibration.fit(
                np.concatenate(usual[:i] + usual[i + 1 :]), tail_floor=tail_floor
            ).p_value(block)
            for i, block in enumerate(blocks)
        ]
    )
