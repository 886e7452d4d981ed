"""What holds of a metric stream's features and scores, and is looked at after each run."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.kinds.base import StreamKind
from anomaly_platform.kinds.findings import ScoreLook, told
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet

#: Series per day whose features are computed again, one reading at a time.
SAMPLED_SERIES = 2
_HISTORY = {
    "entity": pl.String(),
    "metric": pl.String(),
    "event_time": pl.Datetime("us", "UTC"),
    "value": pl.Float64(),
}


def not_finite(kind: StreamKind[MetricStream], day: Partition) -> list[str]:
    """Return the features that are not there although the reading has a value."""
    problems = []
    names = list(kind.stream.features.names)
    for chunk in kind.parts.lake.chunks([day.path], columns=["bucket", *names]):
        present = chunk.filter(pl.col("value").is_not_null())
        finite = present.select(pl.col(names).is_finite().fill_null(value=False).all())
        problems += [
            f"{day.partition}: {name} is not finite" for name in names if not finite[name].item()
        ]
    return problems


def replay(kind: StreamKind[MetricStream], day: Partition) -> tuple[int, list[str]]:
    """Compute a few series of the day again from their look-back, one reading at a time."""
    keys, lake, features = _series_of(kind, day), kind.parts.lake, kind.stream.features
    if keys.is_empty():
        return 0, []
    step = max(1, keys.height // SAMPLED_SERIES)
    compared, problems = 0, []
    for bucket, entity, metric in keys.gather_every(step).head(SAMPLED_SERIES).iter_rows():
        mine = (pl.col("entity") == entity) & (pl.col("metric") == metric)
        stored = lake.read(day.path, between={"bucket": (bucket, bucket)})
        expected = stored.filter(mine).select("event_time", *features.names)
        single = _one_by_one(features, _look_back(kind, day, bucket).filter(mine), expected)
        batch = expected.select(features.names).cast(pl.Float64)
        compared += expected.height
        if not np.array_equal(single, batch.fill_null(np.nan).to_numpy(), equal_nan=True):
            problems.append(f"{day.partition}: {entity} {metric} differs one reading at a time")
    return compared, problems


def _series_of(kind: StreamKind[MetricStream], day: Partition) -> pl.DataFrame:
    """Return bucket, entity and metric of the day's series, in the file's order."""
    names = ["bucket", "entity", "metric"]
    parts = [
        chunk.unique(maintain_order=True)
        for chunk in kind.parts.lake.chunks([day.path], columns=names)
    ]
    return pl.concat(parts) if parts else pl.DataFrame(schema=names)


def _one_by_one(
    feature_set: MetricFeatureSet, history: pl.DataFrame, readings: pl.DataFrame
) -> npt.NDArray[np.float64]:
    """Return (readings, features) as the online path computes them after `history`."""
    from anomaly_platform.ml.features.metrics.batch import microseconds
    from anomaly_platform.ml.features.metrics.series_buffers import features_in_turn
    from anomaly_platform.ml.features.metrics.series_state import SeriesState

    past, values = history.sort("event_time"), pl.col("value").fill_null(np.nan)
    state = SeriesState.of(
        feature_set,
        microseconds(past["event_time"]),
        past.select(values).to_series().to_numpy(),
    )
    features = features_in_turn(
        feature_set,
        state,
        microseconds(readings["event_time"]).tolist(),
        readings.select(values).to_series().to_list(),
    ).T
    narrow = [of["dtype"] == "f32" for of in feature_set.schema().values()]
    # These alone: a reading such as 1e308 is beyond what a narrow column holds.
    features[:, narrow] = features[:, narrow].astype(np.float32)
    return features


def _look_back(kind: StreamKind[MetricStream], day: Partition, bucket: int) -> pl.DataFrame:
    when = date.fromisoformat(day.partition)
    parts = [
        kind.parts.lake.read(
            earlier.path, columns=list(_HISTORY), between={"bucket": (bucket, bucket)}
        )
        for earlier in kind.history(when, when - timedelta(days=1))
    ]
    return pl.concat([pl.DataFrame(schema=_HISTORY), *parts])


def look_at_scores(kind: StreamKind[MetricStream], day: Partition, look: ScoreLook) -> None:
    """Add what is seen of a scored day."""
    problems: Counter[str] = Counter()
    columns = ["score", "is_anomaly", "threshold", "status"]
    for rows in kind.parts.lake.chunks([day.path], columns=columns):
        problems.update(_range_problems(rows))
        look.decided += rows["is_anomaly"].count()
        look.anomalies += int(rows["is_anomaly"].sum())
    look.add("score_range", told(day, problems))


def _range_problems(rows: pl.DataFrame) -> dict[str, int]:
    score, flagged = pl.col("score"), pl.col("is_anomaly")
    is_trained = pl.col("status") == "trained"
    wrong = {
        "scores lie outside [0, 1]": ~score.is_between(0.0, 1.0) | score.is_nan(),
        "decisions contradict score and threshold": flagged != (score >= pl.col("threshold")),
        "trained rows have no score": is_trained & (score.is_null() | flagged.is_null()),
        "rows without a model are called normal": ~is_trained & (flagged == pl.lit(value=False)),
    }
    return {what: rows.filter(condition).height for what, condition in wrong.items()}
