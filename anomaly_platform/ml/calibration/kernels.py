"""Compiled loops of ``calibration``: one scalar routine serves a single row and a batch.

Kept apart so that importing ``calibration`` does not import numba. NumPy's own vector loops may
round differently from one array length to the next; these do not.
"""

import math
from typing import Any

import numpy as np
from numba import types

from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.sums import sum_of

_VECTOR = types.Array(types.float64, 1, "C", readonly=True)
_COUNTS = types.Array(types.uint32, 1, "C", readonly=True)
_OUT = types.float64[::1]
_KNOTS_OUT = types.uint32[::1]
_FLAGS = types.Array(types.boolean, 1, "C", readonly=True)
_PLACES = types.Array(types.int64, 1, "C", readonly=True)
#: The heaviest tail that is fitted (a generalised Pareto with infinite variance).
MAX_SHAPE = 0.5
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


@compiled(types.void(_VECTOR, types.float64, _OUT))
def fit_tail(ordered: Any, floor: float, tail: Any) -> None:
    """Write number, scale and shape of the tail beyond the largest of (n,) ascending scores.

    ``floor`` is the smallest scale; where it is 0, a tenth of the distance from median to maximum.
    """
    n = ordered.size
    largest = ordered[n - 1]
    tail[0], tail[2], tail[3] = n, 0.0, 1.0
    if floor == 0.0:
        floor = max(0.1 * (largest - ordered[n // 2]), 1e-6 * max(1.0, abs(largest)))
    tail[1] = floor
    size = min(max(math.ceil(0.1 * n), 10), 500, n - 1)
    if size < 10:
        return
    start = ordered[n - size - 1]
    excess = ordered[n - size :] - start
    first = sum_of(excess, 0, size) / size
    for k in range(size):
        excess[k] *= (size - 1 - k) / (size - 1)
    spread = first - 2.0 * (sum_of(excess, 0, size) / size)
    tail[1] = max(first, floor)
    if spread <= 1e-12 * first or first <= 0.0:
        return
    shape = 2.0 - first / spread
    if shape <= 0.0:
        return
    tail[2] = shape = min(shape, MAX_SHAPE)
    # Keeps the mean of the fitted distribution that of the excesses when the shape was cut.
    tail[1] = max(first * (1.0 - shape) + shape * (largest - start), floor)


@compiled(types.boolean(_VECTOR, _OUT, _KNOTS_OUT))
def fill_knots(ordered: Any, values: Any, exceeding: Any) -> bool:
    """Write the distinct of (n,) ascending scores as knots; return whether there is room for all.

    Each has the number of scores above it; the rest of the room is padded with +inf and 0.
    """
    n, known = ordered.size, 0
    for i in range(n):
        if i + 1 < n and ordered[i + 1] == ordered[i]:
            continue
        if known == values.size:
            return False
        values[known], exceeding[known] = ordered[i], n - 1 - i
        known += 1
    values[known:] = math.inf
    exceeding[known:] = 0
    return True


@compiled(
    types.boolean(
        _VECTOR, _FLAGS, _PLACES, types.int64, types.float64, types.int64, types.float64, _OUT
    )
)
def cross_p_values(
    scores: Any,
    kept: Any,
    order: Any,
    blocks: int,
    tail_floor: float,
    knots: int,
    floor: float,
    out: Any,
) -> bool:
    """Write p-values of (n,) finite scores, each block judged by the kept ones of the others.

    Parameters
    ----------
    scores, kept
        (n,) the scores, and which calibrate.
    order
        (n,) places of the scores in ascending order.
    blocks
        How many, as `numpy.array_split` makes them.
    tail_floor
        As in `fit_tail`.
    knots, floor
        Length of a calibration's knots, and its smallest p-value.
    out
        (n,), filled.

    Returns
    -------
    bool
        Whether every calibration has a score, and room for all of them.
    """
    n = scores.size
    others, values = np.empty(n), np.empty(knots)
    exceeding, tail = np.empty(knots, dtype=np.uint32), np.empty(4)
    begin = 0
    for block in range(blocks):
        end = begin + n // blocks + (block < n % blocks)
        size = 0
        for k in range(n):
            i = order[k]
            if kept[i] and not begin <= i < end:
                others[size] = scores[i]
                size += 1
        if size == 0 or not fill_knots(others[:size], values, exceeding):
            return False
        fit_tail(others[:size], tail_floor, tail)
        p_values(values, exceeding, tail, scores[begin:end], floor, out[begin:end])
        begin = end
    return True
