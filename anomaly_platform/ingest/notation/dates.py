"""Notations of times besides ISO 8601, each rewritten to it.

Here belongs how a date and a clock may be written: day first or month first, months by name, 12
hours with AM and PM, a format that somebody gives. Whether the result is a time at all, and in
which zone, is not decided here.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple

import polars as pl

Order = Literal["", "day", "month", "year"]
"""What comes first in a date of three numbers of at most two digits, or with its year last."""

_MONTHS: Final = (
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
)
_LONG_MONTHS: Final = (
    "january|february|march|april|june|july|august|september|october|november|december|sept"
    "|januar|februar|märz|juni|juli|oktober|dezember"
)
#: Beginnings of German months that are not those of English ones.
_GERMAN: Final = {"mär": "03", "mrz": "03", "mai": "05", "okt": "10", "dez": "12"}
_MONTH: Final = rf"(?<month>{_LONG_MONTHS}|{'|'.join((*_MONTHS, *_GERMAN))})\.?"
_WEEKDAY: Final = (
    r"(?:(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?"
    r"|mo|di|mi|do|fr|sa|so)\.?,?\s+)?"
)
_ZONE: Final = r"\s*(?<zone>z|utc|gmt|[+-][0-9]{2}(?::?[0-9]{2})?)?"
_CLOCK: Final = (
    r"(?<hour>[0-9]{1,2})[:.](?<minute>[0-9]{2})"
    r"(?:[:.](?<second>[0-9]{2})(?:[.,:](?<fraction>[0-9]+))?)?"
    r"\s*(?<half>[ap]\.?m\.?)?(?:\s*uhr)?" + _ZONE
)
_TAIL: Final = rf"(?:(?:\s*,\s*|\s+|t|:){_CLOCK})?$"
_DAY: Final = r"(?<day>[0-9]{1,2})(?:st|nd|rd|th)?"
_YEAR: Final = "(?<year>[0-9]{4}|[0-9]{2})"
#: Between the parts of a date with a month's name.
_GAP: Final = r"[\s./-]*"
_NUMBERS: Final = (
    rf"(?i)^{_WEEKDAY}(?<first>[0-9]{{1,2}})(?<mark>[./-])(?<second_>[0-9]{{1,2}})[./-]"
    rf"(?<third>[0-9]{{4}}|[0-9]{{2}}){_TAIL}"
)
_NAMED: Final = (
    rf"(?i)^{_WEEKDAY}{_DAY}{_GAP}{_MONTH},?{_GAP}{_YEAR}{_TAIL}",
    rf"(?i)^{_WEEKDAY}{_MONTH}{_GAP}{_DAY},?[\s./-]+{_YEAR}{_TAIL}",
    rf"(?i)^{_WEEKDAY}{_MONTH}\s+{_DAY}\s+{_CLOCK}\s+{_YEAR}$",
    rf"(?i)^(?<year>[0-9]{{4}}){_GAP}{_MONTH}{_GAP}{_DAY}{_TAIL}",
    rf"(?i)^(?<year>[0-9]{{4}})[./-](?<month>[0-9]{{1,2}})[./-]{_DAY}{_TAIL}",
    rf"(?i)^(?<year>(?:19|20)[0-9]{{2}})(?<month>[0-9]{{2}})(?<day>[0-9]{{2}})(?:\s+|t){_CLOCK}$",
    # Twelve digits of this kind are no milliseconds since 1970 that are accepted.
    "^(?<year>20[0-9]{2})(?<month>[0-9]{2})(?<day>[0-9]{2})(?<hour>[0-9]{2})(?<minute>[0-9]{2})$",
    (
        "^(?<year>[0-9]{4})-(?<month>[0-9]{2})-(?<day>[0-9]{2})"
        r"-(?<hour>[0-9]{2})\.(?<minute>[0-9]{2})\.(?<second>[0-9]{2})(?:\.(?<fraction>[0-9]+))?$"
    ),
)
_PARTS: Final = ("year", "month", "day", "hour", "minute", "second", "fraction", "half", "zone")

_DIRECTIVES: Final = {
    "Y": "(?<year>[0-9]{4})",
    "y": "(?<year>[0-9]{2})",
    "m": "(?<month>[0-9]{1,2})",
    "b": _MONTH,
    "B": _MONTH,
    "d": "(?<day>[0-9]{1,2})",
    "j": "(?<ordinal>[0-9]{1,3})",
    "H": "(?<hour>[0-9]{1,2})",
    "I": "(?<hour>[0-9]{1,2})",
    "M": "(?<minute>[0-9]{1,2})",
    "S": "(?<second>[0-9]{1,2})",
    "f": "(?<fraction>[0-9]+)",
    "p": r"(?<half>[ap]\.?m\.?)",
    "z": "(?<zone>z|[+-][0-9]{2}(?::?[0-9]{2})?)",
    "a": "[a-z]{2,4}",
    "A": "[a-z]{2,10}",
    "%": "%",
}


@dataclass(frozen=True)
class TimeNotation:
    """How the times of a file are written.

    Parameters
    ----------
    order
        Of dates in numbers, where the file shows it; dots alone mean day first.
    format
        The format that the user gives, '' for none; then nothing else is a time.
    serial
        Whether numbers of five digits are days of a spreadsheet.
    """

    order: Order = ""
    format: str = ""
    serial: bool = False


class Orders(NamedTuple):
    """Which orders the dates of a column admit.

    Parameters
    ----------
    dates
        How many dates have three numbers and do not begin with a year of four digits.
    not_day, not_month, not_year
        How many of them cannot be read in this order, though in another one.
    undotted
        How many have something else than dots between their numbers.
    example
        One of them.
    """

    dates: int = 0
    not_day: int = 0
    not_month: int = 0
    not_year: int = 0
    undotted: int = 0
    example: str = ""

    def __add__(self, other: object) -> "Orders":
        """Return what two parts of a column admit together."""
        if not isinstance(other, Orders):
            return NotImplemented
        return Orders(
            self.dates + other.dates,
            self.not_day + other.not_day,
            self.not_month + other.not_month,
            self.not_year + other.not_year,
            self.undotted + other.undotted,
            self.example or other.example,
        )

    @property
    def possible(self) -> list[Order]:
        """The orders in which all dates can be read."""
        if not self.undotted and not self.not_day:
            return ["day"]
        counted: dict[Order, int] = {
            "day": self.not_day,
            "month": self.not_month,
            "year": self.not_year,
        }
        return [order for order, against in counted.items() if not against]


def orders_of(texts: pl.Series, start: datetime, now: datetime) -> Orders:
    """Find out which orders of day, month and year a column's dates admit.

    Parameters
    ----------
    texts
        Text, shape (n,).
    start, now
        A year of two digits may come first only where it lies between them.
    """
    dates = _parts(texts.drop_nulls(), _NUMBERS).filter(pl.col("first").is_not_null())
    if dates.is_empty():
        return Orders()
    first, second, third = (pl.col(name).cast(pl.Int32) for name in ("first", "second_", "third"))
    read = dates.select(
        "mark",
        day=first.is_between(1, 31) & second.is_between(1, 12),
        month=second.is_between(1, 31) & first.is_between(1, 12),
        year=(pl.col("third").str.len_chars() == 2)
        & first.is_between(start.year % 100, now.year % 100)
        & second.is_between(1, 12)
        & third.is_between(1, 31),
    ).filter(pl.any_horizontal("day", "month", "year"))
    if read.is_empty():
        return Orders()
    there = texts.drop_nulls()
    shown = there.filter(there.str.contains(_NUMBERS_ALONE))
    return Orders(
        dates=read.height,
        not_day=int((~read["day"]).sum()),
        not_month=int((~read["month"]).sum()),
        not_year=int((~read["year"]).sum()),
        undotted=int((read["mark"] != ".").sum()),
        example=shown[0] if len(shown) else "",
    )


_NUMBERS_ALONE: Final = r"^\s*[0-9]{1,2}[./-][0-9]{1,2}[./-][0-9]{2}"


def to_iso(texts: pl.Series, notation: TimeNotation) -> pl.Series:
    """Return times as ISO 8601; null where they are in none of the notations of this module.

    Parameters
    ----------
    texts
        Text, shape (n,).
    notation
        Of the column.
    """
    if notation.format:
        return _iso(_parts(texts, format_pattern(notation.format)))
    found = _iso(_in_order(_parts(texts, _NUMBERS), notation.order))
    for pattern in _NAMED:
        rest = (found.is_null() & texts.is_not_null()).arg_true()
        if rest.is_empty():
            break
        found = found.scatter(rest, _iso(_parts(texts.gather(rest), pattern)))
    return found


def format_pattern(written: str) -> str:
    """Return the regular expression of a format in the directives of ``strptime``.

    Raises
    ------
    ValueError
        When the format has an unknown directive, one twice, or no whole date; the text says which.
    """
    pattern = ""
    seen: list[str] = []
    pieces = re.split(r"(%.|\s+)", written.strip())
    for place, piece in enumerate(pieces):
        if not piece.startswith("%") or len(piece) < 2:
            pattern += r"\s+" if piece.isspace() else re.escape(piece)
            continue
        letter = piece[1]
        if letter not in _DIRECTIVES:
            raise ValueError(
                f"the time format {written!r} has {piece}, which is none of {_known()}"
            )
        directive = _DIRECTIVES[letter]
        if "".join(pieces[place + 1 : place + 2]) == "" and "".join(
            pieces[place + 2 : place + 3]
        ).startswith("%"):
            # Without anything between two numbers each has all of its digits.
            directive = directive.replace("{1,2}", "{2}").replace("{1,3}", "{3}")
        seen += re.findall(r"\?<(\w+)>", directive)
        pattern += directive
    twice = [name for name in seen if seen.count(name) > 1]
    if twice:
        raise ValueError(f"the time format {written!r} has the {twice[0]} twice")
    if "year" not in seen or not ({"month", "day"} <= set(seen) or "ordinal" in seen):
        raise ValueError(
            f"the time format {written!r} has no whole date; write one such as %d/%m/%Y %H:%M:%S"
        )
    if ("%I" in written) != ("half" in seen):
        raise ValueError(f"the time format {written!r} needs %I and %p together")
    return f"(?i)^{pattern}$"


def _known() -> str:
    return " ".join(f"%{letter}" for letter in _DIRECTIVES)


def _parts(texts: pl.Series, pattern: str) -> pl.DataFrame:
    return texts.str.strip_chars().str.extract_groups(pattern).struct.unnest()


def _in_order(parts: pl.DataFrame, order: Order) -> pl.DataFrame:
    """Name the numbers of dates; where no order is known only dots have one, day first."""
    places = {
        "day": ("third", "second_", "first"),
        "month": ("third", "first", "second_"),
        "year": ("first", "second_", "third"),
    }
    year, month, day = places[order or "day"]
    known = pl.lit(bool(order)) | (pl.col("mark") == ".") | _one_reading()
    swapped = pl.lit(not order) & (pl.col("mark") != ".") & (pl.col("second_").cast(pl.Int32) > 12)
    return parts.with_columns(
        year=pl.when(known).then(year),
        month=pl.when(swapped).then(day).otherwise(month),
        day=pl.when(swapped).then(month).otherwise(day),
    )


def _one_reading() -> pl.Expr:
    """Tell which dates admit one reading by themselves: a year of four digits, a day above 12."""
    day, month = pl.col("first").cast(pl.Int32) > 12, pl.col("second_").cast(pl.Int32) > 12
    return (pl.col("third").str.len_chars() == 4) & (day != month)


def _iso(parts: pl.DataFrame) -> pl.Series:
    """Put the parts of times together; null where one is missing or cannot be."""
    there = parts.columns
    empty = pl.lit(None, pl.String)
    year, month, day, hour, minute, second, fraction, half, zone = (
        pl.col(name) if name in there else empty for name in _PARTS
    )
    numbers = _GERMAN | {name: f"{number:02}" for number, name in enumerate(_MONTHS, 1)}
    short = month.str.to_lowercase().str.slice(0, 3)
    hours = hour.cast(pl.Int32, strict=False)
    afternoon = half.str.to_lowercase().str.starts_with("p").cast(pl.Int32)
    whole_day = (
        pl.when(half.is_null())
        .then(hours)
        .when(hours.is_between(1, 12))
        .then(hours % 12 + 12 * afternoon)
    )
    full_year = (
        pl.when(year.str.len_chars() == 2)
        .then(pl.when(year < "69").then(pl.lit("20") + year).otherwise(pl.lit("19") + year))
        .otherwise(year)
    )
    date = pl.concat_str(
        full_year,
        pl.coalesce(short.replace_strict(numbers, default=None, return_dtype=pl.String), month),
        day,
        separator="-",
    )
    if "ordinal" in there:
        ordinal = pl.col("ordinal").cast(pl.Int32, strict=False)
        first = pl.concat_str(full_year, pl.lit("-01-01")).str.to_date("%Y-%m-%d", strict=False)
        that_day = first + pl.duration(days=ordinal - 1)
        real = (ordinal >= 1) & (that_day.dt.year() == first.dt.year())
        date = pl.when(real).then(that_day.dt.to_string("%Y-%m-%d"))
    clock = pl.concat_str(
        pl.lit(" "),
        whole_day.cast(pl.String).str.zfill(2),
        pl.lit(":"),
        pl.coalesce(minute, pl.lit("00")).str.zfill(2),
        pl.lit(":"),
        pl.coalesce(second, pl.lit("00")).str.zfill(2),
        pl.lit("."),
        pl.coalesce(fraction, pl.lit("0")),
        pl.coalesce(zone, pl.lit("")).str.to_uppercase(),
    )
    return parts.select(
        pl.when(hour.is_null()).then(date).otherwise(date + clock).alias("text")
    ).to_series()
