"""``features``: the features of a day's events, from them and what came before them.

What belongs here: bringing each day together with its look-back, chunk by chunk. What a feature is
stands in ``ml.features``.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

import polars as pl
from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    MaterializeResult,
    MetadataValue,
    asset,
)

from anomaly_platform.assets.metadata import column_schema, records_table
from anomaly_platform.assets.partitions import SINGLE_RUN, days_of, to_days, with_lookback
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.platform import Platform
from anomaly_platform.streams import MetricStream, Stream

STAGE = "features"


def build_features(stream: Stream, platform: Platform) -> AssetsDefinition:
    """Return the asset ``[stream, features]``."""

    @asset(
        key=stream.key("features"),
        deps=[with_lookback(stream.key("validated_events"), stream.lookback_days)],
        partitions_def=days_of(platform.start_of(stream)),
        backfill_policy=SINGLE_RUN,
        group_name=stream.name,
        kinds={"polars", "numba", "parquet"},
        owners=list(stream.owners),
        tags={"stage": "features"},
        code_version=stream.features.version,
        description=_description(stream),
        required_resource_keys={"platform"},
    )
    def features(context: AssetExecutionContext) -> MaterializeResult[None]:
        opened: Platform = context.resources.platform
        rows = {
            day: features_of_day(opened, stream, day) for day in to_days(context.partition_keys)
        }
        schema = stream.features.schema()
        return MaterializeResult(
            metadata={
                "dagster/row_count": MetadataValue.int(sum(rows.values())),
                "days": records_table([{"day": str(day), "rows": n} for day, n in rows.items()]),
                "feature set": MetadataValue.text(stream.features.version),
                "dagster/column_schema": column_schema(
                    {name: (of["dtype"], of["description"]) for name, of in schema.items()}
                ),
            }
        )

    return features


def features_of_day(platform: Platform, stream: Stream, day: date) -> int:
    """Compute one day's features, replace its file, and return its number of rows."""
    first = day - timedelta(days=stream.lookback_days)
    sources = platform.warehouse.partitions.between(
        stream.name, "validated_events", first.isoformat(), day.isoformat()
    )
    midnight = datetime.combine(day, time(), UTC)

    def chunks() -> Iterator[pl.DataFrame]:
        paths = [source.path for source in sources]
        for events in platform.lake.chunks(paths):
            yield _compute(stream, events, midnight)

    written = platform.lake.write(
        STAGE, stream.name, day.isoformat(), chunks(), schema=features_schema(stream)
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


def _compute(stream: Stream, events: pl.DataFrame, midnight: datetime) -> pl.DataFrame:
    """Return the features of the events from midnight on; the others are their look-back."""
    if isinstance(stream, MetricStream):
        ordered = events.sort("bucket", "entity", "metric", "event_time")
        return stream.features.compute(ordered, since=midnight)
    codes = events.filter(pl.col("event_time") >= midnight)["epc_code"].unique()
    mine = events.filter(pl.col("epc_code").is_in(codes.implode()))
    computed = stream.features.compute(in_order(mine), since=midnight)
    return computed.select(pl.col(name).cast(kind) for name, kind in SCAN_SCHEMA.items())


def in_order(scans: pl.DataFrame) -> pl.DataFrame:
    """Return scans as the library takes them: by code, time and id, with the code as entity.

    The rest of the natural key decides where senders repeat an id.
    """
    return scans.with_columns(entity="epc_code").sort(
        *("bucket", "epc_code", "event_time", "event_id"),
        *("location_id", "business_step", "event_type"),
    )


def _description(stream: Stream) -> str:
    count = len(stream.features.names)
    if isinstance(stream, MetricStream):
        windows = ", ".join(map(str, stream.features.windows))
        return (
            f"{count} causal features per reading over windows of {windows} rows, "
            f"looking back {stream.lookback_days} days at most."
        )
    return (
        f"{count} causal features per scan from the history of its code, "
        f"looking back {stream.lookback_days} days at most."
    )


def features_schema(stream: Stream) -> dict[str, pl.DataType]:
    """Return the columns of a day's features: the event's own, then each feature."""
    if not isinstance(stream, MetricStream):
        return dict(SCAN_SCHEMA)
    own = {
        "bucket": pl.UInt8(),
        "entity": pl.String(),
        "metric": pl.String(),
        "event_time": pl.Datetime("us", "UTC"),
        "value": pl.Float64(),
        "event_id": pl.String(),
        "label": pl.Boolean(),
        "metadata": pl.String(),
    }
    features = {name: _DTYPES[of["dtype"]] for name, of in stream.features.schema().items()}
    return {**own, **features}


_DTYPES: dict[str, pl.DataType] = {
    "f64": pl.Float64(),
    "f32": pl.Float32(),
    "i8": pl.Int8(),
    "i16": pl.Int16(),
    "bool": pl.Boolean(),
    "str": pl.String(),
    "date": pl.Date(),
    "list[str]": pl.List(pl.String()),
}
_SCAN_TEXTS = (
    *("location_id", "business_step", "event_type", "event_id", "file_id", "scan_location"),
    *("operator_id", "device_id", "product_name"),
)
SCAN_SCHEMA: dict[str, pl.DataType] = {
    "bucket": pl.UInt8(),
    "epc_code": pl.String(),
    "event_time": pl.Datetime("us", "UTC"),
    **dict.fromkeys(_SCAN_TEXTS, pl.String()),
    "label": pl.Boolean(),
    "anomaly_kind": pl.String(),
    **{name: _DTYPES[of["dtype"]] for name, of in ScanFeatureSet().schema().items()},
}
"""A scan with its features, as stored."""
