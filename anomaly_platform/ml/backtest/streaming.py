"""Backtests one frame as it comes.

`streaming` walks through the frame: it learns from the first rows and goes on in order of time,
learning again as the past grows, and never uses what comes later. Its score says when a stream
should call (`ml.scoring.alarms`, `ml.scoring.novelty`): evidence is gathered over a few rows, an
alarm that goes on is not repeated, and a value in a range that was never visited is called. What is
no call is ranked by the shape of the last rows where there is one metric (`shapes`).
"""

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from anomaly_platform.ml.backtest.explained import by_novelty
from anomaly_platform.ml.backtest.series import (
    Backtest,
    collected,
    feature_set_for,
    fitted,
    long_of,
    runs_after_training,
)
from anomaly_platform.ml.backtest.shapes import distances, ranked
from anomaly_platform.ml.calibration.conformal import p_of_score, score_of_p
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.frames import IntoDataFrame, to_polars
from anomaly_platform.ml.scoring.alarms import GATHERED_ROWS, announce, gather
from anomaly_platform.ml.scoring.novelty import Novel, on_top
from anomaly_platform.ml.training.fit import FleetPolicy

Progress = Callable[[int, int], None]

#: A stream learns again when its past has grown by this factor, …
RELEARN_FACTOR = 1.2
#: … from this many of its last rows at most.
LEARN_ROWS = 10_000

#: Why a stream calls at a row that is unusual only with those before it.
_GATHERED = f"the last {GATHERED_ROWS} rows are unusual together, the last one not enough by itself"


def streaming(
    series: IntoDataFrame,
    *,
    time_column: str,
    probation: float = 0.15,
    most_probation_rows: int = 750,
    policy: FleetPolicy | None = None,
    feature_set: MetricFeatureSet | None = None,
    progress: Progress | None = None,
) -> Backtest:
    """Learn from the first rows of one wide frame and score the rest as it comes.

    The model learns again each time the past has grown by a fifth, from its last 10,000 rows.
    The probation rows themselves have no score. The scores of single metrics are each reading's
    own.

    Parameters
    ----------
    series
        `time_column` (a datetime) and a numeric column per metric; null = missing.
    time_column
        Name of the column of times.
    probation
        Share of the rows, in (0, 1), that is learned from before the first score.
    most_probation_rows
        Upper bound of that share in rows.
    policy, feature_set
        As in `series.train_test`; the frequency comes from the probation rows.
    progress
        Called with rows done and rows in all.

    Raises
    ------
    ValueError
        When there are too few rows to learn and to score.
    """
    policy = policy or FleetPolicy(evaluate=False)
    rows = to_polars(series).sort(time_column)
    metrics = [name for name in rows.columns if name != time_column]
    first = min(math.floor(probation * rows.height), most_probation_rows)
    if not 0 < first < rows.height:
        raise ValueError(f"{rows.height} rows are too few for a probation of {probation:.0%}")
    feature_set = feature_set or feature_set_for(rows[:first][time_column])
    features = feature_set.compute(long_of(rows, time_column))
    moments = features["event_time"].unique().sort()
    parts: list[pl.DataFrame] = []
    seconds = 0.0
    begin = first
    with tempfile.TemporaryDirectory(prefix="backtest-") as folder:
        while begin < moments.len():
            end = min(moments.len(), max(begin + 1, math.ceil(begin * RELEARN_FACTOR)))
            learned = _between(features, moments, max(0, begin - LEARN_ROWS), begin)
            scorer = fitted(learned, feature_set, policy, Path(folder) / f"bundle-{begin}")
            clock = time.perf_counter()
            runs = runs_after_training(scorer)
            parts.append(scorer.score(_between(features, moments, begin, end), runs))
            seconds += time.perf_counter() - clock
            begin = end
            if progress is not None:
                progress(begin, moments.len())
    scored = pl.concat(parts).sort("entity", "metric", "event_time")
    result = collected(scored, metrics, policy.threshold, seconds)
    wide = rows.unique(time_column, keep="first", maintain_order=True)
    novel = {
        name: Novel.of(wide[name].cast(pl.Float64).fill_null(float("nan")).to_numpy(), first)
        for name in metrics
    }
    return _as_alarms(result, policy.alpha, feature_set, novel)


def _between(features: pl.DataFrame, moments: pl.Series, begin: int, end: int) -> pl.DataFrame:
    """Return the rows of the times begin … end − 1."""
    return features.filter(pl.col("event_time").is_between(moments[begin], moments[end - 1]))


def _as_alarms(
    result: Backtest, alpha: float, feature_set: MetricFeatureSet, novel: dict[str, Novel]
) -> Backtest:
    """Return the result with the score and the flags of a stream that someone watches."""
    known = ~np.isnan(result.score)
    p = np.full(result.score.size, np.nan)
    p[known] = p_of_score(result.score[known], alpha)
    gathered = gather(p)
    score = np.full(result.score.size, np.nan)
    score[known] = score_of_p(gathered[known], alpha)
    score = announce(score, gathered, result.threshold, feature_set)
    calls = np.any([one.calls for one in novel.values()], axis=0)
    score = on_top(score, calls, result.threshold)
    if len(novel) == 1:
        one, longest = next(iter(novel.values())), feature_set.windows[-1]
        distance = distances(one.values, one.first, longest)[one.first :]
        score = ranked(score, distance, p, result.threshold, longest)
    flags = np.nan_to_num(score, nan=0.0) >= result.threshold
    causes, reasons = result.causes.to_list(), result.reasons.to_list()
    new: dict[int, list[str]] = {}
    for row in np.flatnonzero(calls).tolist():
        found = new[row] = [name for name, one in novel.items() if one.calls[row]]
        said = [novel[name].words(row) for name in found]
        if len(novel) > 1:
            said = [f"{name}: {one}" for name, one in zip(found, said, strict=True)]
        causes[row] = [*found, *(name for name in causes[row] or () if name not in found)]
        reasons[row] = "; ".join(said)
    for row in np.flatnonzero(flags).tolist():
        if reasons[row] is None:
            reasons[row] = _GATHERED
    told = [
        pl.select(pl.when(pl.Series(flags)).then(pl.Series(one, dtype=kind))).to_series()
        for one, kind in ((causes, pl.List(pl.String)), (reasons, pl.String))
    ]
    result = replace(result, explanations=by_novelty(result.explanations, new))
    return replace(
        result, score=score, is_anomaly=flags, is_call=flags, causes=told[0], reasons=told[1]
    )
