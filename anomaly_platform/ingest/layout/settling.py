"""Settles how the times of a file are written, and in which columns they stand.

Here belongs the decision, which is one for the whole file: from the head where it is plain, by a
pass over all rows where it is not. What admits two readings is refused, and the refusal names the
column and the option that says which.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import polars as pl

from anomaly_platform.ingest.files.batches import RawBatch
from anomaly_platform.ingest.layout.context import (
    Layout,
    LayoutContext,
    shown_times_of,
    times_of,
)
from anomaly_platform.ingest.layout.conventions import TimeColumn
from anomaly_platform.ingest.layout.mapping import MappingError, listed, plain
from anomaly_platform.ingest.layout.repeated_hour import RepeatedHour
from anomaly_platform.ingest.layout.time_columns import (
    calendar_columns,
    companions,
    finer_columns,
    looks_like_clock,
    looks_like_time,
    part_of,
)
from anomaly_platform.ingest.layout.whole_file import WholeFile
from anomaly_platform.ingest.notation.dates import Order, Orders, TimeNotation, orders_of
from anomaly_platform.ingest.notation.times import serials_only
from anomaly_platform.ingest.notation.zones import say_zone

_NOT_A_YEAR_FIRST: Final = r"^\s*[0-9]{1,2}[./-][0-9]{1,2}[./-][0-9]{2}"


def no_time(columns: Sequence[str]) -> MappingError:
    """Return the refusal of a file none of whose columns has the time."""
    return MappingError(
        "the file has no column for the time; name one with --map column=timestamp; its "
        f"columns are {listed(columns)}"
    )


def settle_times(
    layout: Layout,
    head: RawBatch,
    file: WholeFile,
    context: LayoutContext,
    series: Sequence[str] = (),
) -> Layout:
    """Settle how the times of a file are written, and in which columns they are.

    Parameters
    ----------
    layout
        Of the file, from its columns.
    head
        Its first rows.
    file
        All of it.
    context
        The same as the layout was made with.
    series
        Columns of what a row is of; the rows of a series are in order by themselves.

    Raises
    ------
    MappingError
        When there is no date, or its numbers can be read in two ways.
    """
    layout = _with_time_columns(layout, head.frame, context)
    shown = shown_times_of(head.frame, layout)
    at_home = not say_zone(shown.drop_nulls()).all()
    dates = _dates_of(head.frame, layout)
    notation = TimeNotation(
        format=context.mapping.time_format or "",
        serial=_is_named(layout, context) and serials_only(dates),
    )
    if not notation.format and dates.str.contains(_NOT_A_YEAR_FIRST).any():
        orders, texts = Orders(), 0
        for batch in file.batches():
            dates = _dates_of(batch.frame, layout)
            orders += orders_of(dates, context.start, context.now)
            texts += dates.count()
        if orders.dates * 2 > texts:
            notation = replace(notation, order=_order(orders, layout))
    names = [one.name for one in layout.conventions.time_columns] or [layout.columns["event_time"]]
    says_utc = not context.mapping.timezone and any(map(_says_utc, names))
    layout = _with(layout, times=notation, zone="UTC" if says_utc else "")
    if says_utc or context.zone == "UTC" or not at_home:
        return layout
    hours = RepeatedHour(context.zone, series)
    for batch in file.batches():
        hours.see(batch, times_of(batch.frame, layout, context))
    first, later = hours.rows()
    return _with(layout, first=first, later=later)


def _says_utc(name: str) -> bool:
    """Tell whether a column is called as times in UTC are, such as ``Timestamp (UTC)``."""
    said = plain(name)
    return said.endswith("utc") or said in {"utctime", "utcdate", "utctimestamp", "utcdatetime"}


def _dates_of(frame: pl.DataFrame, layout: Layout) -> pl.Series:
    """Return the texts that have the dates of rows."""
    date = [one.name for one in layout.conventions.time_columns if one.part == "date"]
    return frame[date[0]] if date and date[0] in frame.columns else shown_times_of(frame, layout)


def _order(orders: Orders, layout: Layout) -> Order:
    """Return the one order in which all dates of a file can be read."""
    possible = orders.possible
    if len(possible) == 1:
        return possible[0]
    which = "can be read in several ways" if possible else "are not all in one order"
    said = (
        "+".join(one.name for one in layout.conventions.time_columns)
        or layout.columns["event_time"]
    )
    mark = re.sub("[0-9 ]", "", orders.example[:3]) or "/"
    year = "%Y" if re.search("[0-9]{4}", orders.example) else "%y"
    raise MappingError(
        f"the dates of the column {said!r} {which}, such as {orders.example!r}; say how they are"
        f" written with --time-format, such as '%d{mark}%m{mark}{year} %H:%M:%S'"
    )


def _with_time_columns(layout: Layout, head: pl.DataFrame, context: LayoutContext) -> Layout:
    """Find the columns of a time that is in several."""
    if layout.conventions.time_columns and not context.mapping.columns.keys() <= set(head.columns):
        return layout  # mapped as Date+Time
    column = layout.columns["event_time"]
    said = column in context.mapping.columns
    if column not in head.columns:
        return layout
    taken = {
        *(name for field, name in layout.columns.items() if field != "event_time"),
        *context.mapping.columns,
        *context.mapping.ignore,
    }
    free = [name for name in head.columns if name not in taken]
    if not said and part_of(column) == "" and not _is_named(layout, context):
        column = _the_time(column, head, free)
        may_be_any = layout.wide and column == head.columns[0]
        if not (may_be_any or looks_like_time(head[column]) or looks_like_clock(head[column])):
            raise no_time(head.columns)
    if layout.conventions.time_columns or part_of(column) == "year":
        found = calendar_columns([column, *free], head)
    else:
        found = () if said else companions(column, head, free)
    if not found and looks_like_clock(head[column]):
        raise MappingError(
            f"the column {column!r} has a time of day without a date; name all columns of the time"
            f" with --map, such as --map Date+{column}=timestamp"
        )
    known = found or (TimeColumn(column, ""),)
    used = {one.name for one in known}
    finer = finer_columns(known, head, [name for name in free if name not in used])
    if finer:
        found = (*known, *finer)
    columns = {**layout.columns, "event_time": found[0].name if found else column}
    names = {one.name for one in found} or {column}
    ignored = tuple(name for name in layout.ignored if name not in names)
    return _with(replace(layout, columns=columns, ignored=ignored), time_columns=found)


def _the_time(column: str, head: pl.DataFrame, free: Sequence[str]) -> str:
    """Return the column of the time of a file where none is called so; the first by default.

    Raises
    ------
    MappingError
        When several columns besides the first may be it.
    """
    if looks_like_time(head[column]):
        return column
    others = [name for name in free if name != column and looks_like_time(head[name])]
    if len(others) > 1:
        raise MappingError(
            f"no column is called as a time, and {listed(others)} hold times; say which one it is"
            f" with --map, such as --map {others[0]}=timestamp"
        )
    return others[0] if others else column


def _is_named(layout: Layout, context: LayoutContext) -> bool:
    """Whether the time's column is one by its name, not by its place in the file."""
    column = layout.columns["event_time"]
    known = {plain(name) for name in context.fields["event_time"]}
    return column in context.mapping.columns or plain(column) in known


def _with(layout: Layout, **settled: object) -> Layout:
    return replace(layout, conventions=replace(layout.conventions, **settled))  # type: ignore[arg-type]
