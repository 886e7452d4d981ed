"""Holds what was refused of a file until the file is entered, in bounded memory.

Here belongs only the holding: of a file of millions of rows, all may be refused.
"""

import io
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Final, Self

import polars as pl

_HELD_BYTES: Final = 64 << 20


class RejectSpool:
    """Rejects in the order they came, the first ones in memory and many on disk.

    Attributes
    ----------
    height : int
        How many they are.

    Examples
    --------
    >>> with RejectSpool() as spool:
    ...     spool.height, list(spool)
    (0, [])
    """

    def __init__(self) -> None:
        self.height = 0
        self._held: list[pl.DataFrame] = []
        self._size = 0
        self._places: list[int] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # On disk with its first byte.
            self._file = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=1))
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, rejects: pl.DataFrame) -> None:
        """Take in what was refused of the next rows."""
        if rejects.is_empty():
            return
        self.height += rejects.height
        self._held.append(rejects)
        self._size += int(rejects.estimated_size())
        if self._size >= _HELD_BYTES:
            self._places.append(self._file.seek(0, 2))
            self._file.write(_packed(self._held))
            self._held, self._size = [], 0

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Return all of them, in pieces of bounded size."""
        for start, end in pairwise([*self._places, self._file.seek(0, 2)]):
            self._file.seek(start)
            yield pl.read_ipc(self._file.read(end - start))
        if self._held:
            yield pl.concat(self._held)


def _packed(frames: list[pl.DataFrame]) -> bytes:
    packed = io.BytesIO()
    pl.concat(frames).write_ipc(packed)
    return packed.getvalue()
