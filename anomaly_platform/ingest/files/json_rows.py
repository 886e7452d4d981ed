"""JSON and JSON Lines: from UTF-8 blocks to batches of text columns.

Here belongs the grammar of the accepted documents:

- JSON Lines: one object a line. A line that is no object is refused, the others are read.
- a list of objects, at the top or in an object under ``data``, ``records``, ``rows``, ``events`` or
  ``telemetry``; plain values beside that list (``{"fileId": 7, "data": […]}``) become columns that
  are the same in every row. Lists are read piece by piece, whatever their length.
- an object of lists of equal length, one per column, and a single object that is one record: read
  as a whole, up to a size.

Values become text: numbers in their shortest exact form, ``true`` and ``false``, nested values as
JSON. A null is a null cell; a key that a record does not have is reported as absent.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Any, Final, NamedTuple

import polars as pl

from anomaly_platform.ingest.files.batches import CONTROL, MAX_CELLS, RawBatch, text_frame
from anomaly_platform.ingest.files.json_document import document_records, refuse_many_values
from anomaly_platform.ingest.files.limits import (
    ReadLimits,
    UnreadableFile,
    too_large,
    too_many_rows,
)
from anomaly_platform.ingest.files.sources import REPLACEMENT, Inspection
from anomaly_platform.ingest.rejects import row_rejects

#: A batch holds the records of so much text, or rows of so many bytes.
_BATCH_TEXT: Final = 32 << 20
_BATCH_BYTES: Final = 64 << 20
_JSON_LINES: Final = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
_DECODER: Final = json.JSONDecoder()


def looks_like_json(head: str, name: str) -> bool:
    """Tell whether a text is JSON or JSON Lines rather than a table."""
    start = head.lstrip()
    if start.startswith("{"):
        return True
    if start.startswith("["):
        return not name.lower().removesuffix(".gz").endswith((".csv", ".tsv")) or (
            start[1:].lstrip().startswith(("{", "]"))
        )
    named = name.lower().removesuffix(".gz").endswith((".json", ".jsonl", ".ndjson"))
    # The first lines of JSON Lines may be broken; where no line is JSON, the suffix is wrong.
    return named and any(line.lstrip().startswith("{") for line in head.splitlines())


def read_json(
    blocks: Iterator[bytes],
    inspection: Inspection,
    name: str,
    limits: ReadLimits,
    batch_rows: int,
) -> Iterator[RawBatch]:
    """Yield the rows of a JSON document or of JSON Lines.

    Parameters
    ----------
    blocks
        The text as UTF-8 (`sources.text_blocks`).
    inspection
        What is known of the file.
    name
        The file's name: its suffix decides where the content leaves it open.
    limits
        Bounds on keys, line length and size of documents that must be held as a whole.
    batch_rows
        The most rows of a batch; fewer where records have many keys.

    Raises
    ------
    UnreadableFile
        When a document is no valid JSON (also after some batches), or has another shape.
    """
    text = _Counted(blocks)
    records = json_records(iter(text), inspection, name, limits)
    collector = _Collector(limits, damaged=inspection.encoding == "utf-8-damaged")
    yielded = False
    for number, record in enumerate(records, 1):
        collector.add(number, record)
        if number > limits.max_rows:
            raise too_many_rows(limits)
        if len(collector) >= batch_rows or collector.is_full or text.size >= _BATCH_TEXT:
            yield collector.batch(inspection.notes)
            yielded = True
            text.size = 0
    if len(collector) or not yielded:
        yield collector.batch(inspection.notes)


class _Counted:
    """Passes blocks on, and counts their bytes."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self._blocks:
            self.size += len(block)
            yield block


def json_records(
    blocks: Iterator[bytes], inspection: Inspection, name: str, limits: ReadLimits
) -> Iterator[Any]:
    """Yield the records of a JSON document or of JSON Lines as they are; see `read_json`."""
    if _is_json_lines(inspection.head, name):
        return _json_lines(blocks, limits)
    return document_records(blocks, inspection.size, limits)


def _is_json_lines(head: str, name: str) -> bool:
    lines = [line.strip() for line in head.splitlines() if line.strip()]
    if not lines[0].startswith(("{", "[")):
        return True  # no document, but there may be good lines further on
    if lines[0].startswith("["):
        return False
    if name.lower().endswith(_JSON_LINES):
        # A document that was saved under the wrong suffix starts with less than an object a line.
        return len(lines) == 1 or lines[0].endswith("}") or not lines[0].endswith(("{", "[", ","))
    try:
        first, end = _DECODER.raw_decode(lines[0])
    except (ValueError, RecursionError):
        second = lines[1] if len(lines) > 1 else ""
        return second.startswith("{") and second.endswith("}")
    return isinstance(first, dict) and end == len(lines[0]) and len(lines) > 1


def _json_lines(blocks: Iterator[bytes], limits: ReadLimits) -> Iterator[Any]:
    """Yield each line's value; a line that is no JSON as a `_BadRecord`."""
    for line in _lines(blocks, limits):
        text = line.decode("utf-8").strip()
        if not text:
            continue
        refuse_many_values(text)
        try:
            value, end = _DECODER.raw_decode(text)
        except (ValueError, RecursionError):
            value, end = None, -1
        yield value if end == len(text) else _BadRecord("the line is not valid JSON", text)


def _lines(blocks: Iterator[bytes], limits: ReadLimits) -> Iterator[bytes]:
    pending: list[bytes] = []
    size = 0
    for block in blocks:
        if b"\n" not in block:
            pending.append(block)
            size += len(block)
            if size > limits.max_line_bytes:
                raise UnreadableFile(f"a line has more than {limits.max_line_bytes:,} bytes")
            continue
        first, *others = block.split(b"\n")
        yield b"".join([*pending, first])
        yield from others[:-1]
        pending, size = [others[-1]], len(others[-1])
    yield b"".join(pending)


class _BadRecord(NamedTuple):
    """Stands for a record that could not be read."""

    reason: str
    text: str


class _Collector:
    """Gathers records and turns them into batches."""

    def __init__(self, limits: ReadLimits, *, damaged: bool) -> None:
        self._limits = limits
        self._damaged = damaged
        self._columns: dict[str, None] = {}
        self._records: list[dict[str, Any]] = []
        self._numbers: list[int] = []
        self._rejects: list[tuple[int, str, str]] = []
        self._cells = self._bytes = self._bytes_before = 0

    @property
    def is_full(self) -> bool:
        """Whether a batch can be made that is as large as any may be."""
        return self._cells >= MAX_CELLS or self._bytes >= _BATCH_BYTES

    def __len__(self) -> int:
        return len(self._records) + len(self._rejects)

    def add(self, number: int, record: Any) -> None:
        """Take in one record, or refuse it."""
        reason = ""
        if isinstance(record, _BadRecord):
            self._rejects.append((number, *record))
            return
        if not isinstance(record, dict):
            reason = f"the record is not an object but {_kind(record)}"
        elif not record:
            reason = "the record is an empty object"
        else:
            if not record.keys() <= self._columns.keys():
                for key in record:
                    if key not in self._columns:
                        reason = reason or self._new_column(key)
            self._cells += len(self._columns)
            self._bytes += sum(len(value) for value in record.values() if type(value) is str)
        if reason:
            self._rejects.append((number, reason, json.dumps(record)))
            return
        if self._bytes_before + self._bytes > self._limits.max_bytes:
            raise too_large(self._limits)
        self._records.append(record)
        self._numbers.append(number)

    def _new_column(self, key: str) -> str:
        if CONTROL.search(key) or not key.strip() or not _encodable(key):
            return f"the key {key[:80]!r} is blank or has characters that are not text"
        if len(self._columns) >= self._limits.max_columns:
            raise UnreadableFile(
                f"the records have more than {self._limits.max_columns:,} different keys"
                " (ANOMALY_FILE_MAX_COLUMNS)"
            )
        self._columns[key] = None
        return ""

    def batch(self, notes: tuple[str, ...]) -> RawBatch:
        """Return what was gathered, and start anew; the columns that are known stay."""
        columns = {
            name: _texts([record.get(name) for record in self._records]) for name in self._columns
        }
        good = self._good_rows(columns)
        frame = text_frame(
            {name.strip(): list(compress(cells, good)) for name, cells in columns.items()}
        )
        kept = list(compress(self._records, good))
        absent = {
            name.strip(): pl.Series([name not in record for record in kept], dtype=pl.Boolean)
            for name in self._columns
            if any(name not in record for record in kept)
        }
        numbers = {
            name.strip(): pl.Series([type(record.get(name)) in (int, float) for record in kept])
            for name in self._columns
            if any(type(record.get(name)) is float for record in kept)
        }
        batch = RawBatch(
            frame,
            pl.Series("row_number", list(compress(self._numbers, good)), dtype=pl.Int64),
            row_rejects(sorted(self._rejects)),
            absent,
            notes,
            numbers,
        )
        self._records, self._numbers, self._rejects = [], [], []
        self._bytes_before += self._bytes
        self._cells = self._bytes = 0
        return batch

    def _good_rows(self, columns: dict[str, list[str | None]]) -> Sequence[bool]:
        """Refuse rows with text that cannot be stored: lone surrogates, NUL, damaged bytes."""
        good = [True] * len(self._records)
        for cells in columns.values():
            if _encodable("".join(cell for cell in cells if cell)) and not self._damaged:
                continue
            for row, cell in enumerate(cells):
                if cell is None or not good[row]:
                    continue
                if not _encodable(cell) or (self._damaged and REPLACEMENT in cell):
                    good[row] = False
                    reason = "the row has characters that are not text"
                    self._rejects.append(
                        (self._numbers[row], reason, json.dumps(self._records[row]))
                    )
        return good


def _encodable(text: str) -> bool:
    if "\0" in text:
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), "a number")


def _texts(values: list[Any]) -> list[str | None]:
    """Return the text of each value; at once where all are of one kind."""
    kinds = set(map(type, values))
    if kinds <= {int, float}:
        return list(map(repr, values))
    if kinds == {str} and "" not in values:
        return values
    return [_text(value) for value in values]


def _text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool | dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
