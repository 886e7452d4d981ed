"""Annotated CSV, as InfluxDB answers a query: from UTF-8 blocks to batches of rows.

Here belongs that format: tables one below the other, each with lines of annotations (``#datatype``,
``#group``, ``#default``) and a header of its own, which another table may lay out in another way. A
batch holds rows of one table. Its columns are ``_time``, ``_series`` (whose a row is: the values of
its tags, else its measurement) and either ``_field`` and ``_value`` with the columns that describe
them, or a column per field where the query pivoted them. ``_start``, ``_stop``, ``result`` and
``table`` are about the query and no readings. Where one name stands for several things, it says
which: the field ``used`` of the measurements ``mem`` and ``swap`` becomes ``mem.used`` and
``swap.used``. A first pass over the file finds that.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Final, NamedTuple

import polars as pl

from anomaly_platform.ingest.files.batches import RawBatch, chunks_of, column_names, is_unnamed
from anomaly_platform.ingest.files.csv_grammar import BadQuote, OpenQuote, split_record
from anomaly_platform.ingest.files.csv_rows import Part, Table, slices
from anomaly_platform.ingest.files.limits import refuse_long_lines
from anomaly_platform.ingest.files.sources import Inspection, ReadLimits, UnreadableFile
from anomaly_platform.ingest.files.table_cells import kind_of

_ANNOTATION: Final = re.compile(rb'"?#(group|datatype|default|constant)\b')
_HEADER: Final = re.compile(rb',?"?result"?,"?table"?,|,"?error"?,"?reference"?\r?\n?$')
_MARK: Final = re.compile(
    rb'^(?:"?#(?:group|datatype|default|constant)\b|,?"?result"?,"?table"?,|,"?error"?,)', re.M
)
_OF_QUERY: Final = frozenset(("result", "table", "_start", "_stop"))
_TAGS: Final = frozenset(("string", "tag"))
_NUMERIC: Final = frozenset(("double", "long", "unsignedlong", "boolean", "bool"))
_LONGEST_ANNOTATION: Final = 1_000
_NOTE: Final = "InfluxDB's annotated CSV: _start, _stop, result and table are left out"


def is_annotated(head: str) -> bool:
    """Tell whether a text is InfluxDB's annotated CSV."""
    line = next((line for line in head.split("\n") if line.strip()), "").encode()
    return bool(_ANNOTATION.match(line) or _HEADER.match(line))


class _Name(NamedTuple):
    """What a field is of; parts that a table lacks are empty."""

    result: str
    measurement: str
    field: str


@dataclass
class _Scheme:
    """A table's annotations and header.

    Parameters
    ----------
    annotations
        What each of them says, by place of the column.
    types, defaults
        Column → its type, lower case, and what its empty cells mean.
    constants
        Column → what it is in every row, of `#constant` lines.
    table
        Its grammar; None until its header is read.
    """

    annotations: dict[str, list[str]] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    table: Table | None = None

    def annotate(self, line: bytes) -> None:
        """Keep what an annotation says of the columns."""
        first, *others = _cells(line)
        if max(map(len, others), default=0) > _LONGEST_ANNOTATION:
            raise UnreadableFile(
                f"an annotation of the InfluxDB file has more than {_LONGEST_ANNOTATION:,}"
                " characters, and would stand in every row"
            )
        kind, _, about_first = first.lstrip("#").partition(" ")
        if kind == "constant":
            self._set(about_first.strip(), *(cell.strip() for cell in others))
            return
        self.annotations[kind] = [about_first, *(cell.strip() for cell in others)]

    def _set(self, kind: str, *said: str) -> None:
        """Keep what a `#constant` line says of every row: a measurement, or the name of a tag."""
        texts = [text for text in said if text]
        if kind == "measurement" and len(texts) == 1:
            self.constants["_measurement"] = texts[0]
        elif kind == "tag" and len(texts) == 2:
            self.constants[texts[0]] = texts[1]
        else:
            raise UnreadableFile(
                f"the InfluxDB file has a constant that is not read: #constant {kind}"
                f" {' '.join(texts)}; write it as a column"
            )

    def read_header(self, text: bytes, limits: ReadLimits, *, damaged: bool) -> bytes:
        """Read the header from the first line that is not blank; return the lines after it."""
        head, _, rest = text.lstrip(b"\r\n").partition(b"\n")
        header = [name.strip() for name in _cells(head)]
        if "error" in header[:2]:
            said = " ".join(rest.decode("utf-8", "replace").split())
            raise UnreadableFile(f"the InfluxDB query failed, and the file only says: {said[:200]}")
        row = _cells(rest.lstrip(b"\r\n").partition(b"\n")[0])
        kinds = self.annotations.get("datatype", [])
        types = [
            (kind or _guessed(cell)).split(":")[0].lower()
            for kind, cell in zip_longest(kinds, row, fillvalue="")
        ]
        timed = "_time" in header
        names = [
            {"measurement": "_measurement", "datetime": name if timed else "_time"}.get(kind, name)
            if not name.startswith("_")
            else name
            for name, kind in zip_longest(header, types[: len(header)], fillvalue="")
        ]
        self.table = Table(column_names(names, limits), ",", damaged)
        names = self.table.names
        self.types = dict(zip_longest(names, types[: len(names)], fillvalue="string"))
        self.defaults = dict(zip(names, self.annotations.get("default", []), strict=False))
        self.types |= dict.fromkeys(self.constants, "tag")
        return rest

    def columns(self, kinds: Collection[str]) -> list[str]:
        """Return the columns of some types that InfluxDB itself has no use for."""
        return [
            name
            for name, kind in self.types.items()
            if kind in kinds and not (name[0] == "_" or name in _OF_QUERY or is_unnamed(name))
        ]


def read_annotated(
    passes: Iterator[Iterator[bytes]], inspection: Inspection, limits: ReadLimits, batch_rows: int
) -> Iterator[RawBatch]:
    """Yield the rows of all tables of an annotated CSV.

    Parameters
    ----------
    passes
        The text as UTF-8, twice.
    inspection, limits, batch_rows
        As for other tables (`csv_rows.read_csv`).

    Raises
    ------
    UnreadableFile
        When a table has no header, the query failed, or fields are pivoted in one table and not in
        another.
    """
    damaged = inspection.encoding == "utf-8-damaged"
    seen: set[_Name] = set()
    forms: set[bool] = set()
    for scheme, part in _parts(next(passes), limits, damaged=damaged):
        frame = _filled(part.frame, scheme)
        seen.update(_Name(*row) for row in frame.select(_name_columns(frame)).unique().rows())
        forms.add("_value" in frame.columns)
    if not forms:
        raise UnreadableFile("the InfluxDB file has annotations, and no table below them")
    if len(forms) > 1:
        raise UnreadableFile(
            "the InfluxDB file has fields in columns of their own in one table, and under _field in"
            " another; export them to files of their own"
        )
    spoken = _spoken(seen)
    notes = (*inspection.notes, _NOTE)
    for scheme, part in _parts(next(passes), limits, damaged=damaged):
        frame = _canonical(_filled(part.frame, scheme), scheme, spoken)
        yield from slices(part._replace(frame=frame), batch_rows, notes)


def _parts(
    blocks: Iterator[bytes], limits: ReadLimits, *, damaged: bool
) -> Iterator[tuple[_Scheme, Part]]:
    """Yield pieces of the tables with their schemes; records are counted over all of them."""
    scheme = _Scheme()
    records, pending = 0, b""
    for data, last in chunks_of(blocks):
        text = pending + data
        if last and text and not text.endswith(b"\n"):
            text += b"\n"
        refuse_long_lines(text, limits)
        end = text.rfind(b"\n") + 1
        lines, pending = text[:end], text[end:]
        for is_rows, piece in _pieces(lines):
            rows = piece
            if not is_rows:
                scheme = scheme if scheme.table is None else _Scheme()
                if piece:
                    scheme.annotate(piece)
                continue
            if scheme.table is None and piece.strip():
                if not last and b"\n" not in piece.strip():
                    pending = piece + pending  # its first row may tell the types
                    continue
                rows = scheme.read_header(piece, limits, damaged=damaged)
            if scheme.table is None:
                continue
            part = scheme.table.parse(rows, first_record=records + 1, last=last)
            records += part.records
            pending = part.rest + pending
            yield scheme, part


def _pieces(lines: bytes) -> Iterator[tuple[bool, bytes]]:
    """Split whole lines into annotations, one a piece, and what stands between them.

    A header without annotations before it begins a piece of its own.
    """
    at = 0
    for mark in _MARK.finditer(lines):
        if mark.start() > at:
            yield True, lines[at : mark.start()]
        at = mark.start()
        if _ANNOTATION.match(lines, at):
            end = lines.find(b"\n", at) + 1
            yield False, lines[at:end]
            at = end
        else:
            yield False, b""
    if at < len(lines):
        yield True, lines[at:]


def _cells(line: bytes) -> list[str]:
    try:
        return split_record(line.decode("utf-8", "replace").rstrip("\r\n"), ",")
    except (OpenQuote, BadQuote):
        raise UnreadableFile("the quotes in the header line do not match") from None


def _guessed(cell: str) -> str:
    """Return the type of a column without an annotation, by its first cell."""
    kind = kind_of(cell)
    return {"time": "datetime", "number": "double"}.get(kind, "string")


def _filled(frame: pl.DataFrame, scheme: _Scheme) -> pl.DataFrame:
    """Put the defaults into empty cells."""
    texts = {name: text for name, text in scheme.defaults.items() if text}
    constants = [pl.lit(text).alias(name) for name, text in scheme.constants.items()]
    return frame.with_columns(pl.col(name).fill_null(text) for name, text in texts.items()).select(
        pl.all(), *constants
    )


_NAMES_OF: Final = {"result": "result", "measurement": "_measurement", "field": "_field"}


def _name_columns(frame: pl.DataFrame) -> list[pl.Expr]:
    """Return what names the readings of each row (`_Name`)."""
    none = pl.repeat(None, pl.len(), dtype=pl.String)  # as many rows as the table has
    return [
        (pl.col(name) if name in frame.columns else none).fill_null("").alias(of)
        for of, name in _NAMES_OF.items()
    ]


def _spoken(seen: set[_Name]) -> pl.DataFrame:
    """Return how each field is called: with its measurement or result where it has several."""
    measurements, results = defaultdict(set), defaultdict(set)
    for name in seen:
        measurements[name.field].add(name.measurement)
        results[name.field].add(name.result)
    rows = []
    for name in seen:
        parts = [name.measurement] * (len(measurements[name.field]) > 1)
        parts += [name.field, *[name.result] * (len(results[name.field]) > 1)]
        rows.append((*name, ".".join(part for part in parts if part)))
    schema = dict.fromkeys([*_Name._fields, "spoken"], pl.String)
    return pl.DataFrame(rows, schema, orient="row")


def _canonical(frame: pl.DataFrame, scheme: _Scheme, spoken: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of a table that are about its readings."""
    named = frame.select(_name_columns(frame)).join(
        spoken, on=_Name._fields, how="left", maintain_order="left"
    )["spoken"]
    tags = scheme.columns(_TAGS)
    series = (
        pl.concat_str(tags, separator="/", ignore_nulls=True) if tags else pl.lit(None, pl.String)
    )
    if "_value" not in frame.columns:
        # What names a field elsewhere names the whole table here.
        whose = pl.concat_str(named.replace("", None), series, separator="/", ignore_nulls=True)
        about = [name for name in ("_time",) if name in frame.columns]
        about += [name for name in ("_start", "_stop") if name in frame.columns and not about]
        of_file = not tags and (named == "").all()
        series_ = [] if of_file else [pl.when(whose != "").then(whose).alias("_series")]
        return frame.select(*about, *series_, *scheme.columns(_NUMERIC))
    if not tags and "_measurement" in frame.columns:
        series = pl.col("_measurement")
    kept = [
        name
        for name in frame.columns
        if name not in _OF_QUERY and not is_unnamed(name) and name != "_field"
    ]
    if "_time" not in frame.columns:
        kept += [name for name in ("_start", "_stop") if name in frame.columns]
    field_ = [named.alias("_field")] if "_field" in frame.columns else []
    of_file = not tags and "_measurement" not in frame.columns
    series_ = [] if of_file else [series.alias("_series")]
    return frame.select(*kept, *field_, *series_)
