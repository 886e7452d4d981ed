"""Times in any accepted notation: instants, and why a text is none.

Here belongs the one reading that files, requests and messages share. ISO 8601 and numbers since
1970 are read by ``event_days``; everything else is rewritten to them.
"""

from datetime import datetime
from typing import Final, NamedTuple

import polars as pl

from anomaly_platform.ingest.event_days import at_home, parse_event_time
from anomaly_platform.ingest.notation.dates import Order, TimeNotation, to_iso
from anomaly_platform.ingest.notation.zones import (
    TWICE,
    ZONE_OF_FILE,
    never_comes,
    places_twice,
    read_named_zones,
    without_name,
)

_CLOCKS: Final = (
    " %H:%M:%S",
    " %H:%M",
    " %H:%M:%S%.f",
    " %I:%M:%S %p",
    " %I:%M %p",
    "T%H:%M:%S",
    "",
)
SERIAL: Final = r"^[0-9]{5}(?:[.,][0-9]+)?$"
_SERIAL_FROM: Final = 36_526  # 2000-01-01
_SERIAL_UNTIL: Final = 73_051  # 2100-01-01
_SERIAL_ZERO: Final = datetime(1899, 12, 30)  # noqa: DTZ001 - a wall clock's
_TWO_NUMBERS: Final = r"^\s*[0-9]{1,2}[./-][0-9]{1,2}[./-](?:[0-9]{4}|[0-9]{2})\b"
#: The end of a day, perhaps with the words and marks that texts have behind it.
_END_OF_DAY: Final = (
    r"(?i)^(?<day>.*[0-9][t ]+)24(?<clock>[:.]00(?:[:.]00(?:[.,]0+)?)?(?:\s*uhr)?)$"
)
_FORMAT_OF_FILE: Final = "or say how it is written with --time-format"
_ORDERS: Final = (
    "not a time in one reading: its day and month may change places; write it as 2026-03-13, "
    + _FORMAT_OF_FILE
)
#: What to do instead who has no command line.
_FOR_SENDERS: Final = {
    _FORMAT_OF_FILE: "or in seconds since 1970",
    ZONE_OF_FILE: "give the offset from UTC, as in 2026-03-13T06:00:00+01:00",
}


class Times(NamedTuple):
    """A column of times.

    Parameters
    ----------
    times
        ``Datetime('us', 'UTC')``; those that come twice in their zone at their first coming.
    reasons
        Text; why one is no time, where more can be said than that. Null elsewhere.
    texts
        As they were read: ISO 8601, or as they stood.
    """

    times: pl.Series
    reasons: pl.Series
    texts: pl.Series


def read_times(texts: pl.Series, zone: str, notation: TimeNotation | None = None) -> Times:
    """Read a column of times.

    Parameters
    ----------
    texts
        Text, shape (n,).
    zone
        Where times without a zone are at home.
    notation
        Of the column; by default each text has to be certain by itself.
    """
    notation = notation or TimeNotation()
    if notation.order and not notation.format:
        read, times = texts, _fast(texts, notation.order, zone)
    else:
        read = _as_iso(texts, notation) if notation.format else texts
        times = parse_event_time(read, zone)
    reasons = pl.Series("reason", [None], dtype=pl.String).new_from_index(0, len(texts))
    places = (times.is_null() & texts.is_not_null()).arg_true()
    if places.is_empty():
        return Times(times, reasons, read)
    rest = _rest(texts.gather(places), zone, notation)
    return Times(
        times.scatter(places, rest.times),
        reasons.scatter(places, rest.reasons),
        read.scatter(places, rest.texts),
    )


def read_single_times(texts: pl.Series, zone: str) -> Times:
    """Read times that come one by one: nothing beside them tells which of two readings is meant.

    Reasons name no options of the command line, which those who send readings do not have.
    """
    read = read_times(texts, zone)
    read = read._replace(reasons=read.reasons.str.replace_many(_FOR_SENDERS))
    twice = places_twice(read.texts, read.times, zone)
    if twice.is_empty():
        return read
    return Times(read.times.scatter(twice, None), read.reasons.scatter(twice, TWICE), read.texts)


def _fast(texts: pl.Series, order: Order, zone: str) -> pl.Series:
    """Read the whole column in the one plain format that its first value shows, if any."""
    stripped = texts.str.strip_chars()
    first = stripped.drop_nulls().head(1)
    numbers = {"day": "%d-%m-%Y", "month": "%m-%d-%Y"}.get(order)
    if first.is_empty() or numbers is None:
        return parse_event_time(texts, zone)
    for mark in "./-":
        for clock in _CLOCKS:
            written = numbers.replace("-", mark) + clock
            if first.str.to_datetime(written, strict=False).null_count() == 0:
                naive = stripped.str.to_datetime(written, time_unit="us", strict=False)
                # A year of two digits is none of the first century.
                return at_home(naive.set((naive.dt.year() < 1000).fill_null(False), None), zone)
    return parse_event_time(texts, zone)


def _as_iso(texts: pl.Series, notation: TimeNotation) -> pl.Series:
    """Return texts as ISO 8601 where they are in another notation, as they stood elsewhere."""
    written = to_iso(texts, notation)
    return written if notation.format else written.zip_with(written.is_not_null(), texts)


def _rest(texts: pl.Series, zone: str, notation: TimeNotation) -> Times:
    """Read what is no ISO 8601 and no number since 1970, or say what is wrong with it."""
    plain = texts.str.strip_chars().str.replace(r"^([0-9]{9,19}),([0-9]+)$", "$1.$2")
    # The name of a zone behind its offset says nothing more.
    plain = plain.str.replace(r"([zZ]|[+-][0-9]{2}:?[0-9]{2})\[[A-Za-z_/+-]+\]$", "$1")
    read = _end_of_day(_as_iso(plain, notation), plain, notation)
    if notation.serial:
        days = _serials(texts)
        read = days.zip_with(days.is_not_null(), read)
    times = parse_event_time(read, zone)
    left = times.is_null()
    reasons = pl.select(
        pl.when(left & never_comes(read, zone))
        .then(pl.lit(f"no such local time: clocks of {zone} go forward past it"))
        .when(left & pl.lit(bool(notation.format)))
        .then(pl.lit(f"the time does not have the format {notation.format}"))
        .when(left & texts.str.contains(_TWO_NUMBERS) & _has_two_readings(texts, notation))
        .then(pl.lit(_ORDERS))
        .cast(pl.String)
        .alias("reason")
    ).to_series()
    named = without_name(texts)
    places = (left & named["name"].is_not_null()).arg_true()
    if notation.format or places.is_empty():
        return Times(times, reasons, read)
    zoned = read_named_zones(
        _as_iso(named["clock"].gather(places), notation), named["name"].gather(places), zone
    )
    return Times(
        times.scatter(places, zoned.times),
        reasons.scatter(places, zoned.reasons),
        read.scatter(places, zoned.times.dt.to_string("%Y-%m-%dT%H:%M:%SZ")),
    )


def _has_two_readings(texts: pl.Series, notation: TimeNotation) -> pl.Series:
    day, month = (to_iso(texts, TimeNotation(order)) for order in ("day", "month"))
    return to_iso(texts, notation).is_null() & (day.is_not_null() | month.is_not_null())


def _end_of_day(read: pl.Series, texts: pl.Series, notation: TimeNotation) -> pl.Series:
    """Return hour 24 of a day as the midnight that it ends with."""
    parts = texts.str.extract_groups(_END_OF_DAY).struct.unnest()
    places = parts["day"].is_not_null().arg_true()
    if notation.format or places.is_empty():
        return read
    begins = (parts["day"] + "00" + parts["clock"]).gather(places)
    ends = parse_event_time(_as_iso(begins, notation)).dt.offset_by("1d")
    return read.scatter(places, ends.dt.to_string("%Y-%m-%d %H:%M:%S"))


def serials_only(texts: pl.Series) -> bool:
    """Tell whether a column holds days of a spreadsheet and nothing else."""
    said = texts.drop_nulls().str.strip_chars()
    if said.is_empty() or not said.str.contains(SERIAL).all():
        return False
    days = said.str.slice(0, 5).cast(pl.Int32)
    return bool(days.is_between(_SERIAL_FROM, _SERIAL_UNTIL, closed="left").all())


def _serials(texts: pl.Series) -> pl.Series:
    """Return days of a spreadsheet, counted from the end of 1899, as ISO 8601."""
    day = pl.col("text").str.slice(0, 5).cast(pl.Int32, strict=False)
    digits = pl.col("text").str.slice(6)
    part = pl.concat_str(pl.lit("0."), digits).cast(pl.Float64, strict=False).fill_null(0.0)
    # As exactly as the digits say it: 0.25069444445 days are 6:01:00, and so are 0.250694.
    step = pl.when(digits.str.len_chars() < 8).then(1_000).otherwise(1)
    clock = (part * 86_400_000 / step).round() * step
    moment = (pl.lit(_SERIAL_ZERO) + pl.duration(days=day, milliseconds=clock)).dt.to_string(
        "%Y-%m-%d %H:%M:%S%.3f"
    )
    inside = pl.col("text").str.contains(SERIAL) & day.is_between(
        _SERIAL_FROM, _SERIAL_UNTIL, closed="left"
    )
    frame = texts.str.strip_chars().alias("text").to_frame()
    return frame.select(pl.when(inside).then(moment)).to_series()
