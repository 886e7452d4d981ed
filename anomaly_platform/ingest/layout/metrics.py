"""From a file's columns to long rows, one per reading, for streams of metrics.

Here belongs what the columns of a file *mean*: which is the time, the entity, a metric; long or
wide. Cells are not judged here, except for the time, which decides the day that a row belongs to.

A file is **long** when, by mapping, constants and known names, it has a metric, a value and a time.
Otherwise it is **wide**: a time column (mapped, known by name, or the first column), perhaps an
entity and a label, and every other column is a metric of its own. Rows without an entity of their
own belong to the constant that is set, else to the file's name without suffixes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import polars as pl

from anomaly_platform.ingest.bucketing import bucket_of
from anomaly_platform.ingest.event_days import (
    EVENT_TIME,
    FUTURE_ALLOWANCE,
    parse_event_time,
    refuse_event_time,
)
from anomaly_platform.ingest.files.batches import RawBatch, is_unnamed
from anomaly_platform.ingest.files.readers import FileSource, ReadLimits, file_stem, read_raw
from anomaly_platform.ingest.layout.mapping import (
    METRIC_FIELDS,
    ColumnMapping,
    Fields,
    MappingError,
    listed,
    plain,
)
from anomaly_platform.ingest.rejects import REJECTS, raw_column

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


@dataclass(frozen=True)
class LayoutContext:
    """Everything besides its columns that decides how a file is understood.

    Parameters
    ----------
    name
        The file's name.
    now
        The present, with a time zone.
    mapping
        What the user says about the columns.
    fields
        The stream's fields and the names of their columns.
    timezone
        Where the stream's times without a zone are at home, unless the mapping says otherwise.
    start
        The first instant that the stream takes.
    future_allowance
        How far ahead of `now` an event may lie.
    ignored
        Columns that the stream has no use for, where a file has them.
    """

    name: str
    now: datetime
    mapping: ColumnMapping = field(default_factory=ColumnMapping)
    fields: Fields = field(default_factory=lambda: METRIC_FIELDS)
    timezone: str = "UTC"
    start: datetime = datetime(2010, 1, 1, tzinfo=UTC)
    future_allowance: timedelta = FUTURE_ALLOWANCE
    ignored: tuple[str, ...] = ()

    @property
    def zone(self) -> str:
        """The time zone of times that do not say theirs."""
        return self.mapping.timezone or self.timezone


@dataclass(frozen=True)
class Layout:
    """How the columns of one file are understood.

    Parameters
    ----------
    wide
        Whether each unassigned column is a metric.
    columns
        Field → column.
    constants
        Field → the same text for every row.
    ignored
        Columns that are not used, for the report.
    entity_from_name
        The entity where neither column nor constant gives it; None where one does.
    """

    wide: bool
    columns: dict[str, str]
    constants: dict[str, str]
    ignored: tuple[str, ...]
    entity_from_name: str | None

    def metric_columns(self, columns: Sequence[str]) -> list[str]:
        """Return the columns of a batch that are metrics of a wide file."""
        taken = {*self.columns.values(), *self.ignored}
        return [name for name in columns if name not in taken]


class Assignment(NamedTuple):
    """Which column or constant each field has, before it is known what the rest means.

    Parameters
    ----------
    columns
        Field → column.
    constants
        Field → text.
    left_out
        Columns that the user ignores, or that have a known name of a field that has a column or
        constant already.
    """

    columns: dict[str, str]
    constants: dict[str, str]
    left_out: list[str]


def assign_columns(columns: Sequence[str], context: LayoutContext) -> Assignment:
    """Find the column of each field by mapping and by known names.

    Raises
    ------
    MappingError
        When the mapping names a column that the file does not have, or contradicts itself.
    """
    mapping = context.mapping
    by_field, constants = mapping.resolve(context.fields)
    missing = [name for name in (*mapping.columns, *mapping.ignore) if name not in columns]
    if missing:
        raise MappingError(
            f"the file has no column {missing[0]!r}; its columns are {listed(columns)}"
        )
    unwanted = {plain(name) for name in context.ignored}
    left_out = list(mapping.ignore)
    left_out += [
        name
        for name in columns
        if plain(name) in unwanted and name not in mapping.columns and name not in left_out
    ]
    free = {
        plain(name): name
        for name in reversed(columns)
        if name not in mapping.columns and name not in left_out and plain(name)
    }
    for target, names in context.fields.items():
        for known in names:
            column = free.get(plain(known))
            if column is None:
                continue
            if target in by_field or target in constants:
                left_out.append(column)
            else:
                by_field[target] = column
            del free[plain(known)]
    return Assignment(by_field, constants, left_out)


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
    rows = _with_times(batch, layout, context)
    long = _unpivot(rows, batch, layout) if layout.wide else rows.with_columns(column=pl.lit(""))
    if context.mapping.decimal == ",":
        long = long.with_columns(pl.col("value_text").str.replace(",", ".", literal=True))
    refused = long.filter(pl.col("reason").is_not_null())
    rejects = refused.select(
        "row_number",
        "column",
        field=pl.lit("event_time"),
        reason="reason",
        raw=raw_column(refused, ("event_time_text", "entity", "metric", "value_text")),
    ).match_to_schema(REJECTS)
    good = long.filter(pl.col("reason").is_null()).select(RAW_METRIC_ROWS.names())
    return good.cast(RAW_METRIC_ROWS), pl.concat([batch.rejects, rejects])


def read_raw_rows(
    source: FileSource,
    context: LayoutContext,
    *,
    batch_rows: int = 250_000,
    limits: ReadLimits | None = None,
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield the raw rows and rejects of a whole file; `read_raw`'s protocol applies."""
    layout: Layout | None = None
    for batch in read_raw(source, context.name, batch_rows=batch_rows, limits=limits):
        if not batch.frame.width:  # JSON without a single good record so far
            yield pl.DataFrame(schema=RAW_METRIC_ROWS), batch.rejects
            continue
        layout = layout or resolve_layout(batch.frame.columns, context)
        yield to_raw_rows(batch, layout, context)


def file_layout(
    source: FileSource, context: LayoutContext, *, limits: ReadLimits | None = None
) -> Layout:
    """Return the layout of a file, from its first rows."""
    batches = read_raw(source, context.name, batch_rows=10_000, limits=limits)
    return resolve_layout(next(iter(batches)).frame.columns, context)


def _with_times(batch: RawBatch, layout: Layout, context: LayoutContext) -> pl.DataFrame:
    """Give every source row its fields, its time, its day, or the reason why it has none."""
    frame = batch.frame
    nothing = pl.lit(None, dtype=pl.String)

    def texts(name: str) -> pl.Expr:
        column = layout.columns.get(name)
        if column is not None:
            return pl.col(column) if column in frame.columns else nothing
        return pl.lit(layout.constants.get(name), dtype=pl.String)

    def name_of(name: str) -> pl.Expr:
        return texts(name).str.strip_chars().str.normalize("NFC")

    entity = name_of("entity")
    if layout.entity_from_name is not None:
        entity = pl.lit(layout.entity_from_name)
    rows = frame.select(
        batch.row_numbers.alias("row_number"),
        entity=entity,
        metric=name_of("metric"),
        event_time_text=texts("event_time"),
        value_text=texts("value"),
        event_id_text=texts("event_id"),
        metadata_text=texts("metadata"),
        label_text=texts("label"),
    )
    times = parse_event_time(rows["event_time_text"], context.zone)
    reasons = refuse_event_time(
        times, start=context.start, now=context.now, future_allowance=context.future_allowance
    )
    return rows.with_columns(
        times.alias("event_time"),
        times.dt.date().alias("event_date"),
        reasons,
        bucket_of(rows["entity"]),
    )


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
