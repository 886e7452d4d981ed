"""Backtests the platform's metric pipeline over frames, without any service.

A wide frame has a row per time, one column of times and one per metric. It becomes the series of
one entity, and these go the way of every stream: features, bundle, scorer; nothing here scores by
other means. Reading and writing files, labels and reports are the command line's business.

`train_test` learns from one frame and scores another, every row by itself. A frame that is scored
as it comes is the subject of `streaming`.
"""

import math
import tempfile
import time
import weakref
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Bools, Floats
from anomaly_platform.ml.backtest.explained import IS_CALL, explanations_of, reasons_of
from anomaly_platform.ml.features.metrics.batch import microseconds
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.frames import IntoDataFrame, in_utc, to_polars
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.series_runs.run_states import RunStates
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage

#: Rows that the longest window holds at least and at most, when it is to cover a day.
LONGEST_WINDOW = (288, 2880)

_ENTITY = "entity"


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
    known = long_of(train, time_column)
    feature_set = feature_set or feature_set_for(known["event_time"])
    scorer = fitted(feature_set.compute(known), feature_set, policy, directory)
    since = pl.col("event_time").max() - feature_set.lookback
    return WideModel(scorer, known.filter(pl.col("event_time") > since))


def judge(model: WideModel, test: pl.DataFrame, *, time_column: str, threshold: float) -> Backtest:
    """Score a wide frame that has rows; see `train_test`."""
    new, feature_set = long_of(test, time_column), model.scorer.feature_set
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
    return collected(scored, metrics, threshold, seconds)


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


def long_of(wide: pl.DataFrame, time_column: str) -> pl.DataFrame:
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


def fitted(
    features: pl.DataFrame, feature_set: MetricFeatureSet, policy: FleetPolicy, directory: Path
) -> FleetScorer:
    """Return what scores with models that a folder receives, trained on feature rows."""
    lineage = Lineage(stream="backtest", version=directory.name, code_version="backtest")
    bundle = train_fleet([features], feature_set, policy, directory, lineage=lineage)
    return FleetScorer(bundle)


def runs_after_training(scorer: FleetScorer) -> RunStates:
    """Return the states of the series' runs after the newest rows that a bundle was trained on."""
    keys = scorer.bundle.series.filter(pl.col("slot").is_not_null()).select("entity", "metric")
    models = {key: scorer.load_model(*key) for key in keys.iter_rows()}
    return RunStates({key: model.runs.last for key, model in models.items() if model is not None})


_IS_TOLD = pl.col("entity_is_anomaly") | pl.col("entity_is_call")


def collected(
    scored: pl.DataFrame, metrics: list[str], threshold: float, seconds: float
) -> Backtest:
    """Return the result that scored rows of all metrics come to."""
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
