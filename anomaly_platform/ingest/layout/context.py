"""What decides how a file is understood, and the way from its columns to rows that all kinds share.

Here belongs which column or constant each field has, the time of a row and the day it belongs to,
and reading a file batch by batch. What the columns of a kind's file *mean* is in ``metrics`` and
``scans``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import polars as pl

from anomaly_platform.ingest.event_days import FUTURE_ALLOWANCE, refuse_event_time
from anomaly_platform.ingest.files.batches import RawBatch
from anomaly_platform.ingest.files.readers import ReadLimits, TablePlace
from anomaly_platform.ingest.layout.conventions import Conventions, TimeColumn
from anomaly_platform.ingest.layout.mapping import (
    METRIC_FIELDS,
    ColumnMapping,
    Fields,
    MappingError,
    listed,
    plain,
)
from anomaly_platform.ingest.layout.time_columns import (
    CLOCK_PARTS,
    calendar_columns,
    joined_times,
    part_of,
    shown_times,
)
from anomaly_platform.ingest.notation.times import Times, read_times
from anomaly_platform.ingest.notation.zones import TWICE, at_second_coming, places_twice
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
    limits
        What the file may ask of the machine.
    """

    name: str
    now: datetime
    mapping: ColumnMapping = field(default_factory=ColumnMapping)
    fields: Fields = field(default_factory=lambda: METRIC_FIELDS)
    timezone: str = "UTC"
    start: datetime = datetime(2010, 1, 1, tzinfo=UTC)
    future_allowance: timedelta = FUTURE_ALLOWANCE
    ignored: tuple[str, ...] = ()
    limits: ReadLimits = field(default_factory=ReadLimits)

    @property
    def place(self) -> TablePlace:
        """Where the user says that the table is."""
        return TablePlace(self.mapping.header_line, self.mapping.comment)

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
    conventions
        How its cells are written.
    """

    wide: bool
    columns: dict[str, str]
    constants: dict[str, str]
    ignored: tuple[str, ...]
    entity_from_name: str | None
    conventions: Conventions = field(default_factory=Conventions)

    def metric_columns(self, columns: Sequence[str]) -> list[str]:
        """Return the columns of a batch that are metrics of a wide file."""
        taken = {*self.columns.values(), *self.ignored, *self.conventions.columns}
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
    time_columns
        The columns of the time, where several are known by mapping or by name.
    """

    columns: dict[str, str]
    constants: dict[str, str]
    left_out: list[str]
    time_columns: tuple[TimeColumn, ...] = ()


def assign_columns(columns: Sequence[str], context: LayoutContext) -> Assignment:
    """Find the column of each field by mapping and by known names.

    Raises
    ------
    MappingError
        When the mapping names a column that the file does not have, or contradicts itself.
    """
    mapping = context.mapping
    by_field, constants = mapping.resolve(context.fields)
    time_columns = _mapped_time(columns, by_field)
    if time_columns:
        by_field["event_time"] = time_columns[0].name
    mapped = {*by_field.values(), *(one.name for one in time_columns)}
    missing = [name for name in (*by_field.values(), *mapping.ignore) if name not in columns]
    if missing:
        raise MappingError(
            f"the file has no column {missing[0]!r}; its columns are {listed(columns)}"
        )
    unwanted = {plain(name) for name in context.ignored}
    left_out = list(mapping.ignore)
    left_out += [
        name
        for name in columns
        if plain(name) in unwanted and name not in mapped and name not in left_out
    ]
    free = {
        spoken: name
        for name in reversed(columns)
        if name not in mapped and name not in left_out
        for spoken in {name if name[:1] == "_" else "", plain(name)} - {""}
    }
    for target, names in context.fields.items():
        for known in names:
            column = free.pop(known if known[0] == "_" else plain(known), None)
            if column is None or column in {*by_field.values(), *left_out}:
                continue
            if target in by_field or target in constants:
                left_out.append(column)
            else:
                by_field[target] = column
    if "event_time" not in by_field:
        unused = [name for name in free.values() if name not in left_out]
        time_columns = calendar_columns(list(dict.fromkeys(unused)))
        if time_columns:
            by_field["event_time"] = time_columns[0].name
    return Assignment(by_field, constants, left_out, time_columns)


def _mapped_time(columns: Sequence[str], by_field: dict[str, str]) -> tuple[TimeColumn, ...]:
    """Return the columns of a time that is mapped as ``Date+Time``; none for a single column.

    Raises
    ------
    MappingError
        When one of the columns is not there.
    """
    said = by_field.get("event_time", "")
    names = [name.strip() for name in said.split("+")]
    if said in columns or len(names) == 1:
        return ()
    missing = [name for name in names if name not in columns]
    if missing:
        raise MappingError(
            f"the file has no column {missing[0]!r} of {said!r}; its columns are {listed(columns)}"
        )
    calendar = calendar_columns(names)
    if len(calendar) == len(names):
        return calendar
    rest = [name for name in names if part_of(name) not in CLOCK_PARTS]
    if len(rest) > 1:  # of other names: joined as they stand
        return tuple(TimeColumn(name, "") for name in names)
    return tuple(TimeColumn(name, "date" if name in rest else part_of(name)) for name in names)


def texts_of(batch: RawBatch, layout: Layout) -> Callable[[str], pl.Expr]:
    """Return what gives a field's texts in a batch, from its column or its constant."""

    def texts(name: str) -> pl.Expr:
        column = layout.columns.get(name)
        if column is None:
            return pl.lit(layout.constants.get(name), dtype=pl.String)
        there = column in batch.frame.columns
        return pl.col(column) if there else pl.lit(None, dtype=pl.String)

    return texts


def shown_times_of(frame: pl.DataFrame, layout: Layout) -> pl.Series:
    """Return the texts of the times of rows, as they stand in the file."""
    if layout.conventions.time_columns:
        return shown_times(frame, layout.conventions.time_columns)
    column = layout.columns.get("event_time", "")
    if column in frame.columns:
        return frame[column]
    return pl.Series("time", [None], dtype=pl.String).new_from_index(0, frame.height)


def times_of(frame: pl.DataFrame, layout: Layout, context: LayoutContext) -> Times:
    """Read the times of rows; those that come twice at their first coming."""
    settled = layout.conventions
    texts = (
        joined_times(frame, settled.time_columns, settled.times)
        if settled.time_columns
        else shown_times_of(frame, layout)
    )
    return read_times(texts, settled.zone or context.zone, settled.times)


def timed_rows(batch: RawBatch, layout: Layout, context: LayoutContext) -> pl.DataFrame:
    """Give every row its time and its day, or the reason why it has none."""
    said = times_of(batch.frame, layout, context)
    times, reasons = said.times, said.reasons
    zone = layout.conventions.zone or context.zone
    if zone != "UTC":
        places = places_twice(said.texts, times, zone)
        rows = batch.row_numbers.gather(places)
        later = rows.is_in(layout.conventions.later.implode())
        unknown = ~later & ~rows.is_in(layout.conventions.first.implode())
        second = places.filter(later)
        times = times.scatter(second, at_second_coming(times.gather(second), zone))
        reasons = reasons.scatter(places.filter(unknown), TWICE)
    refused = refuse_event_time(
        times, start=context.start, now=context.now, future_allowance=context.future_allowance
    )
    return pl.DataFrame(
        {
            "event_time_text": shown_times_of(batch.frame, layout),
            "event_time": times,
            "event_date": times.dt.date(),
            "reason": reasons.zip_with(reasons.is_not_null(), refused),
        }
    )


def split_refused(
    rows: pl.DataFrame, batch: RawBatch, schema: pl.Schema, texts: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split rows into the good ones and the rejects of the batch, which show these texts.

    A row's ``reason`` is that of its time, unless a column ``field`` names another one.
    """
    at_fault = pl.lit("event_time")
    if "field" in rows.columns:
        at_fault = pl.coalesce("field", at_fault)
    refused = rows.filter(pl.col("reason").is_not_null())
    rejects = refused.select(
        "row_number",
        "column",
        field=at_fault,
        reason="reason",
        raw=raw_column(refused, texts),
    ).match_to_schema(REJECTS)
    good = rows.filter(pl.col("reason").is_null()).select(schema.names())
    return good.cast(schema), pl.concat([batch.rejects, rejects])
