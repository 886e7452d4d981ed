"""A file from its first rows to its last: how it is understood, and its raw rows batch by batch.

Here belongs reading a whole file of any kind of stream. What its columns mean is in ``metrics`` and
``scans``; how its cells are written is settled from its first rows before any row is converted.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from typing import IO, NamedTuple, Protocol

import polars as pl

from anomaly_platform.ingest.files.batches import RawBatch, joined
from anomaly_platform.ingest.files.readers import FileSource, read_raw, refuse_over_limits
from anomaly_platform.ingest.files.sources import rewindable
from anomaly_platform.ingest.layout.context import Layout, LayoutContext
from anomaly_platform.ingest.layout.contradictions import name_columns
from anomaly_platform.ingest.layout.whole_file import WholeFile
from anomaly_platform.ml.threads import ahead

_HEAD_ROWS = 10_000
_HEAD_CELLS = 1_000_000
_HEAD_BYTES = 32 << 20

Settle = Callable[[Layout, RawBatch, WholeFile, LayoutContext], Layout]
"""Settles how a file's cells are written, from its head and, where need be, from all of it."""


class Watch(Protocol):
    """Looks at all rows of a file for what refuses it as a whole."""

    def see(self, rows: pl.DataFrame) -> None:
        """Look at the next raw rows."""

    def refuse(self) -> None:
        """Raise `MappingError` when the rows seen refuse the file."""


class Head(NamedTuple):
    """How the first rows of a file are read.

    Parameters
    ----------
    batch
        The rows as they stand there.
    layout
        How its columns are understood.
    rows, rejects
        What became of them.
    """

    batch: RawBatch
    layout: Layout
    rows: pl.DataFrame
    rejects: pl.DataFrame


@dataclass(frozen=True)
class RowReader:
    """How files of a kind of stream become raw rows.

    Parameters
    ----------
    schema
        Of raw rows.
    resolve
        Decides from its columns how a file is understood.
    settle
        Decides from its cells how they are written.
    convert
        Turns a batch into raw rows and rejects.
    watch
        Makes, from layout and first rows, what looks at all rows of a file; None for nothing.
    """

    schema: pl.Schema
    resolve: Callable[[Sequence[str], LayoutContext], Layout]
    settle: Settle
    convert: Callable[[RawBatch, Layout, LayoutContext], tuple[pl.DataFrame, pl.DataFrame]]
    watch: Callable[[Layout, RawBatch, LayoutContext], Watch] | None = None

    def read(
        self,
        source: FileSource,
        context: LayoutContext,
        *,
        batch_rows: int = 250_000,
    ) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Yield the raw rows and rejects of a whole file; `read_raw`'s protocol applies.

        Raises
        ------
        MappingError
            At the end as well, when the rows of the file refuse it as a whole.
        """
        with rewindable(source) as stream:
            batches = _rows(stream, context, batch_rows)
            held: list[RawBatch] = []
            for batch in batches:
                held.append(batch)
                if _is_head(held):
                    break
            if any(batch.frame.width for batch in held):
                layout, first = self._settled(held, stream, context)
                watch = None if self.watch is None else self.watch(layout, first, context)
                del first
                # From here on nothing else moves the stream.
                with closing(ahead(batches)) as others:
                    rest = chain(_taken(held), others)
                    yield from (self._converted(one, layout, context, watch) for one in rest)
                if watch is not None:
                    watch.refuse()
            elif held:  # JSON without a single good record
                yield from ((pl.DataFrame(schema=self.schema), one.rejects) for one in held)

    def head(self, source: FileSource, context: LayoutContext, most: int = 1_000) -> Head:
        """Return how the first rows of a file are read."""
        with rewindable(source) as stream:
            batch, layout = self._begun(stream, context)
        shown = replace(
            batch,
            frame=batch.frame.head(most),
            row_numbers=batch.row_numbers.head(most),
            absent={name: rows.head(most) for name, rows in batch.absent.items()},
            numbers={name: cells.head(most) for name, cells in batch.numbers.items()},
        )
        return Head(shown, layout, *self._converted(shown, layout, context))

    def refuse_over_limits(self, source: FileSource, context: LayoutContext) -> None:
        """Refuse a file with too many rows or too long cells; read it to its end if need be."""
        refuse_over_limits(source, context.name, limits=context.limits, place=context.place)

    def refuse_misread(self, source: FileSource, context: LayoutContext, head: Head) -> None:
        """Refuse a file that is misread; read it to its end where unread columns hold names."""
        if self.watch is None or not name_columns(head.batch.frame, head.layout, context.mapping):
            return
        for _ in self.read(source, context):
            pass

    def layout(self, source: FileSource, context: LayoutContext) -> Layout:
        """Return the layout of a file, as `read` understands it."""
        with rewindable(source) as stream:
            return self._begun(stream, context)[1]

    def _begun(self, stream: IO[bytes], context: LayoutContext) -> tuple[RawBatch, Layout]:
        """Return the first batch of a file, and how the file is understood."""
        held: list[RawBatch] = []
        for batch in _rows(stream, context, _HEAD_ROWS):
            held.append(batch)
            if _is_head(held):
                break
        return held[0], self._settled(held, stream, context)[0]

    def _settled(
        self,
        held: Sequence[RawBatch],
        stream: IO[bytes],
        context: LayoutContext,
    ) -> tuple[Layout, RawBatch]:
        """Decide how a file is understood from its first rows; the stream stays where it is.

        The rows that were looked at are returned with it.
        """
        head = _head(held)
        layout = self.resolve(head.frame.columns, context)
        at = stream.tell()
        layout = self.settle(
            layout, head, WholeFile(stream, context.name, context.limits, context.place), context
        )
        stream.seek(at)
        return layout, head

    def _converted(
        self,
        batch: RawBatch,
        layout: Layout,
        context: LayoutContext,
        watch: Watch | None = None,
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        if not batch.frame.width:  # JSON without a single good record so far
            return pl.DataFrame(schema=self.schema), batch.rejects
        rows, rejects = self.convert(batch, layout, context)
        if watch is not None:
            watch.see(rows)
        return rows, rejects


def _rows(stream: IO[bytes], context: LayoutContext, batch_rows: int) -> Iterator[RawBatch]:
    return read_raw(
        *(stream, context.name),
        batch_rows=batch_rows,
        limits=context.limits,
        place=context.place,
    )


def _taken(held: list[RawBatch]) -> Iterator[RawBatch]:
    """Yield what was held, and hold it no longer."""
    while held:
        yield held.pop(0)


def _head_rows(width: int) -> int:
    return max(100, min(_HEAD_ROWS, _HEAD_CELLS // max(width, 1)))


def _is_head(held: Sequence[RawBatch]) -> bool:
    """Whether these first batches are enough to settle how a file is written."""
    width = max(batch.frame.width for batch in held)
    return sum(batch.frame.height for batch in held) >= _head_rows(width) or (
        sum(batch.frame.estimated_size() for batch in held) >= _HEAD_BYTES
    )


def _head(held: Sequence[RawBatch]) -> RawBatch:
    """Return the first rows of a file: as many, whatever the size of its batches."""
    rows = _head_rows(max(batch.frame.width for batch in held))
    whole = joined(held)
    if whole.frame.head(rows).estimated_size() > _HEAD_BYTES:
        sizes = whole.frame.head(rows).select(
            pl.sum_horizontal(pl.all().str.len_bytes().fill_null(0)).cum_sum()
        )
        rows = max(1, int((sizes.to_series() <= _HEAD_BYTES // 2).sum()))
    return replace(
        whole,
        frame=whole.frame.head(rows),
        row_numbers=whole.row_numbers.head(rows),
        numbers={name: cells.head(rows) for name, cells in whole.numbers.items()},
    )
