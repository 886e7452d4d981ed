"""Delimited text: from UTF-8 blocks to batches of rows.

Here belongs the grammar of CSV: delimiters, quotes, records over several lines, rows of the wrong
length. Blocks of whole lines are checked with array operations and, when every row in them is
plain, parsed by Polars at once; a block with anything odd is gone through line by line.

The grammar is RFC 4180, with these decisions: a quote opens a field only at its start, elsewhere it
is a character like any other; a quoted field may run over at most `_MAX_RECORD_LINES` lines; where
a quote opens and never closes, that one line is refused and reading goes on with the next. A row
with more or fewer fields than the header is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from anomaly_platform.ingest.event_days import parse_event_time
from anomaly_platform.ingest.files.batches import RawBatch, column_names
from anomaly_platform.ingest.files.csv_grammar import (
    NEWLINE,
    QUOTE,
    RETURN,
    BadQuote,
    Lines,
    OpenQuote,
    sniff_delimiter,
    split_record,
)
from anomaly_platform.ingest.files.sources import (
    REPLACEMENT,
    Inspection,
    ReadLimits,
    UnreadableFile,
)
from anomaly_platform.ingest.rejects import no_rejects, row_rejects

_CHUNK: Final = 8 << 20
_MAX_RECORD_LINES: Final = 64
_NEVER_CLOSES: Final = "a quote opens and never closes"


class _Part(NamedTuple):
    """What became of a chunk of lines."""

    frame: pl.DataFrame
    row_numbers: pl.Series
    rejects: pl.DataFrame
    records: int
    rest: bytes


def read_csv(
    blocks: Iterator[bytes], inspection: Inspection, limits: ReadLimits, batch_rows: int
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

    Raises
    ------
    UnreadableFile
        When the header cannot be used, or a line is too long.
    """
    table: _Table | None = None
    records = 0
    pending = b""
    for data, last in _chunks(blocks):
        text = pending + data
        if last and text and not text.endswith(b"\n"):
            text += b"\n"
        end = text.rfind(b"\n") + 1
        lines, pending = text[:end], text[end:]
        if len(text) > limits.max_line_bytes and (
            max(map(len, text.split(b"\n"))) > limits.max_line_bytes
        ):
            raise UnreadableFile(f"a line has more than {limits.max_line_bytes:,} bytes")
        if table is None and lines.strip():
            table, lines = _read_header(lines, inspection, limits)
        if table is None:
            continue
        part = table.parse(lines, first_record=records + 1, last=last)
        records += part.records
        pending = part.rest + pending
        yield from _slices(part, batch_rows, inspection.notes)


def _chunks(blocks: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield pieces of about `_CHUNK` bytes, and with each whether it is the last."""
    held: list[bytes] = []
    size = 0
    for block in blocks:
        if size >= _CHUNK:
            yield b"".join(held), False
            held, size = [], 0
        held.append(block)
        size += len(block)
    yield b"".join(held), True


def _slices(part: _Part, batch_rows: int, notes: tuple[str, ...]) -> Iterator[RawBatch]:
    rejects = part.rejects
    for offset in range(0, max(part.frame.height, 1), batch_rows):
        yield RawBatch(
            part.frame.slice(offset, batch_rows),
            part.row_numbers.slice(offset, batch_rows),
            rejects,
            notes=notes,
        )
        rejects = no_rejects()


def _read_header(text: bytes, inspection: Inspection, limits: ReadLimits) -> tuple["_Table", bytes]:
    """Read the column names from the first line that is not blank; return the lines after it."""
    delimiter = sniff_delimiter(inspection.head)
    rest = text.lstrip(b"\r\n")
    hint = rest[: rest.find(b"\n")].rstrip()
    if hint[:4].lower() == b"sep=" and len(hint) == 5:  # written by spreadsheets for themselves
        delimiter = hint[4:].decode("utf-8", "replace")
        rest = rest[rest.index(b"\n") + 1 :].lstrip(b"\r\n")
    size = 0
    for _ in range(_MAX_RECORD_LINES):
        size = rest.find(b"\n", size) + 1
        if size == 0:
            break
        try:
            header = split_record(rest[:size].decode("utf-8").rstrip("\r\n"), delimiter)
        except OpenQuote:
            continue
        except BadQuote:
            break
        names = column_names(header, limits)
        _refuse_data_as_header(names)
        damaged = inspection.encoding == "utf-8-damaged"
        return _Table(names, delimiter, damaged=damaged), rest[size:]
    raise UnreadableFile("the quotes in the header line do not match")


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


@dataclass(frozen=True)
class _Table:
    """A table whose header is known."""

    names: list[str]
    delimiter: str
    damaged: bool

    def parse(self, text: bytes, *, first_record: int, last: bool) -> _Part:
        """Parse whole lines; what may be the start of a longer record is given back as rest."""
        lines = Lines.of(text)
        if QUOTE in text and not self._quotes_are_plain(lines):
            return self._parse_by_line(lines, first_record, last=last)
        return self._parse_at_once(lines, first_record)

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

    def _parse_at_once(self, lines: "Lines", first_record: int) -> _Part:
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
        good = filled & (fields == len(self.names)) & ~foul
        bad = np.flatnonzero(filled & ~good)
        rejects = [
            (int(numbers[i]), self._reason(int(fields[i]), foul=bool(foul[i])), lines.line(int(i)))
            for i in bad
        ]
        frame = self._frame(lines.keep(good))
        if frame.height != int(good.sum()):
            raise UnreadableFile(
                "the rows of the file cannot be told apart"
                f" (near data row {first_record:,}); check its quotes and line ends"
            )
        return _Part(
            frame,
            pl.Series("row_number", numbers[good], dtype=pl.Int64),
            row_rejects(rejects),
            int(filled.sum()),
            b"",
        )

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

    def _parse_by_line(self, lines: "Lines", first_record: int, *, last: bool) -> _Part:
        """Parse lines with odd quotes, one at a time."""
        rows: list[list[str]] = []
        numbers: list[int] = []
        rejects: list[tuple[int, str, str]] = []
        record = first_record - 1
        at, count, rest = 0, len(lines.starts), b""
        while at < count:
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
        return _Part(
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
        limit = at + _MAX_RECORD_LINES
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
        foul = "\0" in text or (self.damaged and REPLACEMENT in text)
        if foul:
            return end - at + 1, None, self._reason(len(fields), foul=True)
        if len(fields) == len(self.names):
            return end - at + 1, fields, ""
        return 1, None, _NEVER_CLOSES if end > at else self._reason(len(fields), foul=False)
