"""From a file's columns to long rows, one per reading, for streams of metrics.

Here belongs what the columns of a file *mean*: which is the time, the entity, a metric; long or
wide. Cells are not judged here, except for the time, which decides the day that a row belongs to.

A file is **long** when, by mapping, constants and known names, it has a metric and a value.
Otherwise it is **wide**: a time column (mapped, known by name, or the first column), perhaps an
entity and a label, and every other column is a metric of its own. Rows without an entity of their
own belong to the constant that is set, else to the file's name without suffixes.
"""

from collections.abc import Sequence
from dataclasses import replace
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
    assign_columns,
    split_refused,
    texts_of,
    timed_rows,
)
from anomaly_platform.ingest.layout.contradictions import (
    LONG_NAMES,
    Contradictions,
    name_columns,
    name_options,
)
from anomaly_platform.ingest.layout.conventions import Conventions
from anomaly_platform.ingest.layout.mapping import MappingError, listed, plain
from anomaly_platform.ingest.layout.row_reader import RowReader
from anomaly_platform.ingest.layout.settling import no_time, settle_times
from anomaly_platform.ingest.layout.values import read_values, settle_values
from anomaly_platform.ingest.layout.whole_file import WholeFile

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
        "value_said": pl.String(),
    }
)
"""Long raw rows of metric streams; ``event_time`` and ``event_date`` (UTC) are never null.

``value_said`` is what stood in the file where ``value_text`` is that in canonical notation.
"""

_STATUS_RECORD: Final = r"^\$RT_[A-Z_]+\$$"


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
    assigned = _with_long_names(columns, assign_columns(columns, context))
    for target in ("event_time", "value", "event_id"):
        if target in assigned.constants:
            raise MappingError(f"{target!r} cannot be the same in every row; map a column to it")
    has_metric = "metric" in assigned.columns or "metric" in assigned.constants
    if has_metric and "value" not in assigned.columns:
        raise MappingError(
            "the file says which metric a row is of, but has no column for its value; name one "
            f"with --map column=value; its columns are {listed(columns)}"
        )
    entity = None
    if "entity" not in assigned.columns and "entity" not in assigned.constants:
        entity = file_stem(context.name)
    if not has_metric:
        return _wide(columns, context, assigned, entity)
    if "event_time" not in assigned.columns:
        # Which column has dates is seen in the cells.
        assigned.columns["event_time"] = _first_free(columns, assigned)
    conventions = Conventions(time_columns=assigned.time_columns)
    used = {*assigned.columns.values(), *conventions.columns}
    unused = tuple(name for name in columns if name not in used)
    return Layout(False, assigned.columns, assigned.constants, unused, entity, conventions)


def _with_long_names(columns: Sequence[str], assigned: Assignment) -> Assignment:
    """Find fields of a long file by names that mean something else in a wide one."""
    taken = {*assigned.columns.values(), *assigned.left_out}
    called = {
        field: [name for name in columns if name not in taken and plain(name) in names]
        for field, names in LONG_NAMES.items()
    }
    has_metric = "metric" in assigned.columns or "metric" in assigned.constants
    has_value = "value" in assigned.columns
    if not (has_metric or len(called["metric"]) == 1):
        return assigned
    if not (has_value or len(called["value"]) == 1):
        return assigned
    found = {
        field: names[0]
        for field, names in called.items()
        if len(names) == 1 and field not in assigned.constants
    }
    return assigned._replace(columns={**found, **assigned.columns})


def _wide(
    columns: Sequence[str], context: LayoutContext, assigned: Assignment, entity: str | None
) -> Layout:
    by_field, constants, left_out, time_columns = assigned
    value = by_field.pop("value", None)
    if value is not None and value in context.mapping.columns:
        raise MappingError(
            f"the column {value!r} is mapped to the value, but nothing says which metric it is; map"
            " a column to metric_name, or set metric_name"
        )
    named = "event_time" in by_field
    if not named:
        by_field["event_time"] = _first_free(columns, assigned)
    left_out += [name for name in columns if is_unnamed(name) and name not in by_field.values()]
    layout = Layout(
        True,
        by_field,
        constants,
        tuple(dict.fromkeys(left_out)),
        entity,
        Conventions(time_columns=time_columns),
    )
    metrics = layout.metric_columns(columns)
    if not metrics:
        if by_field["event_time"] != columns[0] and not named:
            raise no_time(columns)
        raise MappingError(
            "the file has no column with values besides the time; its columns are"
            f" {listed(columns)}"
        )
    event_id = by_field.get("event_id")
    if event_id is not None and len(metrics) > 1:
        # An id of the row is no id of each of its readings.
        rest = {name: column for name, column in by_field.items() if name != "event_id"}
        layout = replace(layout, columns=rest, ignored=(*layout.ignored, event_id))
    return layout


def _first_free(columns: Sequence[str], assigned: Assignment) -> str:
    """Return the first column that is no field, which may be the time."""
    taken = {*assigned.columns.values(), *assigned.left_out}
    for name in columns:
        # The first column may be the time without a name.
        if name not in taken and not (is_unnamed(name) and name != columns[0]):
            return name
    raise no_time(columns)


def settle_metrics(
    layout: Layout, head: RawBatch, file: WholeFile, context: LayoutContext
) -> Layout:
    """Settle how the cells of a file are written.

    Raises
    ------
    MappingError
        When they can be read in two ways, or most rows have the time of another one.
    """
    series = [layout.columns[name] for name in ("entity", "metric") if name in layout.columns]
    layout = settle_times(layout, head, file, context, series)
    layout = settle_values(layout, head, file, context)
    found = MetricContradictions(layout, head, context)
    found.see(to_raw_rows(head, layout, context)[0])
    found.refuse()
    return layout


class MetricContradictions:
    """Refuses a file most readings of which contradict another one of the same time.

    Parameters
    ----------
    layout
        Of the file.
    head
        Its first rows.
    context
        The same as the layout was made with.
    """

    def __init__(self, layout: Layout, head: RawBatch, context: LayoutContext) -> None:
        self._names = name_columns(head.frame, layout, context.mapping)
        self._hint = name_options(self._names, head.frame, layout)
        self._layout = layout
        self._seen = Contradictions()

    def see(self, rows: pl.DataFrame) -> None:
        """Look at the next raw rows of the file."""
        # Names are no readings; equal ones would hide that the others contradict each other.
        self._seen.see(rows.filter(~pl.col("column").is_in(self._names)) if self._names else rows)

    def refuse(self) -> None:
        """Raise `MappingError` when most of the readings seen contradict another one."""
        refusal = self._seen.refusal(self._layout, self._hint)
        if refusal is not None:
            raise refusal


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
        that the reader refused, the readings whose time is no time, lies before the stream's
        start, or lies in the future, and those whose value does not fit the notation of its column.
        In a wide file a row with such a time gives a reject for each of its readings. A key that a
        JSON record does not have is no reading.
    """
    rows = _entities(batch, layout, context)
    if layout.wide:
        long = _unpivot(rows, batch, layout)
    else:
        value = layout.columns["value"]
        long = _with_values(rows.with_columns(column=pl.lit("")), batch, layout, value)
        long = _without_status_records(long)
    shown = ("event_time_text", "entity", "metric", "value_text")
    return split_refused(long, batch, RAW_METRIC_ROWS, shown)


METRIC_READER: Final = RowReader(
    *(RAW_METRIC_ROWS, resolve_layout, settle_metrics, to_raw_rows),
    watch=MetricContradictions,
)
"""How files of metric streams are read."""


def _entities(batch: RawBatch, layout: Layout, context: LayoutContext) -> pl.DataFrame:
    """Give every source row its fields, its time, its day and its bucket."""
    texts = texts_of(batch, layout)

    entity = texts("entity").str.strip_chars()
    if layout.entity_from_name is not None:
        entity = pl.lit(layout.entity_from_name)
    rows = batch.frame.select(
        batch.row_numbers.alias("row_number"),
        entity=entity,
        metric=texts("metric").str.strip_chars(),
        event_id_text=texts("event_id"),
        metadata_text=texts("metadata"),
        label_text=texts("label"),
    ).hstack(timed_rows(batch, layout, context))
    names = pl.col("entity", "metric")
    # In ASCII every text is in its normal form.
    if any(rows.select((names.str.len_bytes() != names.str.len_chars()).any()).row(0)):
        rows = rows.with_columns(names.str.normalize("NFC"))
    return rows.with_columns(bucket_of(rows["entity"]))


def _unpivot(rows: pl.DataFrame, batch: RawBatch, layout: Layout) -> pl.DataFrame:
    """Make a row of each cell of the metric columns."""
    parts = []
    for column in layout.metric_columns(batch.frame.columns):
        named = rows.with_columns(column=pl.lit(column), metric=pl.lit(column).str.normalize("NFC"))
        part = _with_values(named, batch, layout, column)
        absent = batch.absent.get(column)
        parts.append(part if absent is None else part.filter(~absent))
    if not parts:
        return rows.with_columns(
            column=pl.lit(""), value_text=pl.lit(""), value_said=pl.lit("")
        ).clear()
    return pl.concat(parts, how="diagonal")


def _without_status_records(rows: pl.DataFrame) -> pl.DataFrame:
    """Refuse what a data logger tells of itself among its readings, as ``$RT_OFF$``."""
    if not rows["metric"].str.starts_with("$").any():
        return rows
    told = rows["metric"].str.contains(_STATUS_RECORD).fill_null(value=False)
    field = pl.col("field") if "field" in rows.columns else pl.lit(None, pl.String)
    return rows.with_columns(
        field=pl.when(told).then(pl.lit("metric")).otherwise(field),
        reason=pl.when(told)
        .then(pl.lit("a status record of the logger, no reading"))
        .otherwise("reason"),
        value_text=pl.when(told)
        .then(pl.coalesce("value_said", "value_text"))
        .otherwise("value_text"),
    )


def _with_values(rows: pl.DataFrame, batch: RawBatch, layout: Layout, column: str) -> pl.DataFrame:
    """Give every row the value of a column, in canonical notation, or why it has none."""
    nothing = pl.lit(None, pl.String)
    if column not in batch.frame.columns:
        return rows.with_columns(value_text=nothing, value_said=nothing)
    said = batch.frame[column]
    read = read_values(batch, layout, column)
    if read is None:
        return rows.with_columns(said.alias("value_text"), value_said=nothing)
    rows = rows.with_columns(
        read.texts.alias("value_text"),
        said.set(said.eq_missing(read.texts), None).alias("value_said"),
        value_reason=read.reasons,
    )
    at_fault = pl.when(pl.col("reason").is_not_null()).then(pl.lit("event_time"))
    return rows.with_columns(
        reason=pl.coalesce("reason", "value_reason"),
        field=at_fault.otherwise(pl.lit("value")),
        # A refused row shows what stood in the file.
        value_text=pl.when(pl.coalesce("reason", "value_reason").is_null())
        .then("value_text")
        .otherwise(pl.coalesce("value_said", "value_text")),
    ).drop("value_reason")
