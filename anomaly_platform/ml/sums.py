"""Sums in compiled loops, to the bit those of NumPy.

NumPy adds up in pairs of blocks, with eight running sums in each (`numpy.add.reduce` of contiguous
floats). A loop that is to replace a call of NumPy's must do the same: a model is the same to the
bit whoever has added up what it is made of.
"""

from typing import Any

from numba import types

from anomaly_platform.ml.compiled import compiled

_VECTOR = types.Array(types.float64, 1, "C", readonly=True)
_BLOCK = 128


@compiled(types.float64(_VECTOR, types.int64, types.int64))
def sum_of(values: Any, begin: int, end: int) -> float:  # pragma: no cover
    """Return the sum of ``values[begin:end]``."""
    n = end - begin
    if n < 8:
        total = 0.0
        for i in range(begin, end):
            total += values[i]
        return total
    if n > _BLOCK:
        half = n // 2
        half -= half % 8
        first: float = sum_of(values, begin, begin + half)
        second: float = sum_of(values, begin + half, end)
        return first + second
    a0, a1, a2, a3 = values[begin], values[begin + 1], values[begin + 2], values[begin + 3]
    a4, a5, a6, a7 = values[begin + 4], values[begin + 5], values[begin + 6], values[begin + 7]
    i = begin + 8
    while i < end - n % 8:
        a0 += values[i]
        a1 += values[i + 1]
        a2 += values[i + 2]
        a3 += values[i + 3]
        a4 += values[i + 4]
        a5 += values[i + 5]
        a6 += values[i + 6]
        a7 += values[i + 7]
        i += 8
    total = ((a0 + a1) + (a2 + a3)) + ((a4 + a5) + (a6 + a7))
    while i < end:
        total += values[i]
        i += 1
    return float(total)
