"""The least and the greatest value of many arrays in one compiled pass.

Floats are compared by their bits, as whole numbers, which the processor compares many at a time.
Those from zero on are in the same order; those below it, in the opposite one and, without a sign,
behind all others. A NaN lies beyond infinity on either side.
"""

from typing import Any, Final

import numpy as np

from anomaly_platform.ml.compiled import compiled

_HALF, _SINGLE, _DOUBLE, _BYTE, _WORD = range(5)
KINDS: Final = {"e": _HALF, "f": _SINGLE, "d": _DOUBLE, "B": _BYTE, "I": _WORD}
"""Numbers of the kinds of arrays, by NumPy's characters, that `find_extremes` takes."""


@compiled()
def _of_floats(bits: Any, unsigned: Any, infinity: Any, out: Any) -> None:
    """Write the extremes of floats, given their bits with and without a sign, as bits."""
    least = greatest = bits[0]
    farthest = unsigned[0]
    for i in range(bits.size):
        least, greatest = min(least, bits[i]), max(greatest, bits[i])
        farthest = max(farthest, unsigned[i])
    if greatest > infinity[0] or farthest > infinity[1]:
        out[0] = out[1] = infinity[0] + 1
    elif least >= 0:
        out[0], out[1] = least, greatest
    else:
        out[0], out[1] = farthest, greatest if greatest >= 0 else least


@compiled()
def _of_numbers(values: Any, out: Any) -> None:
    least = greatest = values[0]
    for one in values:
        least, greatest = min(least, one), max(greatest, one)
    out[0], out[1] = least, greatest


@compiled()
def find_extremes(room: Any, places: Any, out: Any) -> None:
    """Write the least and the greatest value of arrays, NaN for both where one is a NaN.

    Parameters
    ----------
    room
        Bytes in which the arrays are.
    places
        (n, 5) where each begins and ends there, its number in `KINDS`, and where in `out` the room
        for its two values begins and ends.
    out
        Bytes.
    """
    for i in range(places.shape[0]):
        values, told = room[places[i, 0] : places[i, 1]], out[places[i, 3] : places[i, 4]]
        kind = places[i, 2]
        if kind == _HALF:
            _of_floats(
                values.view(np.int16),
                values.view(np.uint16),
                (0x7C00, 0xFC00),
                told.view(np.uint16),
            )
        elif kind == _SINGLE:
            _of_floats(
                values.view(np.int32),
                values.view(np.uint32),
                (0x7F800000, 0xFF800000),
                told.view(np.uint32),
            )
        elif kind == _DOUBLE:
            _of_floats(
                values.view(np.int64),
                values.view(np.uint64),
                (0x7FF0000000000000, np.uint64(0xFFF0000000000000)),
                told.view(np.uint64),
            )
        elif kind == _BYTE:
            _of_numbers(values, told)
        else:
            _of_numbers(values.view(np.uint32), told.view(np.uint32))
