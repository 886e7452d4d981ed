"""The first records of a text: which are rows of data, and which has the names of their columns.

Here belongs judging records one against the other. Rows of data are plain: one after the other they
have a time in the same column, or numbers in the same columns. The header is looked for above the
first of them, and taken where only one record can be meant.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from anomaly_platform.ingest.files.csv_grammar import (
    MAX_RECORD_LINES,
    BadQuote,
    OpenQuote,
    split_record,
)
from anomaly_platform.ingest.files.table_cells import (
    Kind,
    is_footer,
    is_rule,
    is_time_format,
    is_time_name,
    is_unit_row,
    kind_of,
)

_MOST_CELLS: Final = 40_000
_LOOKED_AT: Final = 20
_LIKE_IT: Final = 0.7
_FULL: Final = 0.8
_NO_HEADER: Final = "the first line holds values, not column names; put a header line before it"


@dataclass(frozen=True)
class Record:
    """One record of the text's beginning.

    Parameters
    ----------
    first, end
        Its lines, from 0: the first, and the one after the last.
    fields, kinds
        What it says.
    comment, rule, footer, broken
        Whether it is a comment, only draws a line, stands below a table, or has quotes that do not
        match.
    """

    first: int
    end: int
    fields: list[str]
    kinds: tuple[Kind, ...]
    comment: bool = False
    rule: bool = False
    footer: bool = False
    broken: bool = False

    def kind(self, column: int) -> Kind:
        """Return what a field looks like; one that is not there is empty."""
        return self.kinds[column] if column < len(self.kinds) else "empty"

    def filled(self) -> int:
        """Return how many fields there are up to the last that is not empty."""
        return max((place for place, cell in enumerate(self.fields, 1) if cell.strip()), default=0)


@dataclass(frozen=True)
class Body:
    """The first rows of data.

    Parameters
    ----------
    first
        Place of the first one among the records.
    time
        The column of their time; None where no column shows one.
    widths
        The numbers of fields that they have.
    filled
        The fields that nearly all of them have up to the last that is not empty: one may have a
        delimiter too many.
    """

    first: int
    time: int | None
    widths: frozenset[int]
    filled: int


class UnclearHeader(Exception):  # noqa: N818 - a state of the search
    """More than one line may be the header, or none."""


def read_records(
    lines: list[str], first: int, delimiter: str, comment: str, most: int
) -> list[Record]:
    """Read the first records; lines that are blank are none."""
    found: list[Record] = []
    at, cells = first, 0
    while at < len(lines) and len(found) < most and cells < _MOST_CELLS:
        line = lines[at]
        if not line.strip():
            at += 1
            continue
        said = bool(comment) and line.startswith(comment)
        if said:
            end, fields = _split([line.removeprefix(comment).strip()], 0, delimiter)
            end += at
        else:
            end, fields = _split(lines, at, delimiter)
        shown = fields or [line]
        found.append(
            Record(
                at,
                end,
                shown,
                tuple(map(kind_of, shown)),
                comment=said,
                rule=is_rule(line),
                footer=is_footer(shown[0]),
                broken=not fields,
            )
        )
        cells += len(shown)
        at = end
    return found


def _split(lines: list[str], at: int, delimiter: str) -> tuple[int, list[str]]:
    """Return the line after the record that begins at a line, and its fields; none if broken."""
    for end in range(at + 1, min(at + MAX_RECORD_LINES, len(lines)) + 1):
        try:
            return end, split_record("\n".join(lines[at:end]), delimiter)
        except OpenQuote:
            continue
        except BadQuote:
            break
    return at + 1, []


def find_body(records: Sequence[Record]) -> Body | None:
    """Find the first rows of data: they resemble those after them, by their time if they can."""
    for alike in (_alike_by_time, _alike_by_numbers):
        for place, record in enumerate(records):
            if record.comment or record.rule:
                continue
            same = alike(record)
            if same is None:
                continue
            after = [
                one for one in records[place + 1 :] if not (one.comment or one.rule or one.footer)
            ][:_LOOKED_AT]
            like = [one for one in after if same(one)]
            if len(like) < _LIKE_IT * len(after):
                continue
            rows = [record, *(one for one in records[place + 1 :] if same(one))]
            time = record.kinds.index("time") if alike is _alike_by_time else None
            widths = frozenset(len(one.fields) for one in rows)
            filled = sorted(one.filled() for one in rows)
            return Body(place, time, widths, filled[int(_FULL * (len(filled) - 1))])
    return None


_Alike = Callable[[Record], bool] | None


def _same_width(a: Record, b: Record) -> bool:
    least = min(len(a.fields), len(b.fields))
    return a.filled() <= least and b.filled() <= least


def _alike_by_time(record: Record) -> _Alike:
    if "time" not in record.kinds:
        return None
    column = record.kinds.index("time")
    return lambda one: one.kind(column) == "time" and _same_width(record, one)


def _alike_by_numbers(record: Record) -> _Alike:
    if "number" not in record.kinds or "time" in record.kinds:
        return None

    def alike(one: Record) -> bool:
        return _same_width(record, one) and all(
            "empty" in {a, b} or a == b for a, b in zip(record.kinds, one.kinds, strict=False)
        )

    return alike


def is_of_logger(records: Sequence[Record]) -> bool:
    """Tell whether Campbell's loggers wrote the text: the names are its second line."""
    return records[0].fields[0].strip().upper() in {"TOA5", "TOACI1"}


def header_of(records: Sequence[Record], body: Body | None) -> int:
    """Return the place of the header among the records.

    Raises
    ------
    UnclearHeader
        When there is none, or more than one; its text says why where there is more to say.
    """
    plain = [at for at, record in enumerate(records) if not record.comment and not record.rule]
    if is_of_logger(records) and len(plain) > 1:
        return plain[1]
    if body is None:
        if plain:
            return plain[0]
        raise UnclearHeader("")
    above = [at for at in plain if at < body.first]
    if all(is_unit_row(records[at].fields, body.time) for at in above):
        comments = [at for at in range(body.first) if records[at].comment]
        fits = [at for at in comments if _may_be(records[at], body)]
        if fits and (fits[-1] == comments[-1] or _is_named(records[fits[-1]], body)):
            return fits[-1]
    if above:
        header = _chosen(records, above, body)
        known = _is_named(records[header], body)
        rows = records[body.first :]
        if any(_contradicts(one, records[header], body, known) for one in rows):
            raise UnclearHeader("")
        if any(_starts_numbers(rows, at, body) for at in range(1, len(rows))):
            raise UnclearHeader("")
        return header
    if body.time is None and body.first == 0:
        # Values without a time may be names all the same: their columns are judged later.
        return 0
    raise UnclearHeader(_NO_HEADER if body.first == 0 else "")


def _contradicts(record: Record, header: Record, body: Body, known: bool) -> bool:
    """Tell whether a record among the rows is another header: what is above it is another table."""
    if record.comment or record.fields[: record.filled()] == header.fields[: header.filled()]:
        return False
    if record.filled() < 2 or is_unit_row(record.fields, body.time):
        return False
    named = _is_named(record, body)
    if named and body.time is not None:
        return True  # whatever the other names look like: "7" may be one
    return {"text", "empty"}.issuperset(record.kinds) and (named or not known)


def _starts_numbers(rows: Sequence[Record], at: int, body: Body) -> bool:
    """Tell whether a record has names and the first numbers of the rows stand below it."""
    record = rows[at]
    if record.comment or record.kind(body.time or 0) != "text" or not _may_be(record, body):
        return False
    above = any("number" in one.kinds for one in rows[:at])
    return not above and any("number" in one.kinds for one in rows[at + 1 :])


def _chosen(records: Sequence[Record], above: list[int], body: Body) -> int:
    """Return which of the lines above the rows has the names."""
    top = above[0]
    fits = [at for at in above if _may_be(records[at], body)]
    units = [at for at in fits if is_unit_row(records[at].fields, body.time)]
    real = [at for at in fits if at not in units] or fits[:1]
    if real == units[:1] and any(_is_named(records[at], body) for at in units[1:]):
        raise UnclearHeader("")  # names that look like units, above others that do
    if not real:
        if body.time is None or len(records[top].fields) in body.widths:
            return top
        raise UnclearHeader("")
    last = real[-1]
    named = [at for at in fits if at <= last and _is_named(records[at], body)]
    if _is_format(records[last], body):  # "UTC" under "Time" is no name
        named = [at for at in named if not _is_format(records[at], body)] or named
    if len(named) == 1 and (named[0] in {top, last} or _is_format(records[last], body)):
        return named[0]
    if named:
        raise UnclearHeader("")
    between = [at for at in above if at > last and not _between(records[at], body)]
    if len(real) > 1 or between or (units and last not in units):
        raise UnclearHeader("")
    return last


def _may_be(record: Record, body: Body) -> bool:
    """Tell whether a record may be the header of these rows: as many names as they have columns."""
    width, filled = len(record.fields), record.filled()
    most = max(body.widths)
    if not (width in body.widths or body.filled <= filled <= most):
        return False
    if body.time is not None and body.time >= width:
        return False
    if "time" in record.kinds:
        return False
    if _is_named(record, body):
        return True
    if record.kinds.count("number") * 2 > filled:
        return False
    names = [cell.strip() for cell in record.fields[: max(body.filled, filled)]]
    return all(names) and len(set(names)) == len(names) and len(names) > 1


def _is_named(record: Record, body: Body) -> bool:
    """Tell whether the column of the time, or any where none is known, has the name of a time."""
    if body.time is not None:
        return body.time < len(record.fields) and is_time_name(record.fields[body.time])
    return any(map(is_time_name, record.fields))


def _is_format(record: Record, body: Body) -> bool:
    """Tell whether the column of the time has a zone or a format there, rather than a name."""
    return body.time is not None and is_time_format(record.fields[body.time])


def _between(record: Record, body: Body) -> bool:
    """Tell whether a record between header and rows can be no header itself."""
    return (
        is_unit_row(record.fields, body.time)
        or (body.time is not None and record.kind(body.time) == "empty")
        or "number" in record.kinds
        or "time" in record.kinds
        or len(record.fields) not in body.widths
    )
