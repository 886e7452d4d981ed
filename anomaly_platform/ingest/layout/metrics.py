"""From a file's columns to long rows, one per reading, for streams of metrics.

Here belongs what the columns of a file *mean*: which is the time, the entity, a metric; long or
wide. Cells are not judged here, except for the time, which decides the day that a row belongs to.

A file is **long** when, by mapping, constants and known names, it has a metric, a value and a time.
Otherwise it is **wide**: a time column (mapped, known by name, or the first column), perhaps an
entity and a label, and every other column is a metric of its own. Rows without an entity of their
own belong to the constant that is set, else to the file's name without suffixes.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from anomaly_platform.ingest.bucketing import bucket_of
from anomaly_platform.ingest.event_days import EVENT_TIME
from anomaly_platform.ingest.files.batches import RawBatch, is_unnamed
from anomaly_platform.ingest.files.readers import file_stem
from anomaly_platform.ingest.layout.context import (
    Assignment,
    Layout,
    LayoutContext,
    RowReader,
    assign_columns,
    split_refused,
    texts_of,
    with_times,
)
from anomaly_platform.ingest.layout.mapping import MappingError, listed

RAW_METRIC_ROWS: Final = pl.Schema(
    {
        "row_number": pl.Int64(),
        "column": pl.String(),
        "entity": pl.String(),
        "metric": pl.String(),
        "event_time_text": pl.String(),
        "event_time": EVENT_TIME,
        "value_text": pl.String(),
        "event_id_text": pl.String(),
        "metadata_text": pl.String(),
        "label_text": pl.String(),
        "event_date": pl.Date(),
        "bucket": pl.UInt8(),
    }
)
"""Long raw rows of metric streams; ``event_time`` and ``event_date`` (UTC) are never null."""


def resolve_layout(columns: Sequence[str], context: LayoutContext) -> Layout:
    """Decide how a file with these columns is understood.

    Parameters
    ----------
    columns
        The file's columns, in order (`RawBatch.frame.columns` of the first batch).
    context
        Name, mapping and stream.

    Raises
    ------
    MappingError
        When no time, no value or no metric can be found; the text lists the file's columns.
    """
    assigned = assign_columns(columns, context)
    for target in ("event_time", "value", "event_id"):
        if target in assigned.constants:
            raise MappingError(f"{target!r} cannot be the same in every row; map a column to it")
    has_metric = "metric" in assigned.columns or "metric" in assigned.constants
    if has_metric and "value" not in assigned.columns:
        raise MappingError(
            "the file says which metric a row is of, but has no column for its value; map one with"
            f" column=value; its columns are {listed(columns)}"
        )
    entity = None
    if "entity" not in assigned.columns and "entity" not in assigned.constants:
        entity = file_stem(context.name)
    if not has_metric:
        return _wide(columns, context, assigned, entity)
    if "event_time" not in assigned.columns:
        raise _no_time(columns)
    unused = [name for name in columns if name not in assigned.columns.values()]
    return Layout(False, assigned.columns, assigned.constants, tuple(unused), entity)


def _wide(
    columns: Sequence[str], context: LayoutContext, assigned: Assignment, entity: str | None
) -> Layout:
    by_field, constants, left_out = assigned
    value = by_field.pop("value", None)
    if value is not None and value in context.mapping.columns:
        raise MappingError(
            f"the column {value!r} is mapped to the value, but nothing says which metric it is; map"
            " a column to metric_name, or set metric_name"
        )
    if "event_time" not in by_field:
        if not columns or columns[0] in {*by_field.values(), *left_out}:
            raise _no_time(columns)
        by_field["event_time"] = columns[0]
    left_out += [name for name in columns if is_unnamed(name) and name not in by_field.values()]
    layout = Layout(True, by_field, constants, tuple(dict.fromkeys(left_out)), entity)
    metrics = layout.metric_columns(columns)
    if not metrics:
        raise MappingError(
            "the file has no column with values besides the time; its columns are"
            f" {listed(columns)}"
        )
    event_id = by_field.get("event_id")
    if event_id is not None and len(metrics) > 1:
        # An id of the row is no id of each of its readings.
        rest = {name: column for name, column in by_field.items() if name != "event_id"}
        layout = Layout(True, rest, constants, (*layout.ignored, event_id), entity)
    return layout


def _no_time(columns: Sequence[str]) -> MappingError:
    return MappingError(
        "the file has no column for the time; map one with column=timestamp; its columns are"
        f" {listed(columns)}"
    )


def to_raw_rows(
    batch: RawBatch, layout: Layout, context: LayoutContext
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Turn a batch into long raw rows.

    Parameters
    ----------
    batch
        From `readers.read_raw`.
    layout
        Of the file, from its first batch (`resolve_layout`).
    context
        The same as the layout was made with.

    Returns
    -------
    tuple of pl.DataFrame
        Raw rows (`RAW_METRIC_ROWS`), one per reading, and rejects (`rejects.REJECTS`): the rows
        that the reader refused, and the readings whose time is no time, lies before the stream's
        start, or lies in the future. In a wide file a row with such a time gives a reject for each
        of its readings. A key that a JSON record does not have is no reading.
    """
    rows = _entities(batch, layout, context)
    long = _unpivot(rows, batch, layout) if layout.wide else rows.with_columns(column=pl.lit(""))
    if context.mapping.decimal == ",":
        long = long.with_columns(pl.col("value_text").str.replace(",", ".", literal=True))
    shown = ("event_time_text", "entity", "metric", "value_text")
    return split_refused(long, batch, RAW_METRIC_ROWS, shown)


METRIC_READER: Final = RowReader(RAW_METRIC_ROWS, resolve_layout, to_raw_rows)
"""How files of metric streams are read."""


def _entities(batch: RawBatch, layout: Layout, context: LayoutContext) -> pl.DataFrame:
    """Give every source row its fields, its time, its day and its bucket."""
    texts = texts_of(batch, layout)

    def name_of(name: str) -> pl.Expr:
        return texts(name).str.strip_chars().str.normalize("NFC")

    entity = name_of("entity")
    if layout.entity_from_name is not None:
        entity = pl.lit(layout.entity_from_name)
    rows = batch.frame.select(
        batch.row_numbers.alias("row_number"),
        entity=entity,
        metric=name_of("metric"),
        event_time_text=texts("event_time"),
        value_text=texts("value"),
        event_id_text=texts("event_id"),
        metadata_text=texts("metadata"),
        label_text=texts("label"),
    )
    return with_times(rows, context).with_columns(bucket_of(rows["entity"]))


def _unpivot(rows: pl.DataFrame, batch: RawBatch, layout: Layout) -> pl.DataFrame:
    """Make a row of each cell of the metric columns."""
    parts = []
    for column in layout.metric_columns(batch.frame.columns):
        part = rows.with_columns(
            column=pl.lit(column),
            metric=pl.lit(column).str.normalize("NFC"),
            value_text=batch.frame[column],
        )
        absent = batch.absent.get(column)
        parts.append(part if absent is None else part.filter(~absent))
    if not parts:
        return rows.with_columns(column=pl.lit("")).clear()
    return pl.concat(parts)
