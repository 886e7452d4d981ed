"""Times that stand in several columns: which ones they are, and one text of them.

Here belongs that ``Date`` and ``Time``, ``date`` and ``hour``, ``Year``, ``Day`` and ``HourMin``
are one time. Columns are known by name; a date and a clock also have to look like it.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import polars as pl

from anomaly_platform.ingest.layout.conventions import TimeColumn, TimePart
from anomaly_platform.ingest.layout.mapping import MappingError, listed, plain
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
        "hourminutesecond": ("hhmmss",),
        "hour": ("hour", "hours", "hr", "hh", "stunde"),
        "minute": ("minute", "minutes", "min"),
        "second": ("second", "seconds", "sec"),
        "millisecond": ("millisecond", "milliseconds", "msec", "ms"),
        "half": ("ampm",),
        "zone": ("tz", "timezone", "utcoffset", "tzoffset", "zeitzone"),
        "year": ("year", "yr", "yyyy", "jahr"),
        "month": ("month", "mm", "monat"),
        "day": ("day", "dd", "dayofmonth", "tag"),
        "ordinal": ("dayofyear", "doy", "yday", "jday", "julianday"),
    }
)
_CLOCKS: Final[tuple[tuple[TimePart, ...], ...]] = (
    ("clock",),
    ("hourminute",),
    ("hourminutesecond",),
    ("hour", "minute", "second"),
)
CLOCK_PARTS: Final[frozenset[TimePart]] = frozenset(
    {part for parts in _CLOCKS for part in parts} | {"millisecond", "half", "zone"}
)
"""What columns say of a time besides its date."""
_PARTS: Final = {name: part for part, names in _NAMES.items() for name in names}

#: The day that databases and spreadsheets put before a time of day that has none.
_NO_DAY: Final = r"(?:1899-12-30|1900-01-0[01]|12[/.]30[/.]1899|30[/.]12[/.]1899)[t ]+"
_MIDNIGHT: Final = r"[t ]+00:00(?::00(?:[.,]0+)?)?z?$"
_CLOCK_ALONE: Final = (
    rf"(?i)^(?:{_NO_DAY})?[0-9]{{1,2}}"
    r"(?::[0-9]{2}(?::[0-9]{2}(?:[.,:][0-9]+)?)?|\.[0-9]{2}\.[0-9]{2})\s*(?:[ap]\.?m\.?)?"
    r"\s*(?:z|[a-z]{3,4}|[+-][0-9]{2}:?[0-9]{2})?$"
)
_FITTING: Final[Mapping[TimePart, str]] = MappingProxyType(
    {
        "clock": _CLOCK_ALONE,
        "hour": r"^(?:[01]?[0-9]|2[0-4])(?:\.0+)?$",
        "hourminute": r"^(?:[0-9]|[0-5][0-9]|(?:[01]?[0-9]|2[0-4])[0-5][0-9])(?:\.0+)?$",
        "hourminutesecond": r"^(?:[01]?[0-9]|2[0-4])[0-5][0-9][0-5][0-9]$",
        "minute": r"^[0-5]?[0-9](?:\.[0-9]+)?$",
        "second": r"^[0-5]?[0-9](?:\.[0-9]+)?$",
        "millisecond": r"^[0-9]{1,3}(?:\.0+)?$",
        "half": r"(?i)^[ap]\.?m\.?$",
        "zone": r"^(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?|[A-Z]{3,5})$",
    }
)
#: What the text of a time ends with that lacks this part.
_LACKING: Final[Mapping[TimePart, str]] = MappingProxyType(
    {
        "millisecond": r"[:.][0-9]{2}[:.][0-9]{2}$",
        "half": r"(?:^|[^0-9])(?:0?[0-9]|1[0-2])[:.][0-9]{2}(?:[:.][0-9]{2}(?:[.,][0-9]+)?)?$",
        "zone": r"[:.][0-9]{2}(?:[.,][0-9]+)?\s*(?:[AaPp]\.?[Mm]\.?)?$",
    }
)


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
        if date is not None and looks_like_date(head[date]):
            return (TimeColumn(date, "date"), TimeColumn(column, "clock"))
        day = ("year", "month", "day", "ordinal")
        calendar = calendar_columns(name for name in free if part_of(name) in day)
        return (*calendar, TimeColumn(column, "clock")) if calendar else ()
    if part_of(column) == "clock" and "date" in found:
        digits: tuple[TimePart, ...] = ("hourminute", "hourminutesecond")
        for part in digits:
            if _fits(TimeColumn(column, part), head):
                return (TimeColumn(found["date"], "date"), TimeColumn(column, part))
    if not looks_like_date(head[column]):
        return ()
    clock = _clock_columns(found, head) or _clocks_of_any_name(column, free, head)
    return (TimeColumn(column, "date"), *clock) if clock else ()


def _clocks_of_any_name(
    column: str, free: Sequence[str], head: pl.DataFrame
) -> tuple[TimeColumn, ...]:
    """Return the one column of times of day beside a column of dates, whatever it is called.

    Raises
    ------
    MappingError
        When there are several.
    """
    clocks = [name for name in free if name != column and looks_like_clock(head[name])]
    if len(clocks) > 1:
        raise MappingError(
            f"the column {column!r} has the date, and {listed(clocks)} have times of day; say which"
            f" one it is with --map, such as --map {column}+{clocks[0]}=timestamp"
        )
    return tuple(TimeColumn(name, "clock") for name in clocks)


def finer_columns(
    columns: Sequence[TimeColumn], head: pl.DataFrame, free: Sequence[str]
) -> tuple[TimeColumn, ...]:
    """Return the columns that say what the text of the times lacks: milliseconds, AM or PM, a zone.

    Parameters
    ----------
    columns
        Those of the time as it was found.
    head
        The first rows.
    free
        Other columns that nobody asked for.

    Raises
    ------
    MappingError
        When a column names a time zone by its place.
    """
    last = shown_times(head, columns).drop_nulls().str.strip_chars()
    found = _first_of_each(free)
    finer = []
    for part, lacking in _LACKING.items():
        name = found.get(part)
        if name is None or last.is_empty() or not last.str.contains(lacking).all():
            continue
        said = head[name].drop_nulls().str.strip_chars()
        if part == "zone" and said.str.contains(r"^[A-Z][A-Za-z_]+/[A-Za-z_/+-]+$").any():
            raise MappingError(
                f"the column {name!r} says the time zone {said[0]!r}; give it with --timezone"
                f" {said[0]}, and leave the column out with --ignore {name}"
            )
        if _fits(TimeColumn(name, part), head):
            finer.append(TimeColumn(name, part))
    return tuple(finer)


def looks_like_time(texts: pl.Series) -> bool:
    """Tell whether a column holds dates, with or without a time of day, and nothing else."""
    said = texts.drop_nulls().head(100)
    has_date = said.str.contains(r"(?i)[0-9]\s*[a-z./-]+\s*[0-9]+\s*[a-z./-]+\s*[0-9]")
    if said.is_empty() or not has_date.all():
        return False
    orders = (TimeNotation(order) for order in ("", "day", "month"))
    return any(not read_times(said, "UTC", order).times.null_count() for order in orders)


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
    if notation.format or shown.null_count() == len(shown):
        return shown
    main = [one for one in columns if one.part not in _LACKING]
    cells = {one.part: pl.col(one.name).str.strip_chars() for one in columns}
    text = frame.select(_main_text(frame, main, notation).alias("time")).to_series()
    more = [
        pl.concat_str(pl.lit(mark), cells[part].str.replace(r"\.0+$", "").str.zfill(width))
        for part, mark, width in (("millisecond", ".", 3), ("half", " ", 0), ("zone", " ", 0))
        if part in cells
    ]
    read = frame.select(pl.concat_str(text, *more).alias("time")).to_series() if more else text
    return read.zip_with(read.is_not_null(), shown)


def _main_text(
    frame: pl.DataFrame, columns: Sequence[TimeColumn], notation: TimeNotation
) -> pl.Expr:
    """Return the text of a date and a clock; null where one of them is none."""
    cells: dict[TimePart, pl.Expr] = {
        one.part: pl.col(one.name).str.strip_chars() for one in columns
    }
    if "date" in cells:
        cells["date"] = cells["date"].str.replace(f"(?i){_MIDNIGHT}", "")
    if "clock" in cells:
        cells["clock"] = cells["clock"].str.replace(f"(?i)^{_NO_DAY}", "")
    if len(columns) == 1 or "" in cells:
        return pl.lit(shown_times(frame, columns))
    if cells.keys() == {"date", "clock"} and not notation.serial:
        return pl.concat_str(cells["date"], cells["clock"], separator=" ")
    whole: dict[TimePart, pl.Expr] = {
        part: cell.str.replace(r"\.0+$", "") for part, cell in cells.items() if part != "date"
    }
    hour, minute = whole.get("hour", pl.lit("0")), whole.get("minute", pl.lit("0"))
    second = cells.get("second", pl.lit("0")).str.replace(r"^([0-9])(\.|$)", "0$1$2")
    if "hourminute" in whole:
        digits = whole["hourminute"].str.zfill(4)
        hour, minute = digits.str.slice(0, 2), digits.str.slice(2, 2)
    if "hourminutesecond" in whole:
        digits = whole["hourminutesecond"].str.zfill(6)
        hour, minute, second = (digits.str.slice(place, 2) for place in (0, 2, 4))
    clock = cells.get(
        "clock",
        pl.concat_str(hour.str.zfill(2), minute.str.zfill(2), second, separator=":"),
    )
    midnight = clock.str.contains("^24:00:00(?:[.]0+)?$")
    day = frame.select(_date(cells, whole).alias("day")).to_series()
    days = pl.lit(read_times(day, "UTC", notation).times)
    return pl.concat_str(
        (days + pl.duration(days=midnight.cast(pl.Int32))).dt.to_string("%Y-%m-%d"),
        pl.when(midnight).then(pl.lit("00:00:00")).otherwise(clock),
        separator=" ",
    )


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
    every = list(names)
    for name in every:
        part = part_of(name)
        # Beside a maximum it is a minimum.
        if part and not (plain(name) == "min" and "max" in map(plain, every)):
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


def looks_like_date(texts: pl.Series) -> bool:
    """Tell whether a column holds dates without a time of day."""
    said = texts.drop_nulls().str.strip_chars()
    said = said.str.replace(f"(?i){_MIDNIGHT}", "")
    has_clock = said.str.contains(
        r"(?i)[0-9]\s*:\s*[0-9]|[0-9]{4}t[0-9]|[ap]m$|\s[0-9]{1,2}\.[0-9]{2}\.[0-9]{2}$"
    )
    numbers = (
        said.str.contains(r"^[0-9.]+$")
        & (said.str.len_chars() > 8)
        & ~said.str.contains(r"^[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4}$")
    )
    return not said.is_empty() and not bool((has_clock | numbers).any())


def _fits(column: TimeColumn, head: pl.DataFrame) -> bool:
    said = head[column.name].drop_nulls().str.strip_chars()
    return not said.is_empty() and bool(said.str.contains(_FITTING[column.part]).all())
