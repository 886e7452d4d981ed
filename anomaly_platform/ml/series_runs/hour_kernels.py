"""Compiled loops of ``days``: the straight line through the readings of each hour of the day."""

import math
from typing import Any

import numpy as np

from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.sums import sum_of


@compiled(error_model="numpy")
def centre_hours(
    t: Any, v: Any, offsets: Any, centred: Any, variances: Any
) -> None:  # pragma: no cover
    """Write each hour's readings as differences from their means, and how its times vary.

    Parameters
    ----------
    t, v
        (n,) time within the hour, and reading; those of an hour lie together.
    offsets
        (25,) first row of each hour, then n.
    centred
        (2 n,) filled: of an hour that begins in row a, from 2 a on its times, then its readings.
    variances
        (24,) filled, of the times.
    """
    squares = np.empty(t.size)
    for k in range(offsets.size - 1):
        begin, end = offsets[k], offsets[k + 1]
        size = end - begin
        if size == 0:
            continue
        early, usual = sum_of(t, begin, end) / size, sum_of(v, begin, end) / size
        for i in range(size):
            apart = t[begin + i] - early
            centred[2 * begin + i] = apart
            centred[2 * begin + size + i] = v[begin + i] - usual
            squares[begin + i] = apart * apart
        variances[k] = sum_of(squares, begin, end) / size


@compiled(error_model="numpy")
def lay_lines(t: Any, v: Any, offsets: Any, lines: Any, apart: Any) -> None:  # pragma: no cover
    """Write the level of each hour's line, and how far its readings are from the line.

    Parameters
    ----------
    t, v, offsets
        As in `centre_hours`.
    lines
        (24, 2) level, filled, and slope.
    apart
        (n,) filled.
    """
    rest = np.empty(t.size)
    for k in range(offsets.size - 1):
        begin, end = offsets[k], offsets[k + 1]
        if begin == end:
            continue
        for i in range(begin, end):
            rest[i] = v[i] - lines[k, 1] * t[i]
        lines[k, 0] = _median(rest[begin:end])
        for i in range(begin, end):
            apart[i] = abs(v[i] - (lines[k, 0] + lines[k, 1] * t[i]))


@compiled(error_model="numpy")
def _median(values: Any) -> float:  # pragma: no cover
    for value in values:
        if math.isnan(value):
            return float(value)
    ordered = np.sort(values)
    half = values.size // 2
    if values.size % 2:
        return float(ordered[half])
    return float((ordered[half - 1] + ordered[half]) / 2.0)
