"""What decides how a file is understood, and the way from its columns to rows that all kinds share.

Here belongs which column or constant each field has, the time of a row and the day it belongs to,
and reading a file batch by batch. What the columns of a kind's file *mean* is in ``metrics`` and
``scans``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import polars as pl

from anomaly_platform.ingest.event_days import (
    FUTURE_ALLOWANCE,
    parse_event_time,
    refuse_event_time,
)
from anomaly_platform.ingest.files.batches import RawBatch
from anomaly_platform.ingest.files.readers import FileSource, ReadLimits, read_raw
from anomaly_platform.ingest.layout.mapping import (
    METRIC_FIELDS,
    ColumnMapping,
    Fields,
    MappingError,
    listed,
    plain,
)
from anomaly_platform.ingest.rejects import REJECTS, raw_column


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


def texts_of(batch: RawBatch, layout: Layout) -> Callable[[str], pl.Expr]:
    """Return what gives a field's texts in a batch, from its column or its constant."""

    def texts(name: str) -> pl.Expr:
        column = layout.columns.get(name)
        if column is None:
            return pl.lit(layout.constants.get(name), dtype=pl.String)
        there = column in batch.frame.columns
        return pl.col(column) if there else pl.lit(None, dtype=pl.String)

    return texts


def with_times(rows: pl.DataFrame, context: LayoutContext) -> pl.DataFrame:
    """Give every row its time and its day, or the reason why it has none."""
    times = parse_event_time(rows["event_time_text"], context.zone)
    reasons = refuse_event_time(
        times, start=context.start, now=context.now, future_allowance=context.future_allowance
    )
    return rows.with_columns(
        times.alias("event_time"), times.dt.date().alias("event_date"), reasons.alias("reason")
    )


def split_refused(
    rows: pl.DataFrame, batch: RawBatch, schema: pl.Schema, texts: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split rows into the good ones and the rejects of the batch, which show these texts."""
    refused = rows.filter(pl.col("reason").is_not_null())
    rejects = refused.select(
        "row_number",
        "column",
        field=pl.lit("event_time"),
        reason="reason",
        raw=raw_column(refused, texts),
    ).match_to_schema(REJECTS)
    good = rows.filter(pl.col("reason").is_null()).select(schema.names())
    return good.cast(schema), pl.concat([batch.rejects, rejects])


@dataclass(frozen=True)
class RowReader:
    """How files of a kind of stream become raw rows.

    Parameters
    ----------
    schema
        Of raw rows.
    resolve
        Decides from its columns how a file is understood.
    convert
        Turns a batch into raw rows and rejects.
    """

    schema: pl.Schema
    resolve: Callable[[Sequence[str], LayoutContext], Layout]
    convert: Callable[[RawBatch, Layout, LayoutContext], tuple[pl.DataFrame, pl.DataFrame]]

    def read(
        self,
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
                yield pl.DataFrame(schema=self.schema), batch.rejects
                continue
            layout = layout or self.resolve(batch.frame.columns, context)
            yield self.convert(batch, layout, context)

    def layout(self, source: FileSource, context: LayoutContext) -> Layout:
        """Return the layout of a file, from its first rows."""
        batches = read_raw(source, context.name, batch_rows=10_000)
        return self.resolve(next(iter(batches)).frame.columns, context)
