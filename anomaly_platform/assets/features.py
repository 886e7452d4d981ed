"""``features``: the features of a day's events, from them and what came before them.

What belongs here: bringing each day together with its look-back, chunk by chunk. What a feature is
stands in ``ml.features``.
"""

from collections.abc import Iterator
from datetime import date

import polars as pl
from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    MaterializeResult,
)

from anomaly_platform.assets.metadata import column_schema, days_result
from anomaly_platform.assets.partitions import days_of, to_days, with_lookback
from anomaly_platform.assets.stage import as_failures, stage_asset
from anomaly_platform.kinds.base import midnight
from anomaly_platform.platform import Platform
from anomaly_platform.storage.lake.lake import SMALL_CHUNK_ROWS
from anomaly_platform.streams import Stream

STAGE = "features"


def build_features(stream: Stream, platform: Platform) -> AssetsDefinition:
    """Return the asset ``[stream, features]``."""

    @stage_asset(
        stream,
        platform,
        STAGE,
        deps=[with_lookback(stream.key("validated_events"), stream.lookback_days)],
        days=days_of(platform.first_day_of(stream)),
        tools=frozenset({"polars", "numba", "parquet"}),
        tag="features",
        table="lake_partitions",
        code_version=stream.features.version,
        description=platform.kind(stream).descriptions[STAGE],
    )
    def features(context: AssetExecutionContext) -> MaterializeResult[None]:
        opened: Platform = context.resources.platform
        with as_failures():
            days = {
                day: {"dagster/row_count": features_of_day(opened, stream, day)}
                for day in to_days(context.partition_keys)
            }
        meanings = stream.features.schema().items()
        common = {
            "feature set": stream.features.version,
            "dagster/column_schema": column_schema(
                {name: (of["dtype"], of["description"]) for name, of in meanings}
            ),
        }
        return days_result(context, stream.key(STAGE), days, common)

    return features


def features_of_day(platform: Platform, stream: Stream, day: date) -> int:
    """Compute one day's features, replace its file, and return its number of rows."""
    kind = platform.kind(stream)
    sources = kind.history(day, day)

    def chunks() -> Iterator[pl.DataFrame]:
        paths = [source.path for source in sources]
        for events in platform.lake.chunks(paths, target_rows=SMALL_CHUNK_ROWS):
            yield kind.features(events, midnight(day))

    written = platform.lake.write(
        STAGE, stream.name, day.isoformat(), chunks(), schema=kind.feature_schema
    )
    platform.warehouse.partitions.publish(
        stream.name,
        STAGE,
        day.isoformat(),
        path=written.path,
        rows=written.rows,
        # What was read, not what has arrived meanwhile: a day is fresh only when its input was.
        watermark=max((source.watermark for source in sources), default=0),
        stats={"feature_set": stream.features.version},
    )
    return written.rows
