"""Backtests the platform's metric pipeline over frames, without any service.

A wide frame has a row per time, one column of times and one per metric. It becomes the series of
one entity, and these go the way of every stream: features, bundle, scorer; nothing here scores by
other means. Reading and writing files, labels and reports are the command line's business.

`train_test` learns from one frame and scores another, every row by itself. `streaming` walks
through one frame: it learns from the first rows and goes on in order of time, learning again as
the past grows, and never uses what comes later. Its score says when a stream should call
(`ml.scoring.alarms`, `ml.scoring.novelty`): evidence is gathered over a few rows, an alarm that
goes on is not repeated, and a value in a range that was never visited is called. What is no call
is ranked by the shape of the last rows where there is one metric (`shapes`).
"""

import math
import tempfile
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Bools, Floats
from anomaly_platform.ml.backtest.explained import IS_CALL, by_novelty, explanations_of, reasons_of
from anomaly_platform.ml.backtest.shapes import distances, ranked
from anomaly_platform.ml.calibration.conformal import p_of_score, score_of_p
from anomaly_platform.ml.features.metrics.batch import microseconds
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.frames import IntoDataFrame, in_utc, to_polars
from anomaly_platform.ml.scoring.alarms import GATHERED_ROWS, announce, gather
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.scoring.novelty import Novel, on_top
from anomaly_platform.ml.series_runs.run_states import RunStates
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage

Progress = Callable[[int, int], None]

#: Rows that the longest window holds at least and at most, when it is to cover a day.
LONGEST_WINDOW = (288, 2880)
#: A stream learns again when its past has grown by this factor, …
RELEARN_FACTOR = 1.2
#: … from this many of its last rows at most.
LEARN_ROWS = 10_000

_ENTITY = "entity"
#: Why a stream calls at a row that is unusual only with those before it.
_GATHERED = f"the last {GATHERED_ROWS} rows are unusual together, the last one not enough by itself"


@dataclass(frozen=True)
class Backtest:
    """What a backtest says of each scored row.

    Attributes
    ----------
    times
        The rows' times, ascending.
    score
        (n,) the score over all metrics together, in [0, 1); NaN where there is none. In a stream of
        one metric it orders the rows below the threshold by how unlike earlier ones their shape is.
    is_anomaly
        (n,) whether it reaches the threshold; in a stream, whether the row raises an alarm.
    is_call
        (n,) whether somebody is told; in a stream, the same.
    metric_scores
        Per metric (n,) scores, NaN where there is none.
    causes
        (n,) lists of the metrics that caused an anomaly or a call, null elsewhere. In a stream,
        also null where a row is unusual only with those before it.
    reasons
        (n,) why a row is an anomaly or a call, in words; null elsewhere.
    explanations
        The same in numbers (`explained.explanations_of`).
    threshold
        The score from which a row is an anomaly.
    seconds
        Time spent on scoring, features included, training excluded.
    """

    times: pl.Series
    score: Floats
    is_anomaly: Bools
    is_call: Bools
    metric_scores: dict[str, Floats]
    causes: pl.Series
    reasons: pl.Series
    explanations: pl.DataFrame
    threshold: float
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """Readings (rows times metrics) scored per second."""
        return self.score.size * len(self.metric_scores) / max(self.seconds, 1e-9)


def feature_set_for(times: pl.Series) -> MetricFeatureSet:
    """Return a feature set for readings at the given times.

    The frequency is the median step. The longest window covers a day, the natural cycle of
    machines and people, within 288 and 2,880 rows.
    """
    steps = np.diff(np.sort(microseconds(times)))
    steps = steps[steps > 0]
    frequency = (
        timedelta(microseconds=int(np.median(steps))) if steps.size else timedelta(minutes=5)
    )
    shortest, longest = LONGEST_WINDOW
    day = min(max(math.ceil(timedelta(days=1) / frequency), shortest), longest)
    return replace(MetricFeatureSet(), windows=(12, 48, day), frequency=frequency)


@dataclass(frozen=True)
class WideModel:
    """What was learned from a wide frame.

    Attributes
    ----------
    scorer
        The models.
    history
        The last training rows, long: what later rows look back on.
    """

    scorer: FleetScorer
    history: pl.DataFrame

    def __post_init__(self) -> None:
        weakref.finalize(self, self.scorer.bundle.close)


def learn(
    train: pl.DataFrame,
    directory: Path,
    *,
    time_column: str,
    policy: FleetPolicy,
    feature_set: MetricFeatureSet | None = None,
) -> WideModel:
    """Learn from a wide frame that has rows; see `train_test`.

    Its bundle at `directory` is open as long as the model is in use, and may be removed meanwhile.
    """
    known = _long(train, time_column)
    feature_set = feature_set or feature_set_for(known["event_time"])
    scorer = _train_features(feature_set.compute(known), feature_set, policy, directory)
    since = pl.col("event_time").max() - feature_set.lookback
    return WideModel(scorer, known.filter(pl.col("event_time") > since))


def judge(model: WideModel, test: pl.DataFrame, *, time_column: str, threshold: float) -> Backtest:
    """Score a wide frame that has rows; see `train_test`."""
    new, feature_set = _long(test, time_column), model.scorer.feature_set
    begin = new["event_time"].min()
    clock = time.perf_counter()
    runs = RunStates()
    if model.history["event_time"].max() < begin:  # type: ignore[operator]
        new = pl.concat([model.history, new])
        runs = runs_after_training(model.scorer)
    features = feature_set.compute(new, since=begin)  # type: ignore[arg-type]
    scored = model.scorer.score(features, runs)
    seconds = time.perf_counter() - clock
    metrics = [name for name in test.columns if name != time_column]
    return _collect(scored, metrics, threshold, seconds)


def train_test(
    train: IntoDataFrame,
    test: IntoDataFrame,
    *,
    time_column: str,
    policy: FleetPolicy | None = None,
    feature_set: MetricFeatureSet | None = None,
) -> Backtest:
    """Learn from one wide frame and score another.

    When the test rows follow the train rows, these are their look-back; otherwise the test part
    starts without a past.

    Parameters
    ----------
    train, test
        `time_column` (a datetime) and a numeric column per metric, the same in both; null is a
        missing reading.
    time_column
        Name of the column of times.
    policy
        How to train; without quality measurements by default.
    feature_set
        The features; by default from the train part's frequency.

    Raises
    ------
    ValueError
        When the frames have no rows or not the same metrics.
    """
    policy = policy or FleetPolicy(evaluate=False)
    past, rows = to_polars(train), to_polars(test)
    metrics = [name for name in past.columns if name != time_column]
    if set(metrics) != {name for name in rows.columns if name != time_column}:
        raise ValueError("train and test part do not have the same metrics")
    if past.is_empty() or rows.is_empty():
        raise ValueError("train and test part must have rows")
    with tempfile.TemporaryDirectory(prefix="backtest-") as folder:
        model = learn(
            past,
            Path(folder) / "bundle",
            time_column=time_column,
            policy=policy,
            feature_set=feature_set,
        )
        return judge(model, rows, time_column=time_column, threshold=policy.threshold)


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
        As in `train_test`; the frequency comes from the probation rows.
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
    features = feature_set.compute(_long(rows, time_column))
    moments = features["event_time"].unique().sort()
    parts: list[pl.DataFrame] = []
    seconds = 0.0
    begin = first
    with tempfile.TemporaryDirectory(prefix="backtest-") as folder:
        while begin < moments.len():
            end = min(moments.len(), max(begin + 1, math.ceil(begin * RELEARN_FACTOR)))
            learned = _between(features, moments, max(0, begin - LEARN_ROWS), begin)
            scorer = _train_features(learned, feature_set, policy, Path(folder) / f"bundle-{begin}")
            clock = time.perf_counter()
            runs = runs_after_training(scorer)
            parts.append(scorer.score(_between(features, moments, begin, end), runs))
            seconds += time.perf_counter() - clock
            begin = end
            if progress is not None:
                progress(begin, moments.len())
    scored = pl.concat(parts).sort("entity", "metric", "event_time")
    result = _collect(scored, metrics, policy.threshold, seconds)
    wide = rows.unique(time_column, keep="first", maintain_order=True)
    novel = {
        name: Novel.of(wide[name].cast(pl.Float64).fill_null(float("nan")).to_numpy(), first)
        for name in metrics
    }
    return _as_alarms(result, policy.alpha, feature_set, novel)


def _long(wide: pl.DataFrame, time_column: str) -> pl.DataFrame:
    """Return the canonical long frame of one entity; of equal times the first row counts."""
    metrics = [name for name in wide.columns if name != time_column]
    return (
        wide.select(in_utc(wide[time_column]).alias("event_time"), pl.col(metrics).cast(pl.Float64))
        .unique("event_time", keep="first")
        # A metric may itself be called "value".
        .unpivot(index="event_time", variable_name="metric", value_name="__reading")
        .rename({"__reading": "value"})
        .with_columns(
            entity=pl.lit(_ENTITY),
            value=pl.when(pl.col("value").is_finite()).then(pl.col("value")),
        )
        .sort("metric", "event_time")
    )


def _between(features: pl.DataFrame, moments: pl.Series, begin: int, end: int) -> pl.DataFrame:
    """Return the rows of the times begin … end − 1."""
    return features.filter(pl.col("event_time").is_between(moments[begin], moments[end - 1]))


def _train_features(
    features: pl.DataFrame, feature_set: MetricFeatureSet, policy: FleetPolicy, directory: Path
) -> FleetScorer:
    lineage = Lineage(stream="backtest", version=directory.name, code_version="backtest")
    bundle = train_fleet([features], feature_set, policy, directory, lineage=lineage)
    return FleetScorer(bundle)


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


def runs_after_training(scorer: FleetScorer) -> RunStates:
    """Return the states of the series' runs after the newest rows that a bundle was trained on."""
    keys = scorer.bundle.series.filter(pl.col("slot").is_not_null()).select("entity", "metric")
    models = {key: scorer.load_model(*key) for key in keys.iter_rows()}
    return RunStates({key: model.runs.last for key, model in models.items() if model is not None})


_IS_TOLD = pl.col("entity_is_anomaly") | pl.col("entity_is_call")


def _collect(
    scored: pl.DataFrame, metrics: list[str], threshold: float, seconds: float
) -> Backtest:
    rows = (
        scored.group_by("event_time")
        .agg(
            # Where no series has a model yet, the strongest fallback speaks for the entity.
            pl.coalesce(pl.col("entity_score").max(), pl.col("score").max()).alias("score"),
            IS_CALL.any().alias("is_call"),
            pl.col("causes").filter(_IS_TOLD).drop_nulls().first(),
            reasons_of(len(metrics)).alias("reason"),
        )
        .sort("event_time")
    )
    wide = (
        scored.select("event_time", "metric", "score")
        .pivot(on="metric", index="event_time", values="score")
        .sort("event_time")
    )
    score = rows["score"].fill_null(float("nan")).to_numpy()
    return Backtest(
        times=rows["event_time"],
        score=score,
        is_anomaly=np.nan_to_num(score, nan=0.0) >= threshold,
        is_call=rows["is_call"].to_numpy(),
        metric_scores={
            name: wide[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in metrics
        },
        causes=rows["causes"],
        reasons=rows["reason"],
        explanations=explanations_of(scored),
        threshold=threshold,
        seconds=seconds,
    )
