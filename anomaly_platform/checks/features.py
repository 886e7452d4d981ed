"""Checks of ``features``: finite, complete, and the same one row at a time."""

from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl
from dagster import (
    AssetCheckExecutionContext,
    AssetChecksDefinition,
)

from anomaly_platform.checks.scope import Results, StageChecks, partitions_in_scope
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.platform import Platform
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import MetricStream

#: Series per day whose features are computed again, one reading at a time.
SAMPLED_SERIES = 2


def build_feature_checks(stream: MetricStream) -> AssetChecksDefinition:
    """Return the checks of ``features``; what is not finite stops the run."""
    declared = StageChecks(
        stream,
        "features",
        {
            "finite": "Every feature of a reading with a value is there and finite.",
            "one_row_per_reading": "A day has as many rows as its validated readings.",
            "batch_equals_single_row": (
                "Computed one reading at a time, a sample has the same bits."
            ),
        },
        blocking=("finite",),
    )

    @declared.define
    def checks(context: AssetCheckExecutionContext, platform: Platform) -> Results:
        days = partitions_in_scope(context, platform, stream, "features")
        infinite, missing, unequal = [], [], []
        compared = 0
        for day in days:
            infinite.extend(_not_finite(platform, stream, day))
            valid = platform.warehouse.partitions.get(
                stream.name, "validated_events", day.partition
            )
            if valid is None or valid.rows != day.rows:
                missing.append(
                    f"{day.partition}: {day.rows} rows of {valid.rows if valid else 0} readings"
                )
            rows, problems = _replay(platform, stream, day)
            compared += rows
            unequal.extend(problems)
        seen = f"{sum(day.rows for day in days):,} rows of {len(days)} days"
        yield declared.verdict("finite", infinite, seen)
        yield declared.verdict("one_row_per_reading", missing, seen)
        yield declared.verdict(
            "batch_equals_single_row", unequal, f"{compared:,} readings compared"
        )

    return checks


def _not_finite(platform: Platform, stream: MetricStream, day: Partition) -> list[str]:
    problems = []
    names = list(stream.features.names)
    for chunk in platform.lake.chunks([day.path], columns=["bucket", *names]):
        present = chunk.filter(pl.col("value").is_not_null())
        finite = present.select(pl.col(names).is_finite().fill_null(value=False).all())
        problems += [
            f"{day.partition}: {name} is not finite" for name in names if not finite[name].item()
        ]
    return problems


def _replay(platform: Platform, stream: MetricStream, day: Partition) -> tuple[int, list[str]]:
    """Compute a few series of the day again from their look-back, one reading at a time."""
    keys = _series_of(platform, day)
    if keys.is_empty():
        return 0, []
    step = max(1, keys.height // SAMPLED_SERIES)
    compared, problems = 0, []
    for bucket, entity, metric in keys.gather_every(step).head(SAMPLED_SERIES).iter_rows():
        mine = (pl.col("entity") == entity) & (pl.col("metric") == metric)
        stored = platform.lake.read(day.path, between={"bucket": (bucket, bucket)})
        expected = stored.filter(mine).select("event_time", *stream.features.names)
        history = _look_back(platform, stream, day, bucket)
        single = _one_by_one(stream.features, history.filter(mine), expected)
        batch = expected.select(stream.features.names).cast(pl.Float64)
        compared += expected.height
        if not np.array_equal(single, batch.fill_null(np.nan).to_numpy(), equal_nan=True):
            problems.append(f"{day.partition}: {entity} {metric} differs one reading at a time")
    return compared, problems


def _series_of(platform: Platform, day: Partition) -> pl.DataFrame:
    """Return bucket, entity and metric of the day's series, in the file's order."""
    names = ["bucket", "entity", "metric"]
    parts = [
        chunk.unique(maintain_order=True)
        for chunk in platform.lake.chunks([day.path], columns=names)
    ]
    return pl.concat(parts) if parts else pl.DataFrame(schema=names)


def _one_by_one(
    feature_set: MetricFeatureSet, history: pl.DataFrame, readings: pl.DataFrame
) -> npt.NDArray[np.float64]:
    """Return (readings, features) as the online path computes them after `history`."""
    from anomaly_platform.ml.features.metrics.batch import microseconds
    from anomaly_platform.ml.features.metrics.series_buffers import step
    from anomaly_platform.ml.features.metrics.series_state import SeriesState

    past = history.sort("event_time")
    state = SeriesState.of(
        feature_set,
        microseconds(past["event_time"]),
        past["value"].fill_null(np.nan).to_numpy(),
    )
    rows = []
    narrow = [of["dtype"] == "f32" for of in feature_set.schema().values()]
    for when, value in readings.select("event_time", "value").iter_rows():
        features, state = step(feature_set, state, when, value)
        rows.append(np.where(narrow, features.astype(np.float32), features))
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(feature_set.names))


def _look_back(
    platform: Platform, stream: MetricStream, day: Partition, bucket: int
) -> pl.DataFrame:
    first = date.fromisoformat(day.partition) - timedelta(days=stream.lookback_days)
    last = date.fromisoformat(day.partition) - timedelta(days=1)
    earlier = platform.warehouse.partitions.between(
        stream.name, "validated_events", first.isoformat(), last.isoformat()
    )
    columns = ["entity", "metric", "event_time", "value"]
    empty = pl.DataFrame(
        schema={
            "entity": pl.String,
            "metric": pl.String,
            "event_time": pl.Datetime("us", "UTC"),
            "value": pl.Float64,
        }
    )
    within = {"bucket": (bucket, bucket)}
    parts = [platform.lake.read(p.path, columns=columns, between=within) for p in earlier]
    return pl.concat([empty, *parts])
