"""What a cell of a table looks like before its column is known: a number, a time, a unit, a name.

Here belongs what tells rows of data from the lines around them. What a cell *says* is decided where
its column is known (`cells`, `event_days`); these patterns are wider on purpose.
"""

import re
from collections.abc import Sequence
from typing import Final, Literal

Kind = Literal["number", "time", "empty", "text"]

_LONGEST: Final = 48
_LONGEST_FOOTER: Final = 200
_MONTHS: Final = r"(?:jan|feb|m[aä]r|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-z]{0,6}\.?"
_CLOCK: Final = r"\d{1,2}[:.h]\d{2}(?:[:.]\d{2})?(?:[.,]\d+)?\s*(?:[ap]\.?m\.?)?"
_ZONE: Final = r"(?:\s*(?:[a-z]{1,5}|[+-]\d{1,2}:?(?:\d{2})?|\[[\w/]+\]))?"
_DATE: Final = (
    r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})"
    rf"|\d{{1,2}}[-. /]{_MONTHS}[-. /,]*(?:\d{{4}}|\d{{2}})"
    rf"|{_MONTHS}\s+\d{{1,2}},?\s+\d{{4}}|\d{{4}}[- ]{_MONTHS}[- ]\d{{1,2}})"
)
_TIME: Final = re.compile(
    rf"(?:[a-z]{{2,9}}\.?,?\s+)?{_DATE}(?:[t\s,_:-]*{_CLOCK})?{_ZONE}"
    rf"|\d{{1,2}}:\d{{2}}(?::\d{{2}})?(?:[.,]\d+)?(?:\s*[ap]m)?|\d{{8}}t\d{{4,6}}\S*",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(
    r"[+-]?(?:\d[\d '’.,\u00a0\u202f]*|[.,]\d+)(?:e[+-]?\d+)?\s*%?|true|false", re.IGNORECASE
)
_EMPTY: Final = frozenset(("", "-", "--", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "\\n"))

_DRAWN: Final = frozenset('-=+*_|: \t,;"')
_LONGEST_LINE: Final = 1 << 16
_FOOTER: Final = re.compile(
    r"\(?\s*\d+\s+(?:rows?|records?|lines?|zeilen|datens[aä]tze)\b.*"
    r"|[(\[<*=#-]*\s*(?:end|eof|total|sum|summe|gesamt|ende|fin|query|completion)\b.*",
    re.IGNORECASE,
)

_TIME_NAMES: Final = frozenset(
    (
        *("timestamp", "time", "ts", "date", "datetime", "eventtime", "dateandtime", "tmstamp"),
        *("timestring", "localtime", "utctime", "utc", "timeutc", "dateutc", "datetimeutc"),
        *("sampletime", "logtime", "recordtime", "readtime", "recordedat", "createdat"),
        *("lastchanged", "lastupdated", "timeofday", "epoch", "unixtime", "tstamp", "tstime"),
        *("zeit", "zeitstempel", "datum", "uhrzeit", "datumzeit", "datumuhrzeit", "messzeit"),
        *("zeitpunkt", "horodatage", "horodate", "dateheure", "dateetheure", "heure"),
        *("fecha", "hora", "fechahora", "fechayhora", "data", "dataora", "ora", "datahora"),
        *("tijd", "tijdstip", "datumtijd", "czas", "dataczas", "tid", "tidpunkt", "xvalue"),
    )
)
_BRACKETS: Final = re.compile(r"\s*[\[({<][^\])}>]*[\])}>]\s*$")
_NOT_LETTERS: Final = re.compile(r"[\W_]+")

_BRACKETED: Final = re.compile(r"[\[({<][^\])}>]*[\])}>]")
_TIME_FORMAT: Final = re.compile(
    r"[ymdhst:/.,\s-]+(?:z|utc|am/pm|tt)?|ts|rn|utc|local|[+-]\d\d:?\d\d"
)
_UNIT: Final = re.compile(
    # prefixes, units, and what they are combined with
    r"(?:[munpkMGT]|µ|μ|da|h|d|c)?"
    r"(?:m|s|g|t|l|L|A|V|W|J|N|K|C|F|Hz|Pa|Wh|VA|VAr|var|VAR|bar|Ω|Ohm|ohm|S|T|lx|lm|cd|mol|rad|sr|"
    r"eV|B|b|bit|bits|Byte|bytes|min|sec|a|d|h|hr|Nm|psi|Ah|cal|VAh|varh|Sv|Gy|Bq|dB|dBA|dBm|pH)"
    r"(?:[²³23]|\^-?\d|-\d)?"
)
_UNIT_WORDS: Final = frozenset(
    (
        *("%", "‰", "°", "°c", "°f", "°k", "deg", "degc", "degf", "deg c", "deg f", "degrees"),
        *("degrees celsius", "celsius", "fahrenheit", "kelvin", "percent", "% rh", "%rh", "%rf"),
        *("volt", "volts", "ampere", "amps", "amp", "watt", "watts", "ohms", "hertz", "pascal"),
        *("meters", "metres", "meter", "inches", "inch", "in", "ft", "feet", "mi", "miles", "mph"),
        *("rpm", "1/min", "u/min", "ppm", "ppb", "ntu", "fnu", "fps", "gpm", "cfm", "lpm", "kt"),
        *("knots", "kmh", "hours", "minutes", "seconds", "days", "unitless", "none", "count"),
        *("counts", "pcs", "stk", "km/h", "w/m^2", "w/m²", "uei", "us/cm", "psu", "inhg", "mmhg"),
        *("mbar", "hpa", "kpa", "psig", "psia", "barg", "bara", "kg/h", "1", "-", "--"),
        # how a logger came to its values
        *("avg", "mean", "min", "max", "smp", "tot", "std", "med", "wvc", "tmx", "tmn", "sample"),
        *("average", "minimum", "maximum", "total", "instantaneous", "last", "first", "rn", "ts"),
    )
)
_TYPE_WORDS: Final = frozenset(
    (
        *("float", "double", "real", "int", "integer", "long", "short", "string", "text", "bool"),
        *("boolean", "datetime", "timestamp", "date", "numeric", "decimal", "varchar", "float32"),
        *("float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("ieee4", "fp2", "varchar2"),
    )
)


def kind_of(cell: str) -> Kind:
    """Tell what a cell looks like.

    Examples
    --------
    >>> [kind_of(cell) for cell in ("7,5", "13.03.2026 06:00", "NAN", "on")]
    ['number', 'time', 'empty', 'text']
    """
    text = cell.strip()
    if text.lower() in _EMPTY:
        return "empty"
    if len(text) > _LONGEST:
        return "text"
    if _TIME.fullmatch(text):
        return "time"
    return "number" if _NUMBER.fullmatch(text) else "text"


def is_time_name(cell: str) -> bool:
    """Tell whether a name is one that columns of times have, in any common language.

    Examples
    --------
    >>> is_time_name("Date/Time [UTC]"), is_time_name("Time Zone")
    (True, False)
    """
    bare = _BRACKETS.sub("", cell.strip().lstrip("#").strip().lower())
    return _NOT_LETTERS.sub("", bare) in _TIME_NAMES


def is_time_format(cell: str) -> bool:
    """Tell whether a cell says how times are written, or in which zone.

    Examples
    --------
    >>> is_time_format("yyyy-mm-dd hh:mm"), is_time_format("UTC"), is_time_format("Date")
    (True, True, False)
    """
    return _TIME_FORMAT.fullmatch(cell.strip().lower()) is not None


def is_rule(line: str) -> bool:
    """Tell whether a line only draws a line, as clients of databases do under a header."""
    drawn = len(line) <= _LONGEST_LINE and _DRAWN.issuperset(line)
    return drawn and ("--" in line or "==" in line)


def is_footer(line: str) -> bool:
    """Tell whether a line of one field is what programs write below a table.

    Examples
    --------
    >>> is_footer("(42 rows affected)"), is_footer("-- end --"), is_footer("pump")
    (True, True, False)
    """
    text = line.strip().strip('"')
    return len(text) <= _LONGEST_FOOTER and _FOOTER.fullmatch(text) is not None


def is_unit(cell: str) -> bool:
    """Tell whether a cell is a unit, a type, or says how a logger came to its values."""
    text = cell.strip()
    if _BRACKETED.fullmatch(text) or text.lower() in _UNIT_WORDS | _TYPE_WORDS:
        return True
    bare = text.removeprefix("°").replace("°", "")
    return all(_UNIT.fullmatch(part) for part in re.split(r"[/*·.\s]", bare) if part) and bool(bare)


def is_unit_row(cells: Sequence[str], time_column: int | None) -> bool:
    """Tell whether a record gives the units of its columns, and nothing else."""
    time = "" if time_column is None else "".join(cells[time_column : time_column + 1]).strip()
    rest = [cell for place, cell in enumerate(cells) if cell.strip() and place != time_column]
    if is_time_name(time) and not is_time_format(time):
        return bool(rest) and all(cell.strip().lower() in _TYPE_WORDS for cell in rest)
    said = [*rest, time] if time and not is_time_format(time) else rest
    return bool(rest) and all(map(is_unit, said))
