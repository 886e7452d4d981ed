"""What differs between kinds of streams when rows are read and validated.

What belongs here: the functions of ``ingest`` that a kind of stream uses, under common names, and
the columns that the UI shows of its rows. The stages themselves know no kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import polars as pl

from anomaly_platform.streams import ScanStream, Stream

if TYPE_CHECKING:
    from pathlib import Path

    import pandera.polars as pa

    from anomaly_platform.ingest.layout.context import Layout, LayoutContext
    from anomaly_platform.ingest.validation.day import ValidatedDay

#: How all scans of a stream are called where others have an entity and a metric.
ALL_SCANS = ("*", "scans")

Columns = Mapping[str, tuple[str, str]]


class _Read(Protocol):
    def __call__(
        self, source: Path, context: LayoutContext, *, batch_rows: int = ...
    ) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]: ...


class _Layout(Protocol):
    def __call__(self, source: Path, context: LayoutContext) -> Layout: ...


class _Validate(Protocol):
    def __call__(
        self,
        rows: pl.DataFrame,
        day: date,
        *,
        start: datetime,
        now: datetime,
        future_allowance: timedelta,
    ) -> ValidatedDay: ...


class _Extents(Protocol):
    def __call__(self, frame: pl.DataFrame) -> pl.DataFrame: ...


@dataclass(frozen=True, slots=True)
class RowFormat:
    """How the rows of a kind of stream are read, validated and counted.

    Attributes
    ----------
    raw_schema : polars.Schema
        Of raw rows.
    fields : mapping of str to sequence of str
        Known column names per canonical field.
    layout, read, validate
        What the columns of a file mean; its raw rows in batches; the valid rows of a day.
    schema : callable
        Returns the pandera schema of validated rows, which takes a second to import.
    key : sequence of str
        The natural key of a validated row.
    extents
        From validated rows to the series that train: ``entity``, ``metric``, ``rows``,
        ``first_event``, ``last_event``.
    raw_columns, columns : mapping of str to (type, description)
        For people.
    """

    raw_schema: pl.Schema
    fields: Mapping[str, Sequence[str]]
    layout: _Layout
    read: _Read
    validate: _Validate
    schema: Callable[[], pa.DataFrameSchema]
    key: Sequence[str]
    extents: _Extents
    raw_columns: Columns
    columns: Columns

    def named(self, stream: Stream) -> dict[str, tuple[str, ...]]:
        """Return the accepted column names: the stream's own before those of its kind."""
        from anomaly_platform.ingest.layout.mapping import plain

        own = stream.column_names()
        # What the stream calls its metric must not be taken for the entity of its kind.
        claimed = {plain(name) for names in own.values() for name in names}
        return {
            name: (
                *own.get(name, ()),
                *(other for other in known if plain(other) not in claimed),
            )
            for name, known in self.fields.items()
        }


def row_format(stream: Stream) -> RowFormat:
    """Return the format of a stream's rows."""
    return _scans() if isinstance(stream, ScanStream) else _metrics()


def _metrics() -> RowFormat:
    from anomaly_platform.ingest.layout.mapping import METRIC_FIELDS
    from anomaly_platform.ingest.layout.metrics import METRIC_READER
    from anomaly_platform.ingest.validation.metrics import validate_metrics

    return RowFormat(
        raw_schema=METRIC_READER.schema,
        fields=METRIC_FIELDS,
        layout=METRIC_READER.layout,
        read=METRIC_READER.read,
        validate=validate_metrics,
        schema=_metric_schema,
        key=("entity", "metric", "event_time"),
        extents=_series_extents,
        raw_columns=RAW_METRIC_COLUMNS,
        columns=METRIC_COLUMNS,
    )


def _scans() -> RowFormat:
    from anomaly_platform.ingest.layout.mapping import SCAN_FIELDS
    from anomaly_platform.ingest.layout.scans import SCAN_READER
    from anomaly_platform.ingest.validation.scans import SCAN_KEY, validate_scans

    return RowFormat(
        raw_schema=SCAN_READER.schema,
        fields=SCAN_FIELDS,
        layout=SCAN_READER.layout,
        read=SCAN_READER.read,
        validate=validate_scans,
        schema=_scan_schema,
        key=SCAN_KEY,
        extents=_all_scans_extent,
        raw_columns=RAW_SCAN_COLUMNS,
        columns=SCAN_COLUMNS,
    )


def _metric_schema() -> pa.DataFrameSchema:
    from anomaly_platform.ingest.validation.schemas import METRIC_EVENTS

    return METRIC_EVENTS


def _scan_schema() -> pa.DataFrameSchema:
    from anomaly_platform.ingest.validation.schemas import SCAN_EVENTS

    return SCAN_EVENTS


def _series_extents(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.group_by("entity", "metric", maintain_order=True).agg(
        rows=pl.len(),
        first_event=pl.col("event_time").min(),
        last_event=pl.col("event_time").max(),
    )


def _all_scans_extent(frame: pl.DataFrame) -> pl.DataFrame:
    """Return one row: scans train together, and a code has too few of its own to be a series."""
    entity, metric = ALL_SCANS
    return frame.select(
        entity=pl.lit(entity),
        metric=pl.lit(metric),
        rows=pl.len(),
        first_event=pl.col("event_time").min(),
        last_event=pl.col("event_time").max(),
    ).filter(pl.col("rows") > 0)


RAW_METRIC_COLUMNS: Columns = {
    "row_number": ("int", "row in the source file, from 1"),
    "column": ("string", "source column of a wide file's cell, empty otherwise"),
    "entity": ("string", "device or asset"),
    "metric": ("string", "name of the metric"),
    "event_time": ("timestamp (UTC)", "when the reading was taken"),
    "value_text": ("string", "the value as it came"),
    "event_id_text": ("string", "the id as it came"),
    "metadata_text": ("string", "the metadata as they came"),
    "label_text": ("string", "the label as it came; never a metric"),
}
METRIC_COLUMNS: Columns = {
    "bucket": ("int", "hash of the entity, 0 to 63"),
    "entity": ("string", "device or asset"),
    "metric": ("string", "name of the metric"),
    "event_time": ("timestamp (UTC)", "when the reading was taken"),
    "value": ("float", "the reading; null is a missing reading"),
    "event_id": ("uuid", "given, or derived from entity, metric and time"),
    "label": ("bool", "known anomaly, known normal, or unknown"),
    "metadata": ("json", "what came with the reading"),
}
RAW_SCAN_COLUMNS: Columns = {
    "row_number": ("int", "row in the source file, from 1"),
    "epc_code_text": ("string", "the code as it came"),
    "event_time": ("timestamp (UTC)", "when the scan happened"),
    "location_id_text": ("string", "the place as it came"),
    "business_step_text": ("string", "the business step as it came"),
    "event_type_text": ("string", "the event type as it came"),
    "label_text": ("string", "the label as it came; never a feature"),
}
SCAN_COLUMNS: Columns = {
    "bucket": ("int", "hash of the code, 0 to 63"),
    "epc_code": ("string", "the code that was read, well-formed or not"),
    "event_time": ("timestamp (UTC)", "when the scan happened"),
    "location_id": ("string", "where; null where the sender left it out"),
    "business_step": ("string", "at which step; null where left out"),
    "event_type": ("string", "what happened; null where left out"),
    "event_id": ("string", "given, or derived from the fields above"),
    "file_id": ("string", "the sender's file"),
    "scan_location": ("string", "the place's name as the sender gave it"),
    "operator_id": ("string", "who scanned"),
    "device_id": ("string", "with which reader"),
    "product_name": ("string", "what the goods are called"),
    "label": ("bool", "known anomaly, known normal, or unknown"),
    "anomaly_kind": ("string", "which kind of anomaly, where known"),
}
