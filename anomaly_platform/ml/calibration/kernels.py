"""Compiled loops of ``calibration``: one scalar routine serves a single row and a batch.

Kept apart so that importing ``calibration`` does not import numba. NumPy's own vector loops may
round differently from one array length to the next; these do not.
"""

import math
from typing import Any

from numba import types

from anomaly_platform.ml.compiled import compiled

_VECTOR = types.Array(types.float64, 1, "C", readonly=True)
_COUNTS = types.Array(types.uint32, 1, "C", readonly=True)
_OUT = types.float64[::1]
#: Evidence, minus the logarithm of a p-value, from which on it grows ever more slowly, and by how
#: much at most: to p = 1e-12.
_KNEE = 11.0 * math.log(10.0)
_ROOM = math.log(10.0)


@compiled(types.float64(types.float64, types.float64, types.float64))
def _ordered(p: float, excess: float, shape: float) -> float:
    """Return p times the share of the tail beyond an excess, which falls without end."""
    falls = math.log1p(shape * excess) / shape if shape > 0.0 else excess
    beyond = falls - math.log(p) - _KNEE
    if beyond <= 0.0:
        return float(
            p * (1.0 + shape * excess) ** (-1.0 / shape) if shape > 0.0 else p * math.exp(-excess)
        )
    return math.exp(-_KNEE - _ROOM * (1.0 - _ROOM / (_ROOM + beyond)))


@compiled(types.int64(_VECTOR, _COUNTS, _VECTOR, _VECTOR, types.float64, _OUT))
def p_values(values: Any, exceeding: Any, tail: Any, raw: Any, floor: float, out: Any) -> int:
    """Write the p-value of each raw score to ``out``; return the index of the first NaN, or -1.

    ``values`` are the ascending knots padded with +inf, ``exceeding`` the number of calibration
    scores strictly above each, ``tail`` holds (rows, scale, shape, order).
    """
    rows, scale, shape = tail[0], tail[1], tail[2]
    for i in range(raw.shape[0]):
        s = raw[i]
        if math.isnan(s):
            return i
        low, high = 0, values.shape[0]
        while low < high:
            middle = (low + high) >> 1
            if values[middle] < s:
                low = middle + 1
            else:
                high = middle
        if low == 0:
            out[i] = 1.0
            continue
        count = exceeding[low - 1]
        p = (1.0 + count) / (rows + 1.0)
        if count == 0:
            excess = (s - values[low - 1]) / scale
            if tail[3] > 0.0:
                p = _ordered(p, excess, shape)
            elif shape > 0.0:
                p *= (1.0 + shape * excess) ** (-1.0 / shape)
            else:
                p *= math.exp(-excess)
        out[i] = max(p, floor)
    return -1


@compiled(types.void(_VECTOR, types.float64, _OUT))
def scores_of_p(p: Any, exponent: float, out: Any) -> None:
    """Write 1 - p**exponent to ``out``, rounded to 12 decimals.

    The rounding makes the score of p = alpha the threshold exactly instead of an ulp beside it;
    1 itself, which no p-value has, is never reached.
    """
    for i in range(p.shape[0]):
        out[i] = min(math.floor((1.0 - p[i] ** exponent) * 1e12 + 0.5), 1e12 - 1.0) / 1e12
