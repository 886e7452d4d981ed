"""How readings look: raw, validated, and with their features.

What belongs here: the functions of ``ingest`` that readings use, under the names of the protocol,
and the columns that the UI shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from anomaly_platform.kinds.formats import DTYPES, Columns, RowFormat
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    import pandera.polars as pa


def metric_rows() -> RowFormat:
    """Return how readings are read, validated and counted."""
    from anomaly_platform.ingest.layout.mapping import METRIC_FIELDS
    from anomaly_platform.ingest.layout.metrics import METRIC_READER
    from anomaly_platform.ingest.validation.metrics import METRIC_KEY, validate_metrics

    return RowFormat(
        reader=METRIC_READER,
        fields=METRIC_FIELDS,
        validate=validate_metrics,
        schema=_schema,
        key=METRIC_KEY,
        from_online=raw_rows,
        raw_columns=_RAW_COLUMNS,
        columns=_COLUMNS,
    )


def _schema() -> pa.DataFrameSchema:
    from anomaly_platform.ingest.validation.schemas import METRIC_EVENTS

    return METRIC_EVENTS


def raw_rows(claimed: pl.DataFrame) -> pl.DataFrame:
    """Return readings as the raw rows of a file that says the same, in the order they came."""
    from anomaly_platform.ingest.bucketing import bucket_of
    from anomaly_platform.ingest.layout.metrics import RAW_METRIC_ROWS

    times = claimed["event_time"]
    return claimed.select(
        row_number=pl.int_range(1, pl.len() + 1),
        column=pl.lit(""),
        entity="entity",
        metric="metric",
        event_time_text=times.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"),
        event_time="event_time",
        # The shortest text that is read back as the same number.
        value_text=pl.Series([repr(value) for value in claimed["value"]], dtype=pl.String),
        event_id_text="event_id",
        metadata_text="metadata",
        label_text=pl.lit(None, pl.String),
        event_date=times.dt.date(),
        bucket=bucket_of(claimed["entity"]),
        value_said=pl.lit(None, pl.String),
    ).cast(RAW_METRIC_ROWS)


def series_together(events: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of several days, a day after the other, by bucket, series and time.

    Each day is in this order already, so that only its runs of rows of one series are sorted.
    """
    from anomaly_platform.ingest.bucketing import bucket_of
    from anomaly_platform.ml.features.metrics.batch import series_offsets

    offsets = series_offsets(events)
    begins, lengths = offsets[:-1], np.diff(offsets)
    heads = events[begins].select("entity", "metric", "event_time")
    order = heads.with_columns(bucket_of(heads["entity"])).select(
        pl.arg_sort_by("bucket", "entity", "metric", "event_time")
    )
    runs = order.to_series().to_numpy()
    ends = np.cumsum(lengths[runs])
    # From a row's place among the sorted runs to its place before.
    moved = np.repeat(begins[runs] - ends + lengths[runs], lengths[runs])
    return events[moved + np.arange(events.height)]


def feature_schema(stream: MetricStream) -> Mapping[str, pl.DataType]:
    """Return the columns of a reading with its features, as stored."""
    return {
        "bucket": pl.UInt8(),
        "entity": pl.String(),
        "metric": pl.String(),
        "event_time": pl.Datetime("us", "UTC"),
        "value": pl.Float64(),
        "event_id": pl.String(),
        "label": pl.Boolean(),
        "metadata": pl.String(),
        **{name: DTYPES[of["dtype"]] for name, of in stream.features.schema().items()},
    }


_RAW_COLUMNS: Columns = {
    "row_number": ("int", "row in the source file, from 1"),
    "column": ("string", "source column of a wide file's cell, empty otherwise"),
    "entity": ("string", "device or asset"),
    "metric": ("string", "name of the metric"),
    "event_time": ("timestamp (UTC)", "when the reading was taken"),
    "value_text": ("string", "the value, a number in canonical notation"),
    "value_said": ("string", "the value as it came, where that is another text"),
    "event_id_text": ("string", "the id as it came"),
    "metadata_text": ("string", "the metadata as they came"),
    "label_text": ("string", "the label as it came; never a metric"),
}
_COLUMNS: Columns = {
    "bucket": ("int", "hash of the entity, 0 to 63"),
    "entity": ("string", "device or asset"),
    "metric": ("string", "name of the metric"),
    "event_time": ("timestamp (UTC)", "when the reading was taken"),
    "value": ("float", "the reading; null is a missing reading"),
    "event_id": ("uuid", "given, or derived from entity, metric and time"),
    "label": ("bool", "known anomaly, known normal, or unknown"),
    "metadata": ("json", "what came with the reading"),
}
