"""Compiled loops of ``distances`` and of what a series' row says of its readings.

Kept apart so that importing ``distances`` does not import numba.
"""

import math
from typing import Any

import numpy as np

from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.sums import sum_of


@compiled()
def fill_reference(ordered: Any, shares: Any, edges: Any, counts: Any) -> int:  # pragma: no cover
    """Write the bins of (n,) ascending finite values, and return how many edges there are.

    Edges are quantiles that are values themselves. Two of them on one value: it holds at least a
    bin's weight, and gets a bin of its own by an edge on either side.

    Parameters
    ----------
    ordered, shares
        The values, and which quantiles.
    edges, counts
        (2 q + 2,) filled with +inf, and one more of zeros.
    """
    n, known, twice = ordered.size, 0, False
    if n == 0:
        return 0
    for share in shares:
        place = math.ceil(n * share - 1.0)
        at = ordered[min(max(place, 0), n - 1)]
        if known == 0 or at != edges[known - 1]:
            edges[known] = at
            known, twice = known + 1, False
            continue
        before = np.nextafter(at, -np.inf)
        if not twice and (known == 1 or edges[known - 2] != before):
            edges[known - 1], edges[known] = before, at
            known += 1
        twice = True
    k = 0
    for value in ordered:
        while k < known and value > edges[k]:
            k += 1
        counts[k] += 1
    return known


@compiled()
def count_parts(values: Any, groups: Any, edges: Any, coarse: Any) -> Any:  # pragma: no cover
    """Return (parts, bins) how many finite values of each part are in each coarse bin.

    Parameters
    ----------
    values, groups
        (n,) and the part that each belongs to, ascending.
    edges, coarse
        (k,) upper edges of fine bins, and (k + 1,) the coarse bin of each.
    """
    parts, last = 0, np.int64(0)
    for i in range(values.size):
        if math.isfinite(values[i]) and (parts == 0 or groups[i] != last):
            parts, last = parts + 1, groups[i]
    table = np.zeros((parts, coarse[-1] + 1))
    part = -1
    for i in range(values.size):
        if not math.isfinite(values[i]):
            continue
        if part < 0 or groups[i] != last:
            part, last = part + 1, groups[i]
        table[part, coarse[np.searchsorted(edges, values[i])]] += 1.0
    return table


@compiled(error_model="numpy")
def moments(values: Any, found: Any) -> None:  # pragma: no cover
    """Write mean, standard deviation, minimum and maximum of (n,) values, n ≥ 1, to (4,)."""
    n = values.size
    mean = sum_of(values, 0, n) / n
    squares = np.empty(n)
    low = high = values[0]
    for i in range(n):
        apart = values[i] - mean
        squares[i] = apart * apart
        low, high = min(low, values[i]), max(high, values[i])
    found[0], found[1] = mean, math.sqrt(sum_of(squares, 0, n) / n)
    found[2], found[3] = low, high
