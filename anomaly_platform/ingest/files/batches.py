"""What a reader yields: a part of a file as text columns, and the rows that could not be read.

Here belongs the shape of that, and the checks that every format's reader shares.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from anomaly_platform.ingest.files.limits import (
    ReadLimits,
    UnreadableFile,
    too_long_cell,
    too_many_columns,
    too_many_rows,
)
from anomaly_platform.ingest.rejects import no_rejects

CHUNK_BYTES: Final = 8 << 20
"""Of a text, as much as is gone through at once."""

MAX_CELLS: Final = 2_000_000
"""The most cells of a batch, whatever its format."""

CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_UNNAMED: Final = re.compile(r"column_\d+")


@dataclass(frozen=True)
class RawBatch:
    """Some successive rows of a file.

    Parameters
    ----------
    frame
        All columns as text, named as in the file (blanks around a name are cut off); null where a
        cell is empty. A column without a name is called ``column_<position>``.
    row_numbers
        ``Int64``, one per row of `frame`: the data row in the source, counted from 1 without the
        header and without blank lines. Rejected rows count, so numbers may have gaps.
    rejects
        Rows of the same part of the file that could not be read (`rejects.REJECTS`).
    absent
        For JSON records: per column, ``Boolean`` of the rows whose record lacks the key altogether
        (their cell is null, but it is no reading). Columns that no record lacks are left out.
    notes
        What a person should know about the file, the same for each of its batches.
    numbers
        Per column of a file with types, ``Boolean`` of the cells that are numbers there: they are
        in canonical notation, whatever the texts beside them are in.
    """

    frame: pl.DataFrame
    row_numbers: pl.Series
    rejects: pl.DataFrame = field(default_factory=no_rejects)
    absent: Mapping[str, pl.Series] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    numbers: Mapping[str, pl.Series] = field(default_factory=dict)


def joined(batches: Sequence[RawBatch]) -> RawBatch:
    """Return the rows of successive batches of a file as one, without what was refused of them."""
    none = pl.Series(dtype=pl.Boolean)
    return RawBatch(
        pl.concat([batch.frame for batch in batches], how="diagonal"),
        pl.concat([batch.row_numbers for batch in batches]),
        numbers={
            name: pl.concat(
                batch.numbers.get(name, none.extend_constant(False, batch.frame.height))
                for batch in batches
            )
            for name in {name for batch in batches for name in batch.numbers}
        },
    )


def within(batches: Iterator[RawBatch], limits: ReadLimits) -> Iterator[RawBatch]:
    """Pass batches of a file on, as long as it has no more rows and no longer cells than allowed.

    Raises
    ------
    UnreadableFile
        When it has; the text names the limit.
    """
    for batch in batches:
        for numbers in (batch.row_numbers, batch.rejects["row_number"]):
            if len(numbers) and int(numbers[-1]) > limits.max_rows:
                raise too_many_rows(limits)
        longest = batch.frame.select(pl.all().str.len_bytes().max())
        for name, length in (longest.to_dicts() or [{}])[0].items():
            if (length or 0) > limits.max_cell_bytes:
                raise too_long_cell(name, limits)
        yield batch


def is_unnamed(column: str) -> bool:
    """Tell whether a column's name was made up because the file gives it none."""
    return _UNNAMED.fullmatch(column) is not None


def column_names(header: Sequence[str], limits: ReadLimits) -> list[str]:
    """Return the names of a table's columns.

    Raises
    ------
    UnreadableFile
        When there are too many columns, a name occurs twice, or a name has control characters.
    """
    if len(header) > limits.max_columns:
        raise too_many_columns(len(header), limits)
    names = [name.strip() or f"column_{place}" for place, name in enumerate(header, 1)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        places = ", ".join(str(place) for place, name in enumerate(names, 1) if name == twice[0])
        raise UnreadableFile(
            f"the column name {twice[0][:80]!r} occurs more than once (columns {places[:80]});"
            " rename the columns so that each has a name of its own"
        )
    for name in names:
        if CONTROL.search(name):
            raise UnreadableFile(f"the column name {name[:80]!r} has control characters")
    return names


def text_frame(columns: Mapping[str, Sequence[str | None]]) -> pl.DataFrame:
    """Build a frame of text columns."""
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String), strict=True)


def chunks_of(blocks: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield pieces of about `CHUNK_BYTES` bytes, and with each whether it is the last."""
    held: list[bytes] = []
    size = 0
    for block in blocks:
        if size >= CHUNK_BYTES:
            yield b"".join(held), False
            held, size = [], 0
        held.append(block)
        size += len(block)
    yield b"".join(held), True
