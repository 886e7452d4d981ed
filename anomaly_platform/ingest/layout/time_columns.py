"""Times that stand in several columns: which ones they are, and one text of them.

Here belongs that ``Date`` and ``Time``, ``date`` and ``hour``, ``Year``, ``Day`` and ``HourMin``
are one time. Columns are known by name; a date and a clock also have to look like it.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import polars as pl

from anomaly_platform.ingest.layout.conventions import TimeColumn, TimePart
from anomaly_platform.ingest.layout.mapping import plain
from anomaly_platform.ingest.notation.dates import TimeNotation
from anomaly_platform.ingest.notation.times import read_times

_NAMES: Final[Mapping[TimePart, tuple[str, ...]]] = MappingProxyType(
    {
        "date": ("date", "datum", "localdate", "utcdate", "logdate", "recorddate", "dateutc"),
        "clock": (
            "time",
            "uhrzeit",
            "zeit",
            "clock",
            "timeofday",
            "localtime",
            "utctime",
            "timeutc",
        ),
        "hourminute": ("hourmin", "hourminute", "hhmm", "hrmin"),
        "hour": ("hour", "hr", "hh", "stunde"),
        "minute": ("minute",),
        "second": ("second", "sec"),
        "year": ("year", "yr", "yyyy", "jahr"),
        "month": ("month", "mm", "monat"),
        "day": ("day", "dd", "dayofmonth", "tag"),
        "ordinal": ("dayofyear", "doy", "yday", "jday", "julianday"),
    }
)
_CLOCKS: Final[tuple[tuple[TimePart, ...], ...]] = (
    ("clock",),
    ("hourminute",),
    ("hour", "minute", "second"),
)
_PARTS: Final = {name: part for part, names in _NAMES.items() for name in names}

_CLOCK_ALONE: Final = (
    r"(?i)^[0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.,:][0-9]+)?)?\s*([ap]\.?m\.?)?"
    r"\s*(z|[a-z]{3,4}|[+-][0-9]{2}:?[0-9]{2})?$"
)
_HOUR: Final = r"^(?:[01]?[0-9]|2[0-4])(?:\.0+)?$"
_HOUR_MINUTE: Final = r"^(?:[0-9]|[0-5][0-9]|(?:[01]?[0-9]|2[0-4])[0-5][0-9])(?:\.0+)?$"

_SIXTY: Final = r"^[0-5]?[0-9](?:\.[0-9]+)?$"


def part_of(name: str) -> TimePart:
    """Return what a column of this name says of a time, '' if nothing."""
    return _PARTS.get(plain(name), "")


def calendar_columns(
    names: Iterable[str], head: pl.DataFrame | None = None
) -> tuple[TimeColumn, ...]:
    """Return the columns of a time that begins with a year of its own; none without.

    Parameters
    ----------
    names
        Columns that may be part of it.
    head
        The first rows, where they are known: columns of the clock have to look like it.
    """
    found = _first_of_each(names)
    day: tuple[TimePart, ...]
    if {"year", "month", "day"} <= found.keys():
        day = ("year", "month", "day")
    elif "year" in found and found.keys() & {"ordinal", "day"}:
        day = ("year", "ordinal" if "ordinal" in found else "day")
    else:
        return ()
    date = tuple(TimeColumn(found[part], part) for part in day)
    if day[1] == "day":  # without a month it is the day of the year
        date = (date[0], TimeColumn(date[1].name, "ordinal"))
    return date + _clock_columns(found, head)


def companions(column: str, head: pl.DataFrame, free: Sequence[str]) -> tuple[TimeColumn, ...]:
    """Return all columns of the time, where the one that was found is only a part of it.

    Parameters
    ----------
    column
        Found as the time.
    head
        The first rows.
    free
        Other columns that nobody asked for.
    """
    found = _first_of_each(name for name in free if name != column)
    if looks_like_clock(head[column]):
        date = found.get("date")
        if date is not None and _looks_like_date(head[date]):
            return (TimeColumn(date, "date"), TimeColumn(column, "clock"))
        day = ("year", "month", "day", "ordinal")
        calendar = calendar_columns(name for name in free if part_of(name) in day)
        return (*calendar, TimeColumn(column, "clock")) if calendar else ()
    if (
        part_of(column) == "clock"
        and "date" in found
        and _fits(TimeColumn(column, "hourminute"), head)
    ):
        return (TimeColumn(found["date"], "date"), TimeColumn(column, "hourminute"))
    if not _looks_like_date(head[column]):
        return ()
    clock = _clock_columns(found, head)
    return (TimeColumn(column, "date"), *clock) if clock else ()


def looks_like_clock(texts: pl.Series) -> bool:
    """Tell whether a column holds times of day without a date."""
    said = texts.drop_nulls().str.strip_chars()
    return not said.is_empty() and bool(said.str.contains(_CLOCK_ALONE).all())


def shown_times(frame: pl.DataFrame, columns: Sequence[TimeColumn]) -> pl.Series:
    """Return the texts of several columns with blanks between them, null where one is missing."""
    there = [pl.col(one.name).str.strip_chars() for one in columns if one.name in frame.columns]
    if len(there) < len(columns):
        return pl.Series("time", [None], dtype=pl.String).new_from_index(0, frame.height)
    return frame.select(pl.concat_str(there, separator=" ").alias("time")).to_series()


def joined_times(
    frame: pl.DataFrame, columns: Sequence[TimeColumn], notation: TimeNotation
) -> pl.Series:
    """Return one text of each row's time: a date and a clock; as shown where one is neither."""
    shown = shown_times(frame, columns)
    parts = {one.part for one in columns}
    if notation.format or not parts - {"date", "clock", ""} or shown.null_count() == len(shown):
        return shown
    cells: dict[TimePart, pl.Expr] = {
        one.part: pl.col(one.name).str.strip_chars() for one in columns
    }
    whole: dict[TimePart, pl.Expr] = {
        part: cell.str.replace(r"\.0+$", "") for part, cell in cells.items() if part != "date"
    }
    hour, minute = whole.get("hour", pl.lit("0")), whole.get("minute", pl.lit("0"))
    if "hourminute" in whole:
        digits = whole["hourminute"].str.zfill(4)
        hour, minute = digits.str.slice(0, 2), digits.str.slice(2, 2)
    midnight = hour.cast(pl.Int32, strict=False) == 24
    clock = pl.concat_str(
        pl.when(midnight & (minute.cast(pl.Int32, strict=False) == 0))
        .then(pl.lit("00"))
        .otherwise(hour.str.zfill(2)),
        pl.lit(":"),
        minute.str.zfill(2),
        pl.lit(":"),
        cells.get("second", pl.lit("0")).str.replace(r"^([0-9])(\.|$)", "0$1$2"),
    )
    if "clock" in whole:
        clock, midnight = whole["clock"], pl.lit(value=False)
    day = frame.select(_date(cells, whole).alias("day")).to_series()
    days = read_times(day, "UTC", notation).times
    read = frame.select(
        pl.concat_str(
            (
                pl.lit(days) + pl.duration(days=midnight.fill_null(value=False).cast(pl.Int32))
            ).dt.to_string("%Y-%m-%d"),
            clock,
            separator=" ",
        ).alias("time")
    ).to_series()
    return read.zip_with(read.is_not_null(), shown)


def _date(cells: Mapping[TimePart, pl.Expr], whole: Mapping[TimePart, pl.Expr]) -> pl.Expr:
    if "date" in cells:
        return cells["date"]
    if "ordinal" not in whole:
        return pl.concat_str([whole[part] for part in ("year", "month", "day")], separator="-")
    first = pl.concat_str(whole["year"], pl.lit("-01-01")).str.to_date("%Y-%m-%d", strict=False)
    ordinal = whole["ordinal"].cast(pl.Int32, strict=False)
    day = first + pl.duration(days=ordinal - 1)
    real = (ordinal >= 1) & (day.dt.year() == first.dt.year())
    return pl.when(real).then(day.dt.to_string("%Y-%m-%d"))


def _first_of_each(names: Iterable[str]) -> dict[TimePart, str]:
    found: dict[TimePart, str] = {}
    for name in names:
        part = part_of(name)
        if part:
            found.setdefault(part, name)
    return found


def _clock_columns(
    found: Mapping[TimePart, str], head: pl.DataFrame | None
) -> tuple[TimeColumn, ...]:
    """Return the columns of the time of day, of which the first rows look like one."""
    for parts in _CLOCKS:
        there = [part for part in parts if part in found]
        columns = tuple(TimeColumn(found[part], part) for part in there)
        if (
            there
            and there[0] == parts[0]
            and (head is None or all(_fits(one, head) for one in columns))
        ):
            return columns
    return ()


def _looks_like_date(texts: pl.Series) -> bool:
    """Tell whether a column holds dates without a time of day."""
    said = texts.drop_nulls().str.strip_chars()
    has_clock = said.str.contains(r"[0-9]\s*:\s*[0-9]|[0-9]{4}t[0-9]|(?i)[ap]m$")
    numbers = (
        said.str.contains(r"^[0-9.]+$")
        & (said.str.len_chars() > 8)
        & ~said.str.contains(r"^[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4}$")
    )
    return not said.is_empty() and not bool((has_clock | numbers).any())


def _fits(column: TimeColumn, head: pl.DataFrame) -> bool:
    said = head[column.name].drop_nulls().str.strip_chars()
    if column.part == "clock":
        return looks_like_clock(said)
    pattern = {"hour": _HOUR, "hourminute": _HOUR_MINUTE}.get(column.part, _SIXTY)
    return not said.is_empty() and bool(said.str.contains(pattern).all())
