"""What the clocks of a zone do: the hour that comes twice, the one that never comes, its names.

Here belongs what a wall clock's time leaves open. Which of its two instants a row in the repeated
hour is of follows from the order of the rows, and is decided in ``layout``.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import polars as pl

from anomaly_platform.ingest.event_days import EVENT_TIME, parse_event_time

ZONE_OF_FILE: Final = "give the zone of the file with --timezone"
TWICE: Final = "ambiguous local time: clocks go back, and no order of rows tells which one it is"
#: One of each group of zones whose clocks go back at the same local hour.
_TYPICAL_ZONES: Final = ("Europe/London", "Europe/Berlin", "Europe/Athens", "America/New_York")
_FIRST_YEAR: Final = 2000
_LAST_YEAR: Final = 2040
_STEP: Final = timedelta(days=7)
_SAYS_ZONE: Final = (
    r"(?i)(?:[0-9]\s*(?:z|utc|gmt)"
    r"|:[0-9]{2}(?:[.,][0-9]+)?\s*[+-][0-9]{2}(?::?[0-9]{2})?|[0-9]{6}[+-][0-9]{2}(?::?[0-9]{2})?"
    # Numbers since 1970; those of 8 and 14 digits are dates.
    r"|^[+]?(?:[0-9]{9,10}|9[0-9]{11}|[0-9]{13}|[0-9]{15,19})(?:\.[0-9]*)?|^[0-9.]+e[+]?[0-9]+)$"
)
_ABBREVIATION: Final = r"^(?<clock>.*[0-9](?:\s*[AaPp]\.?[Mm]\.?)?)\s*(?<name>[A-Z]{2,5})$"
#: What German devices write.
_SYNONYMS: Final = {"MEZ": "CET", "MESZ": "CEST"}


class Repeated(NamedTuple):
    """Wall clock times that come twice.

    Parameters
    ----------
    start, end
        First and last instant (excluded) of their first coming.
    shift
        How much later they come again.
    """

    start: datetime
    end: datetime
    shift: timedelta


@lru_cache(maxsize=64)
def repeated_hours(zone: str) -> tuple[Repeated, ...]:
    """Return when clocks of a zone go back, from 2000 to 2040."""
    home = ZoneInfo(zone)
    found = []
    day = datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC)
    before = _offset(day, home)
    while day.year < _LAST_YEAR:
        after = _offset(day + _STEP, home)
        if after < before:
            low, high = day, day + _STEP
            while high - low > timedelta(minutes=1):
                middle = low + ((high - low) // timedelta(minutes=2)) * timedelta(minutes=1)
                low, high = (middle, high) if _offset(middle, home) == before else (low, middle)
            found.append(Repeated(high - (before - after), high, before - after))
        before = after
        day += _STEP
    return tuple(found)


def _offset(moment: datetime, home: ZoneInfo) -> timedelta:
    return moment.astimezone(home).utcoffset() or timedelta()


def places_twice(texts: pl.Series, times: pl.Series, zone: str) -> pl.Series:
    """Return the places of the times that come twice, in order.

    Parameters
    ----------
    texts
        As they stood; one that says its zone, or counts from 1970, does not come twice.
    times
        In UTC, those that come twice at their first coming.
    zone
        Where texts without a zone are at home.
    """
    if zone == "UTC":
        return pl.Series([], dtype=pl.UInt32)
    inside = pl.repeat(False, len(times), dtype=pl.Boolean, eager=True)
    earliest, latest = times.min(), times.max()
    if isinstance(earliest, datetime) and isinstance(latest, datetime):
        for one in repeated_hours(zone):
            if earliest < one.end and latest >= one.start:
                inside |= ((times >= one.start) & (times < one.end)).fill_null(value=False)
    places = inside.arg_true()
    return places.filter(~say_zone(texts.gather(places)))


def may_be_local(texts: pl.Series, times: pl.Series) -> pl.Series:
    """Tell which times that were taken as UTC lie in an hour that comes twice by a usual clock.

    Parameters
    ----------
    texts
        As they stood; one that says its zone, or was read in a zone of its own, is none of them.
    times
        In UTC.
    """
    walls = times.dt.replace_time_zone(None)
    inside = pl.repeat(False, len(times), dtype=pl.Boolean, eager=True)
    for zone in _TYPICAL_ZONES:
        for one in repeated_hours(zone):
            start = one.start.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
            inside |= ((walls >= start) & (walls < start + one.shift)).fill_null(value=False)
    as_written = pl.col("text").str.contains(pl.col("time").dt.strftime("%H:%M"), literal=True)
    frame = pl.DataFrame({"text": texts, "time": times}).select(as_written.fill_null(value=False))
    return inside & frame.to_series() & ~say_zone(texts).fill_null(value=True)


def say_zone(texts: pl.Series) -> pl.Series:
    """Tell which times say their zone, or count from 1970."""
    return texts.str.strip_chars().str.contains(_SAYS_ZONE)


def at_second_coming(times: pl.Series, zone: str) -> pl.Series:
    """Return times that come twice, at their second coming."""
    frame = pl.DataFrame({"time": times})
    shifted = pl.col("time")
    for one in repeated_hours(zone):
        inside = (pl.col("time") >= one.start) & (pl.col("time") < one.end)
        shifted = pl.when(inside).then(pl.col("time") + one.shift).otherwise(shifted)
    return frame.select(shifted.cast(EVENT_TIME)).to_series()


class NamedZones(NamedTuple):
    """Times with the abbreviation of a zone, which must be one of the given zone.

    Parameters
    ----------
    times
        Null where there is no abbreviation, or one that the zone does not have at that time.
    reasons
        Why a time with an abbreviation is refused.
    """

    times: pl.Series
    reasons: pl.Series


def read_named_zones(clocks: pl.Series, names: pl.Series, zone: str) -> NamedZones:
    """Read times that end in a zone's abbreviation, such as CET.

    Parameters
    ----------
    clocks, names
        The texts as ISO 8601 without the abbreviation, and the abbreviation.
    zone
        The one that is given for the file.
    """
    first = parse_event_time(clocks, zone)
    second = at_second_coming(first, zone)
    names = names.replace(_SYNONYMS)
    frame = pl.DataFrame({"first": first, "second": second, "name": names}).with_columns(
        pl.col(which).dt.convert_time_zone(zone).dt.to_string("%Z").alias(f"{which}_name")
        for which in ("first", "second")
    )
    time = (
        pl.when(pl.col("first_name") == pl.col("name"))
        .then("first")
        .when(pl.col("second_name") == pl.col("name"))
        .then("second")
    )
    other = pl.concat_str(
        pl.lit("the time zone "),
        "name",
        pl.lit(f" is not that of {zone} at this time; {ZONE_OF_FILE}"),
    )
    return NamedZones(
        frame.select(time.alias("event_time")).to_series(),
        frame.select(
            pl.when(pl.col("first").is_not_null() & time.is_null()).then(other).alias("reason")
        ).to_series(),
    )


def without_name(texts: pl.Series) -> pl.DataFrame:
    """Split texts into ``clock`` and the abbreviation ``name``; null where there is none."""
    parts = texts.str.strip_chars().str.extract_groups(_ABBREVIATION).struct.unnest()
    is_zone = ~pl.col("name").is_in(["AM", "PM"])
    return parts.select(pl.when(is_zone).then(pl.all()))


def never_comes(texts: pl.Series, zone: str) -> pl.Series:
    """Tell which times, being none in a zone, are left out by its clocks going forward."""
    if zone == "UTC":
        return pl.repeat(False, len(texts), dtype=pl.Boolean, eager=True)
    return parse_event_time(texts).is_not_null()
