"""A file that is read once more, to settle how it is written.

Here belongs the way back to the file's start, and a look at its bytes that is many times faster
than reading its rows.
"""

import codecs
import re
from collections.abc import Iterator, Sequence
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from anomaly_platform.ingest.files.batches import RawBatch
from anomaly_platform.ingest.files.readers import ReadLimits, TablePlace, read_raw
from anomaly_platform.ingest.files.sources import binary_blocks

_WIDE: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_GZIP: Final = b"\x1f\x8b"
_POINT, _COMMA = ord("."), ord(",")
_OVERLAP: Final = 8


class WholeFile:
    """A file, from its start, as often as needed.

    Parameters
    ----------
    stream
        The file, able to seek. Who reads it meanwhile puts it back where it was.
    name
        Its name.
    limits
        What it may ask of the machine.
    place
        Where its table is, as far as a person says it.
    """

    def __init__(
        self,
        stream: IO[bytes],
        name: str,
        limits: ReadLimits,
        place: TablePlace | None = None,
    ) -> None:
        self._stream = stream
        self._name = name
        self._limits = limits
        self._place = place

    def batches(self) -> Iterator[RawBatch]:
        """Yield all of its rows."""
        return read_raw(self._stream, self._name, limits=self._limits, place=self._place)

    def may_have_groups(self, columns: Sequence[str], *, points: bool) -> bool:
        """Tell whether a number of the file may have a comma, or groups of digits with points.

        A no is certain, a yes is not.

        Parameters
        ----------
        columns
            The file's columns.
        points
            Whether groups with points matter.
        """
        self._stream.seek(0)
        gzipped = self._stream.read(2) == _GZIP
        quoted: bool | None = None
        last = b""
        for block in binary_blocks(self._stream, gzipped=gzipped, limits=self._limits):
            if quoted is None:
                if block.startswith((b"PAR1", *_WIDE)):
                    return True
                quoted = _comma_parts(block, columns)
            text = last + block
            if (b'"' in text if quoted else b"," in text) and _between_digits(text, _COMMA):
                return True
            if points and _groups_of_three(text):
                return True
            last = text[-_OVERLAP:]
        return False


def _comma_parts(head: bytes, columns: Sequence[str]) -> bool:
    """Tell whether a comma parts the columns, so that one in a cell is inside quotes."""
    text = head[: 1 << 16].decode("utf-8", "ignore")
    if len(columns) < 2 or text.lstrip("\ufeff \r\n")[:1] in ("{", "["):
        return False
    first, second = (re.escape(name) for name in columns[:2])
    return re.search(rf'{first}\s*"?\s*,\s*"?\s*{second}', text) is not None


def _between_digits(text: bytes, code: int) -> bool:
    codes = np.frombuffer(text, dtype=np.uint8)
    places = np.flatnonzero(codes == code)
    places = places[(places > 0) & (places < len(codes) - 1)]
    return bool((_digits(codes[places - 1]) & _digits(codes[places + 1])).any())


def _groups_of_three(text: bytes) -> bool:
    """Tell whether two points have three digits between them and one before them."""
    codes = np.frombuffer(text, dtype=np.uint8)
    points = np.flatnonzero(codes == _POINT)
    first = points[:-1][np.diff(points) == 4]
    first = first[first > 0]
    whole = np.ones(len(first), dtype=np.bool_)
    for offset in (-1, 1, 2, 3):
        whole &= _digits(codes[first + offset])
    return bool(whole.any())


def _digits(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return (codes >= ord("0")) & (codes <= ord("9"))
