"""Reads all arrays of one series at once, and says how far their values go.

A model has some thirty arrays, most of them small: what is done for each of them by itself takes
longer than what is done with their bytes. So they are read into one room, whose layout is found
once for all series of a file, and one compiled pass looks for their least and greatest values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import numpy as np

from anomaly_platform.ml.arrays import AnyArray, Extremes, StoredArrays
from anomaly_platform.ml.bundles.extreme_kernels import KINDS, find_extremes
from anomaly_platform.ml.bundles.format import digest_head
from anomaly_platform.ml.bundles.tensor_file import TensorFile

_ALIGNMENT: Final = 64


class _Place(NamedTuple):
    """Where an array is: in the room, and that of the first series in the file."""

    name: str
    begin: int
    end: int
    offset: int


class SlotReader:
    """Reads the arrays of single series of a file; safe for several threads.

    Parameters
    ----------
    file
        Stays open as long as the reader is used.
    names
        The arrays, each stacked over the series.

    Raises
    ------
    KeyError
        When the file has no such array.
    """

    def __init__(self, file: TensorFile, names: Iterable[str]) -> None:
        self._file = file
        self._places: list[_Place] = []
        formats, end = [], 0
        for name in names:
            spec = file.specs[name]
            begin = -(-end // _ALIGNMENT) * _ALIGNMENT
            end = begin + spec.nbytes // max(spec.shape[0], 1)
            self._places.append(_Place(name, begin, end, file.offset(name)))
            formats.append((spec.dtype, spec.shape[1:]))
        self._names = [place.name for place in self._places]
        self._room = np.dtype(
            {
                "names": self._names,
                "formats": formats,
                "offsets": [place.begin for place in self._places],
                "itemsize": max(end, 1),
            }
        )
        self._slots = min((file.specs[name].shape[0] for name in self._names), default=0)
        by_name = sorted(self._places)
        self._digested = [
            (digest_head(one.name, one.end - one.begin), one.begin, one.end) for one in by_name
        ]
        self._find_extremes = self._extremes_of()

    def read(self, index: int) -> tuple[StoredArrays, str]:
        """Return the arrays of the ``index``-th series of the file, and their digest.

        Raises
        ------
        IndexError
            When the file does not have so many series.
        TruncatedFileError
            When the file has been cut since it was opened.
        """
        if not 0 <= index < self._slots:
            raise IndexError(f"the file has {self._slots} series, not one at {index}")
        room = np.empty(self._room.itemsize, dtype=np.uint8)
        view = room.data
        for _, begin, end, offset in self._places:
            self._file.fill(view[begin:end], offset + index * (end - begin))
        digest = hashlib.sha256()
        for head, begin, end in self._digested:
            digest.update(head)
            digest.update(view[begin:end])
        record = np.ndarray((), dtype=self._room, buffer=room)
        arrays = {name: record[name] for name in self._names}
        return StoredArrays(arrays, self._find_extremes(room)), digest.hexdigest()

    def _extremes_of(self) -> Callable[[AnyArray], Extremes]:
        """Return what finds the extremes of the arrays in a room."""
        found = [
            (place, self._room[place.name].base)
            for place in self._places
            if place.end > place.begin and self._room[place.name].base.char in KINDS
        ]
        # The widest first keeps each at a multiple of its size.
        found.sort(key=lambda one: -one[1].itemsize)
        names = [place.name for place, _ in found]
        told = np.dtype([(f"{at}{n}", kind) for n, (_, kind) in enumerate(found) for at in "<>"])
        ends = np.cumsum([2 * kind.itemsize for _, kind in found], dtype=np.int64)
        places = np.array(
            [
                (place.begin, place.end, KINDS[kind.char], end - 2 * kind.itemsize, end)
                for (place, kind), end in zip(found, ends.tolist(), strict=True)
            ],
            dtype=np.int64,
        ).reshape(-1, 5)

        def extremes(room: AnyArray) -> Extremes:
            out = np.zeros(max(told.itemsize, 1), dtype=np.uint8)
            find_extremes(room, places, out)
            values = np.ndarray((), dtype=told, buffer=out).item() if names else ()
            return dict(zip(names, zip(values[::2], values[1::2], strict=True), strict=True))

        return extremes
