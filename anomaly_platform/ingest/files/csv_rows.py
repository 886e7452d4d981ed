"""Delimited text: from UTF-8 blocks to batches of rows.

Here belongs the grammar of CSV: quotes, records over several lines, rows of the wrong length. Where
the table is in the text is found in `table_start`. Blocks of whole lines are checked with array
operations and, when every row in them is plain, parsed by Polars at once; a block with anything odd
is gone through line by line.

The grammar is RFC 4180, with these decisions: a quote opens a field only at its start, elsewhere it
is a character like any other; a quoted field may run over at most `MAX_RECORD_LINES` lines; where
a quote opens and never closes, that one line is refused and reading goes on with the next. A row
with more or fewer fields than the header is refused, unless delimiters at the end of its line are
all that it has more, as in the first rows of its table. What programs write below a table, such as
"(42 rows affected)", is no row where it ends the file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.ingest.files.batches import MAX_CELLS, RawBatch, chunks_of, column_names
from anomaly_platform.ingest.files.csv_grammar import (
    DELIMITERS,
    MAX_RECORD_LINES,
    NEWLINE,
    QUOTE,
    RETURN,
    BadQuote,
    Lines,
    OpenQuote,
    split_record,
)
from anomaly_platform.ingest.files.limits import (
    ReadLimits,
    UnreadableFile,
    refuse_long_lines,
    too_many_columns,
)
from anomaly_platform.ingest.files.sources import REPLACEMENT, Inspection
from anomaly_platform.ingest.files.table_cells import is_footer, is_rule
from anomaly_platform.ingest.files.table_start import (
    TablePlace,
    TableStart,
    find_table,
    refuse_another_table,
)
from anomaly_platform.ingest.rejects import no_rejects, row_rejects

#: So much of a text is gathered to find its table.
_BEGINNING: Final = 1 << 18
_LONGEST_FOOTER: Final = 1 << 12
_MOST_FOOTER_LINES: Final = 10
_NEVER_CLOSES: Final = "a quote opens and never closes"


class Part(NamedTuple):
    """What became of a chunk of lines."""

    frame: pl.DataFrame
    row_numbers: pl.Series
    rejects: pl.DataFrame
    records: int
    rest: bytes


def read_csv(
    blocks: Iterator[bytes],
    inspection: Inspection,
    limits: ReadLimits,
    batch_rows: int,
    place: TablePlace,
) -> Iterator[RawBatch]:
    """Yield the rows of a delimited text.

    Parameters
    ----------
    blocks
        The text as UTF-8 (`sources.text_blocks`).
    inspection
        What is known of the file.
    limits
        Bounds on columns and line length.
    batch_rows
        The most rows of a batch. Batches are made of some megabytes of text and may be smaller.
    place
        What a person says of where the table is.

    Raises
    ------
    UnreadableFile
        When the header cannot be found or used, or a line is too long.
    """
    beginning, chunks = _gathered(chunks_of(blocks))
    start = _found(beginning, place, limits)
    table = Table.of(start, limits, damaged=inspection.encoding == "utf-8-damaged")
    notes = (*inspection.notes, *start.notes)
    records, skip, pending = 0, start.skip, b""
    for data, last in chunks:
        text = pending + data
        if last and text and not text.endswith(b"\n"):
            text += b"\n"
        refuse_long_lines(text, limits)
        at = 0
        while skip and (end := text.find(b"\n", at) + 1):
            at, skip = end, skip - 1
        end = len(text) if last else _before_footer(text, at)
        lines, pending = text[at:end], text[end:]
        if last:
            lines, footer = _without_footer(lines, table)
            notes = (*notes, *footer)
        refuse_another_table(lines, start)
        part = table.parse(lines, first_record=records + 1, last=last)
        records += part.records
        pending = part.rest + pending
        yield from slices(part, batch_rows, notes)


def _gathered(
    chunks: Iterator[tuple[bytes, bool]],
) -> tuple[tuple[bytes, bool], Iterator[tuple[bytes, bool]]]:
    """Return the beginning of a text and whether it is all of it, and its chunks from the start."""
    held: list[tuple[bytes, bool]] = []
    size = 0
    for data, last in chunks:
        held.append((data, last))
        size += len(data)
        if last or size >= _BEGINNING:
            break
    return (b"".join(data for data, _ in held), held[-1][1]), chain(held, chunks)


def _found(beginning: tuple[bytes, bool], place: TablePlace, limits: ReadLimits) -> TableStart:
    """Find the table in a text's beginning: in a little of it where that is enough."""
    text, whole = beginning
    _refuse_wide(text, limits)
    for size in (_BEGINNING, len(text)):
        complete = whole and size >= len(text)
        end = len(text) if complete else text.rfind(b"\n", 0, size) + 1
        start = find_table(text[:end].decode("utf-8", "replace"), place, whole=complete)
        if start is not None:
            return start
    raise UnreadableFile(f"the header is not found in the first {len(text):,} bytes of the file")


def _refuse_wide(text: bytes, limits: ReadLimits) -> None:
    """Refuse a first line that has far more fields than a header may, before it is split."""
    end = text.find(b"\n")
    line = text.lstrip()[: end if end >= 0 else len(text)]
    if len(line) < _BEGINNING:
        return
    outside = b"".join(line.split(b'"', 2 * MAX_RECORD_LINES)[::2])
    columns = max(outside.count(delimiter.encode()) for delimiter in DELIMITERS) + 1
    if columns > limits.max_columns:
        raise too_many_columns(columns, limits)


def _before_footer(text: bytes, start: int) -> int:
    """Return the end of the lines that can be no footer: whole ones, without the last few."""
    early = text.find(b"\n", max(start, len(text) - _LONGEST_FOOTER)) + 1
    return early or text.rfind(b"\n", start) + 1 or start


def _without_footer(text: bytes, table: "Table") -> tuple[bytes, list[str]]:
    """Cut off what a program wrote below the table, with a note of it."""
    end = len(text)
    footer: list[str] = []
    while end and len(footer) < _MOST_FOOTER_LINES:
        start = text.rfind(b"\n", 0, end - 1) + 1
        line = text[start:end].decode("utf-8", "replace").strip()
        if line.count('"') % 2:  # a quoted text ends here
            break
        if line and not (is_rule(line) or (is_footer(line) and table.can_be_no_row(line))):
            break
        footer += [line] if line else []
        end = start
    if not footer:
        return text, []
    said = "; ".join(line[:60] for line in reversed(footer))
    return text[:end], [f"below the table, and no rows of it: {said}"]


def slices(part: Part, batch_rows: int, notes: Sequence[str]) -> Iterator[RawBatch]:
    """Yield a part of a file as batches of at most some rows."""
    rejects = part.rejects
    rows = max(1, min(batch_rows, MAX_CELLS // max(part.frame.width, 1)))
    for offset in range(0, max(part.frame.height, 1), rows):
        yield RawBatch(
            part.frame.slice(offset, rows),
            part.row_numbers.slice(offset, rows),
            rejects,
            notes=tuple(notes),
        )
        rejects = no_rejects()


@dataclass(frozen=True)
class Table:
    """A table whose header is known.

    Parameters
    ----------
    names
        Of the columns.
    delimiter
        One character.
    damaged
        Whether the text has characters that could not be decoded.
    extra
        How many empty fields a row may have beyond its columns.
    comment
        What lines begin with that are no rows; empty for none.
    missing
        What a cell says where a reading is missing.
    """

    names: list[str]
    delimiter: str
    damaged: bool
    extra: int = 0
    comment: bytes = b""
    missing: str = ""

    @classmethod
    def of(cls, start: TableStart, limits: ReadLimits, *, damaged: bool) -> "Table":
        """Return the table that starts there."""
        names = column_names(start.names, limits)
        comment = start.comment.encode()
        return cls(names, start.delimiter, damaged, start.extra, comment, start.missing)

    def can_be_no_row(self, line: str) -> bool:
        """Tell whether a line has less than a row of this table."""
        fields = line.split(self.delimiter)
        return len(self.names) > 1 and (len(fields) < len(self.names) or not any(fields[1:]))

    def parse(self, text: bytes, *, first_record: int, last: bool) -> Part:
        """Parse whole lines; what may be the start of a longer record is given back as rest."""
        lines = Lines.of(text, self.comment)
        if QUOTE in text and not self._quotes_are_plain(lines):
            part = self._parse_by_line(lines, first_record, last=last)
        else:
            part = self._parse_at_once(lines, first_record)
        if not self.missing:
            return part
        return part._replace(
            frame=part.frame.select(pl.when(pl.all() != self.missing).then(pl.all()))
        )

    def _quotes_are_plain(self, lines: "Lines") -> bool:
        """Tell whether all quotes pair up within lines and stand where RFC 4180 has them."""
        quotes = lines.positions(QUOTE)
        if (np.searchsorted(quotes, lines.ends) % 2).any():
            return False
        opening, closing = quotes[::2], quotes[1::2]
        # A doubled quote inside a field shows as one that closes and one that opens again.
        doubled = closing[:-1] + 1 == opening[1:]
        before = lines.codes[opening - 1]
        starts = (before == ord(self.delimiter)) | (before == NEWLINE)
        starts[opening == 0] = True
        starts[1:] |= doubled
        after = lines.codes[closing + 1]
        stops = (after == ord(self.delimiter)) | (after == NEWLINE) | (after == RETURN)
        stops[:-1] |= doubled
        return bool(starts.all() and stops.all())

    def _parse_at_once(self, lines: "Lines", first_record: int) -> Part:
        """Parse lines each of which is one record."""
        delimiters = lines.positions(ord(self.delimiter))
        if QUOTE in lines.text:
            quotes = lines.positions(QUOTE)
            delimiters = delimiters[np.searchsorted(quotes, delimiters) % 2 == 0]
        bounds = np.searchsorted(delimiters, np.append(lines.starts, len(lines.text)))
        fields = np.diff(bounds) + 1
        filled = ~lines.blank
        numbers = first_record - 1 + np.cumsum(filled)
        foul = lines.marked(b"\0")
        if self.damaged:
            foul |= lines.marked(REPLACEMENT.encode())
        fits = fields == len(self.names)
        trailing = self._trailing(lines, fields)
        good = filled & (fits | (trailing > 0)) & ~foul
        bad = np.flatnonzero(filled & ~good)
        rejects = [
            (int(numbers[i]), self._reason(int(fields[i]), foul=bool(foul[i])), lines.line(int(i)))
            for i in bad
        ]
        frame = self._frame(lines.keep(good, trailing))
        if frame.height != int(good.sum()):
            raise UnreadableFile(
                "the rows of the file cannot be told apart"
                f" (near data row {first_record:,}); check its quotes and line ends"
            )
        return Part(
            frame,
            pl.Series("row_number", numbers[good], dtype=pl.Int64),
            row_rejects(rejects),
            int(filled.sum()),
            b"",
        )

    def _trailing(self, lines: "Lines", fields: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return how many delimiters too many end each line; 0 where another fault is in it."""
        surplus = np.where(fields > len(self.names) + self.extra, 0, fields - len(self.names))
        if not self.extra or not (surplus > 0).any():
            return np.zeros_like(surplus)
        ends = lines.content_ends()
        for back in range(1, int(surplus.max()) + 1):
            cut = (surplus >= back) & (lines.codes[ends - back] != ord(self.delimiter))
            surplus[cut] = 0
        return np.maximum(surplus, 0)

    def _frame(self, text: bytes) -> pl.DataFrame:
        schema = dict.fromkeys(self.names, pl.String)
        if not text:
            return pl.DataFrame(schema=schema)
        frame = pl.read_csv(
            text,
            has_header=False,
            schema=schema,
            separator=self.delimiter,
            quote_char='"' if QUOTE in text else None,
        )
        if b'""' in text:  # an empty cell is null, with quotes and without
            return frame.select(pl.when(pl.all() != "").then(pl.all()))
        return frame

    def _reason(self, fields: int, *, foul: bool) -> str:
        if foul:
            return "the row has characters that are not text (NUL, or bytes that are not UTF-8)"
        return f"the row has {fields:,} fields where the header has {len(self.names):,}"

    def _parse_by_line(self, lines: "Lines", first_record: int, *, last: bool) -> Part:
        """Parse lines with odd quotes, one at a time."""
        rows: list[list[str]] = []
        numbers: list[int] = []
        rejects: list[tuple[int, str, str]] = []
        record = first_record - 1
        at, rest = 0, b""
        while at < len(lines.starts):
            if lines.blank[at]:
                at += 1
                continue
            taken, fields, reason = self._record_at(lines, at)
            if taken == 0:  # it may go on in lines that are not here yet
                if not last:
                    rest = lines.text[int(lines.starts[at]) :]
                    break
                taken = 1
            record += 1
            if fields is None:
                rejects.append((record, reason, lines.line(at)))
            else:
                rows.append(fields)
                numbers.append(record)
            at += taken
        frame = pl.DataFrame(rows, schema=dict.fromkeys(self.names, pl.String), orient="row")
        return Part(
            frame.select(pl.when(pl.all() != "").then(pl.all())),
            pl.Series("row_number", numbers, dtype=pl.Int64),
            row_rejects(rejects),
            record - first_record + 1,
            rest,
        )

    def _record_at(self, lines: Lines, at: int) -> tuple[int, list[str] | None, str]:
        """Read the record that starts at a line: lines taken, fields or None, reason if None.

        Zero lines are taken when the record is open at the end of the last line.
        """
        limit = at + MAX_RECORD_LINES
        end = at
        while True:
            text = lines.line(at, end)
            try:
                fields = split_record(text, self.delimiter)
                break
            except OpenQuote:
                closing = lines.next_with(b'"', end)
                if closing is None and limit > len(lines.starts):
                    return 0, None, _NEVER_CLOSES
                if closing is None or closing >= limit:
                    return 1, None, _NEVER_CLOSES
                end = closing
            except BadQuote:
                return 1, None, _NEVER_CLOSES if end > at else "text follows a closing quote"
        if "\0" in text or (self.damaged and REPLACEMENT in text):
            return end - at + 1, None, self._reason(len(fields), foul=True)
        width = len(self.names)
        if width <= len(fields) <= width + self.extra and not any(fields[width:]):
            return end - at + 1, fields[:width], ""
        return 1, None, _NEVER_CLOSES if end > at else self._reason(len(fields), foul=False)
