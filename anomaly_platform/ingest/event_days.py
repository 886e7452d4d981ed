"""When a row happened: from any sensible text to an instant in UTC, and to the day it belongs to.

Here belongs everything about reading times: accepted notations, time zones, epochs, and the range
in which an event time is believed. What is done with a row whose time is refused is not decided
here; the functions return a null or a reason.

Accepted notations, which may be mixed within one column:

- ISO 8601 in extended form, with ``T`` or a blank, with or without seconds, fraction and zone
  (``Z``, ``UTC``, ``GMT``, ``+02``, ``+0200``, ``+02:00``); slashes in the date are read as
  hyphens when the year comes first; a date alone is its midnight.
- ISO 8601 in basic form: ``20210131``, ``20210131T101500``, ``20210131101500``.
- Seconds, milliseconds, microseconds or nanoseconds since 1970, in 2000…2100: there the four ranges
  do not overlap, so that the unit follows from the size. Other numbers are not times.

Day and month in any other order (``01/02/2021``) is ambiguous and refused. Digits beyond the
microsecond are cut off. A leap second is the first second of the next minute.
"""

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

EVENT_TIME: Final = pl.Datetime("us", "UTC")
NO_TIME: Final = "not a time (ISO 8601, YYYY-MM-DD HH:MM:SS or seconds since 1970)"
FUTURE_ALLOWANCE: Final = timedelta(minutes=5)
"""How far ahead of our clock a sender's clock may be before its events are refused."""

_CLOCKS: Final = tuple(
    f"%Y-%m-%d{sign}%H:%M:%S{fraction}" for fraction in ("", "%.f") for sign in " T"
)
_FORMATS: Final = tuple((clock, zone) for zone in ("", "Z", "%z") for clock in _CLOCKS)
_NUMBER: Final = r"^[+]?\d+(\.\d*)?([eE][+]?\d{1,2})?$"
_EXTENDED: Final = (
    r"^(?<year>\d{4})[-/](?<month>\d{1,2})[-/](?<day>\d{1,2})"
    r"(?:[Tt\s]\s*(?<hour>\d{1,2}):(?<minute>\d{2})(?::(?<second>\d{2})(?:[.,](?<fraction>\d+))?)?"
    r"\s*(?<zone>[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?)?$"
)
_BASIC: Final = (
    r"^(?<year>\d{4})(?<month>\d{2})(?<day>\d{2})"
    r"(?:[Tt]?(?<hour>\d{2})(?<minute>\d{2})(?<second>\d{2})(?:[.,](?<fraction>\d+))?"
    r"(?<zone>[Zz]|[+-]\d{2}(?::?\d{2})?)?)?$"
)
_EPOCH_FROM: Final = 946_684_800  # 2000-01-01, in seconds
_EPOCH_UNTIL: Final = 4_102_444_800  # 2100-01-01
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# Beyond these a zone's offset could leave the years that Python's datetime can hold.
_CALENDAR_FROM: Final = datetime(1, 1, 2, tzinfo=UTC)
_CALENDAR_UNTIL: Final = datetime(9999, 12, 30, tzinfo=UTC)


def check_timezone(name: str) -> str:
    """Return the name of a time zone, or say that there is none of this name.

    Raises
    ------
    ValueError
        When the time zone database does not know the name.
    """
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        message = f"unknown time zone {name!r}; give a name such as UTC or Europe/Paris"
        raise ValueError(message) from error
    return name


def parse_event_time(texts: pl.Series, default_timezone: str = "UTC") -> pl.Series:
    """Read a column of times.

    Parameters
    ----------
    texts
        Text, shape (n,), in any mixture of the notations in the module's description.
    default_timezone
        Where times without a zone are at home. When clocks go back, an hour happens twice: a time
        in it is taken as the first of the two. When they go forward, a time in the hour that is
        left out never was, and is null.

    Returns
    -------
    pl.Series
        Shape (n,), ``Datetime('us', 'UTC')``, named ``event_time``; null where a text is missing or
        is not a time.

    Raises
    ------
    ValueError
        For an unknown time zone.
    """
    check_timezone(default_timezone)
    stripped = texts.cast(pl.String).str.strip_chars().alias("text")
    parsed = _fast(stripped, default_timezone)
    if parsed.null_count() > stripped.null_count():
        positions = (parsed.is_null() & stripped.is_not_null()).arg_true()
        slow = _careful(stripped.gather(positions), default_timezone)
        parsed = parsed.scatter(positions, slow)
    if not _lie_within(parsed, _CALENDAR_FROM, _CALENDAR_UNTIL):
        in_calendar = parsed.is_between(_CALENDAR_FROM, _CALENDAR_UNTIL).fill_null(value=True)
        parsed = parsed.set(~in_calendar, None)
    return parsed.alias("event_time")


def refuse_event_time(
    event_times: pl.Series,
    *,
    start: datetime,
    now: datetime,
    future_allowance: timedelta = FUTURE_ALLOWANCE,
) -> pl.Series:
    """Say of each time why it is refused.

    Parameters
    ----------
    event_times
        ``Datetime('us', 'UTC')``, shape (n,).
    start
        The first instant that the stream takes, with a time zone.
    now
        The present by our clock, with a time zone.
    future_allowance
        How far beyond ``now`` a time may lie: senders' clocks are never exact.

    Returns
    -------
    pl.Series
        Text, shape (n,), named ``reason``; null where the time is good.
    """
    first = start.astimezone(UTC)
    last = now.astimezone(UTC) + future_allowance
    if not event_times.null_count() and _lie_within(event_times, first, last):
        return pl.Series("reason", [None], dtype=pl.String).new_from_index(0, len(event_times))
    reasons = (
        pl.when(pl.col("event_time").is_null())
        .then(pl.lit(NO_TIME))
        .when(pl.col("event_time") < first)
        .then(pl.lit(f"before the stream's first day, {first:%Y-%m-%d}"))
        .when(pl.col("event_time") > last)
        .then(pl.lit("in the future"))
        .otherwise(None)
    )
    frame = pl.DataFrame({"event_time": event_times.cast(EVENT_TIME)})
    return frame.select(reasons.cast(pl.String).alias("reason")).to_series()


def _lie_within(times: pl.Series, first: datetime, last: datetime) -> bool:
    """Whether no time lies outside, of those that are not null."""
    # As numbers: a time out of the calendar cannot be a datetime.
    numbers = times.cast(EVENT_TIME).cast(pl.Int64)
    earliest, latest = numbers.min(), numbers.max()
    if not isinstance(earliest, int) or not isinstance(latest, int):
        return True
    lower, upper = ((bound - _EPOCH) // _MICROSECOND for bound in (first, last))
    return lower <= earliest and latest <= upper


def _fast(stripped: pl.Series, zone: str) -> pl.Series:
    """Read the whole column by the one plain format that its first value shows, if any."""
    nothing = pl.Series("event_time", [None], dtype=EVENT_TIME).new_from_index(0, len(stripped))
    first = stripped.drop_nulls().head(1)
    if first.is_empty():
        return nothing
    for clock, offset in _FORMATS:
        if first.str.to_datetime(clock + offset, time_unit="us", strict=False).null_count() == 0:
            read = stripped.str.to_datetime(clock + offset, time_unit="us", strict=False)
            return read if offset == "%z" else at_home(read, "UTC" if offset else zone)
    return nothing


def at_home(naive: pl.Series, zone: str) -> pl.Series:
    """Return wall clock times of a zone as instants; null for those that its clocks pass over."""
    if zone == "UTC":
        return naive.dt.replace_time_zone("UTC")
    local = naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return local.dt.convert_time_zone("UTC")


def _careful(texts: pl.Series, zone: str) -> pl.Series:
    """Read each value by itself: numbers first, then the two forms of ISO 8601."""
    frame = pl.DataFrame({"text": texts})
    epoch = _epochs(frame)
    parsed = epoch
    for pattern in (_EXTENDED, _BASIC):
        rest = parsed.is_null().arg_true()
        if rest.is_empty():
            break
        parsed = parsed.scatter(rest, _calendar(texts.gather(rest), pattern, zone))
    return parsed


def _epochs(frame: pl.DataFrame) -> pl.Series:
    """Read numbers since 1970, exactly where they are whole; null for everything else."""
    numeric = pl.col("text").str.contains(_NUMBER)
    whole = pl.col("text").str.to_integer(strict=False, dtype=pl.Int64)
    real = pl.when(numeric).then(pl.col("text")).cast(pl.Float64, strict=False)
    microseconds = pl.lit(None, dtype=pl.Int64)
    for unit, per_second in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        inside = (real >= _EPOCH_FROM * per_second) & (real < _EPOCH_UNTIL * per_second)
        if unit == "ns":
            exact, rounded = whole // 1000, (real / 1000)
        else:
            exact, rounded = whole * (10**6 // per_second), real * (10**6 // per_second)
        value = pl.coalesce(exact, rounded.round().cast(pl.Int64, strict=False))
        microseconds = pl.when(inside).then(value).otherwise(microseconds)
    return frame.select(
        microseconds.cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("event_time")
    ).to_series()


def _calendar(texts: pl.Series, pattern: str, zone: str) -> pl.Series:
    """Read one form of ISO 8601; null for everything that has another form or is no real date."""
    parts = texts.str.extract_groups(pattern).struct.unnest()
    micros = pl.col("fraction").str.slice(0, 6).str.pad_end(6, "0").cast(pl.Int32, strict=False)
    # A part out of range gives null here instead of an error, and so does the 30th of February.
    month, day = pl.col("month").str.zfill(2), pl.col("day").str.zfill(2)
    date = pl.concat_str(["year", month, day], separator="-").str.to_date("%Y-%m-%d", strict=False)
    hours, minutes, seconds = (
        pl.col(name).cast(pl.Int32, strict=False).fill_null(0)
        for name in ("hour", "minute", "second")
    )
    real_time = (hours < 24) & (minutes < 60) & (seconds <= 60)
    clock = pl.duration(
        hours=hours,
        minutes=minutes,
        seconds=seconds,
        microseconds=micros.fill_null(0),
        time_unit="us",
    )
    sign = pl.when(pl.col("zone").str.starts_with("-")).then(-1).otherwise(1)
    digits = pl.col("zone").str.replace_all(r"[^0-9]", "")
    zone_hours = digits.str.slice(0, 2).cast(pl.Int32, strict=False).fill_null(0)
    zone_minutes = digits.str.slice(2, 2).cast(pl.Int32, strict=False).fill_null(0)
    real_zone = (zone_hours < 24) & (zone_minutes < 60)
    offset = pl.duration(hours=sign * zone_hours, minutes=sign * zone_minutes, time_unit="us")
    read = parts.select(
        naive=pl.when(real_time & real_zone).then(date.cast(pl.Datetime("us")) + clock),
        offset=offset,
        zoned=pl.col("zone").is_not_null(),
    )
    local = at_home(read["naive"], zone)
    absolute = (read["naive"] - read["offset"]).dt.replace_time_zone("UTC")
    return local.zip_with(~read["zoned"], absolute).alias("event_time")
