"""Where the table is in a text: its delimiter, its header, and the lines that are none of its rows.

Here belongs finding the line of the column names. Programs write all sorts of lines around a table:
key and value of a logger or historian above it, comments, units and types under the names, a rule.
Rows of data are plain: one after the other they have a time in the same column, or numbers in the
same columns. The header is looked for above the first of them, and taken where only one line can
be meant; otherwise the file is refused with its first lines and the option that says where it is.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from anomaly_platform.ingest.event_days import parse_event_time
from anomaly_platform.ingest.files.csv_grammar import DELIMITERS, sniff_delimiter
from anomaly_platform.ingest.files.sources import UnreadableFile
from anomaly_platform.ingest.files.table_cells import is_time_name, is_unit_row
from anomaly_platform.ingest.files.table_records import (
    Body,
    Record,
    UnclearHeader,
    find_body,
    header_of,
    is_of_logger,
    read_records,
)

#: How many records are looked at: few where the first line is the header, as in most files.
_RECORDS: Final = (32, 400)
_HINT: Final = re.compile(r'"?sep=(.)"?[,;\t]*', re.IGNORECASE)
_COMMENTS: Final = ("#", '"#')
#: A column called "#" counts the rows; its header is no comment.
_COUNT: Final = re.compile(r'"?#"?\s*[,;\t|]\s*"?\w')
_MOST_EXTRA: Final = 64
_PARTED_OTHERWISE: Final = re.compile(r"\S\s{2,}\S|[\u2500-\u257f^~]")


@dataclass(frozen=True)
class TablePlace:
    """What a person says of where the table is.

    Parameters
    ----------
    header_line
        The line of the column names, from 1, as an editor counts; None to find it.
    comment
        What lines begin with that are no rows, wherever they stand; None for none but those that
        are found above the header.
    """

    header_line: int | None = None
    comment: str | None = None


@dataclass(frozen=True)
class TableStart:
    """Where a table is.

    Parameters
    ----------
    names
        The column names as they stand there.
    delimiter
        One character.
    skip
        Lines of the text before the first that may be a row.
    extra
        How many empty fields a row may have beyond the header: delimiters at the end of its line.
    comment
        What lines begin with that are no rows; '' for none.
    notes
        What a person should know.
    missing
        What a cell says where a reading is missing, beside what says so everywhere; '' for nothing.
    plain
        Whether the header is the first line and rows of data are all that follows.
    """

    names: list[str]
    delimiter: str
    skip: int
    extra: int = 0
    comment: str = ""
    notes: tuple[str, ...] = ()
    missing: str = ""
    plain: bool = False


def find_table(text: str, place: TablePlace, *, whole: bool) -> TableStart | None:
    """Find the table in the beginning of a text.

    Parameters
    ----------
    text
        Whole lines, as many as are at hand.
    place
        What a person says.
    whole
        Whether that is all of the text.

    Returns
    -------
    TableStart or None
        None where the header is not complete in this text.

    Raises
    ------
    UnreadableFile
        When it cannot be told which line is the header, or there is none.
    """
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    first = _next_filled(lines, 0)
    hint = _HINT.fullmatch(lines[first]) if first < len(lines) else None
    if hint is not None:  # written by spreadsheets for themselves
        first = _next_filled(lines, first + 1)
    if place.header_line is not None:
        first = place.header_line - 1
        if whole and (first >= len(lines) or not lines[first].strip()):
            raise UnreadableFile(
                f"the header cannot be line {first + 1:,}: it is blank, or behind the file's end,"
                f" line {len(lines):,}"
            )
    if first >= len(lines):
        return None
    sniffed = sniff_delimiter(lines[first])
    others = (one for one in DELIMITERS if one != sniffed)
    delimiters = [sniffed, *others] if hint is None else [hint[1]]
    start = _search(lines, first, delimiters, place, _RECORDS[0])
    if start is None or not start.plain:
        start = _search(lines, first, delimiters, place, _RECORDS[1])
    if start is not None:
        _refuse_data_as_header([name.strip() for name in start.names])
        _refuse_unparted(start.names)
    return start


def refuse_another_table(text: bytes, start: TableStart) -> None:
    """Refuse a text in which a table of other columns begins: they would get these names.

    It shows by a line that begins with the name of the time, as the header does.

    Raises
    ------
    UnreadableFile
        When there is such a line.
    """
    first, *others = (name.strip() for name in start.names)
    if not others or not is_time_name(first):
        return
    begin = f"\n{first}{start.delimiter}".encode()
    at = text.find(begin)
    while at >= 0:
        end = text.find(b"\n", at + 1)
        line = text[at + 1 : end].decode("utf-8", "replace").strip()
        names = [cell.strip(' "') for cell in line.rstrip(start.delimiter).split(start.delimiter)]
        if names != [first, *others][: len(names)]:
            raise UnreadableFile(
                f"another table begins in the file, with columns of its own: {line[:100]!r};"
                " put each table into a file of its own"
            )
        at = text.find(begin, end)


def _next_filled(lines: list[str], at: int) -> int:
    return next((place for place in range(at, len(lines)) if lines[place].strip()), len(lines))


def _search(
    lines: list[str], first: int, delimiters: list[str], place: TablePlace, most: int
) -> TableStart | None:
    """Find the table under the delimiter that shows it best, the likeliest one first."""
    marks = (mark for mark in _COMMENTS if lines[first].startswith(mark))
    found = "" if _COUNT.match(lines[first]) else next(marks, "")
    comment = place.comment or found
    best: tuple[tuple[bool, int], TableStart] | None = None
    unclear: str | None = None
    likely: int | None = None
    for delimiter in delimiters:
        records = read_records(lines, first, delimiter, comment, most)
        if not records:
            continue
        body = find_body(records)
        try:
            header = header_of(records, body) if place.header_line is None else 0
            start = _start(records, header, body, delimiter, comment)
        except UnclearHeader as error:
            if delimiter == delimiters[0] or body is not None:
                unclear = unclear or str(error)
            if body is not None and body.time is not None and body.first:
                likely = records[body.first - 1].first
            continue
        if start.plain and delimiter == delimiters[0]:
            return start
        timed = body is not None and body.time is not None
        rank = (timed, 0 if body is None or len(start.names) < 2 else len(start.names))
        if best is None or rank > best[0]:
            best = rank, start
    if best is not None and (best[0][1] or unclear is None):
        return best[1]
    if unclear is None or most < _RECORDS[1]:
        return None
    raise UnreadableFile(unclear or _which_line(lines, likely))


def _start(
    records: Sequence[Record], header: int, body: Body | None, delimiter: str, comment: str
) -> TableStart:
    record = records[header]
    if body is not None and body.first == header and body.time is not None:
        raise UnclearHeader(f"line {record.first + 1} holds values, not column names")
    if record.broken:
        raise UnclearHeader("the quotes in the header line do not match")
    names = list(record.fields)
    extra = 0
    end = header + 1
    of_logger = is_of_logger(records) and header == 1
    if body is not None and body.first > header:
        filled = max(record.filled(), body.filled)
        if filled < len(names) and min(body.widths) < len(names):
            names = names[:filled]
        extra = max(body.widths) - len(names) if body.filled <= len(names) else 0
        extra = min(max(extra, 0), _MOST_EXTRA)
        while end < body.first and not of_logger and _is_no_row(records[end], body):
            end += 1
    while of_logger and end < len(records) and "time" not in records[end].kinds:
        end += 1  # units, and how values were made
    return TableStart(
        names,
        delimiter,
        records[end - 1].end,
        extra,
        comment,
        tuple(_notes(records, header, end, comment)),
        missing="NAN" if is_of_logger(records) else "",
        plain=body is not None and header == 0 and body.first == 1,
    )


def _is_no_row(record: Record, body: Body) -> bool:
    """Tell whether a record under the header is a rule, a comment, or a row of units."""
    if record.comment or record.rule or is_unit_row(record.fields, body.time):
        return True
    return (
        body.time is not None
        and record.kind(body.time) == "empty"
        and set(record.kinds) == {"empty", "text"}
    )


def _notes(records: Sequence[Record], header: int, end: int, comment: str) -> list[str]:
    first = records[header].first + 1
    said = []
    if first > 1:
        said.append(f"the header is line {first}")
    under = [record.first + 1 for record in records[header + 1 : end]]
    if under:
        said.append(f"no rows of data: line {', '.join(map(str, under[:5]))}, below the header")
    if comment:
        said.append(f"lines that begin with {comment} are left out")
    return said


def _which_line(lines: list[str], likely: int | None) -> str:
    """Say that a person has to say where the header is, and show the first lines of the file."""
    filled = [at for at, line in enumerate(lines) if line.strip()]
    likely = filled[min(len(filled) - 1, 1)] if likely is None else likely
    shown = sorted({*filled[:3], likely, *[at for at in filled if at > likely][:1]})
    seen = "; ".join(f"line {at + 1}: {lines[at][:50]!r}" for at in shown)
    return (
        "it cannot be told which line has the column names; say it with --header-line N, for"
        f" example --header-line {likely + 1}; the file begins with {seen}"
    )


def _refuse_data_as_header(names: list[str]) -> None:
    """Refuse a file whose first line holds values: its columns would get values as names."""
    if not all(name[:1].isdigit() or name[:1] in "+-." for name in names):
        return
    texts = pl.Series(names)
    numbers = texts.cast(pl.Float64, strict=False).is_not_null()
    times = parse_event_time(texts).is_not_null()
    if (numbers | times).all():
        raise UnreadableFile(
            "the first line holds values, not column names; put a header line before it"
        )


def _refuse_unparted(names: list[str]) -> None:
    """Refuse a table whose columns are parted by something that is no delimiter."""
    if len(names) == 1 and _PARTED_OTHERWISE.search(names[0]):
        raise UnreadableFile(
            "columns are parted by a comma, a semicolon, a tab or '|', and the line of the column"
            f" names has none of them: {names[0].strip()[:100]!r}; export the table with one of"
            " them, as by sqlcmd -s ';' -W or psql --csv"
        )
