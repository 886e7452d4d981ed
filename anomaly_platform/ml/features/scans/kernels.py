"""Compiled loops over the scans of each EPC: history bounds and inferred places.

Arrays are parallel, one entry per scan, the scans of an EPC contiguous and in order. Places are
codes ≥ 0, −1 where missing; stages are codes ≥ 0, −1 where the event type names none; directions
are those of `words`.
"""

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.features.scans.words import INBOUND, ORIGIN, OUTBOUND, SALE

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int8]


@compiled()
def history_starts(times: I64, first: I64, reach: int, most: int) -> I64:  # pragma: no cover
    """First row of each scan's history.

    Parameters
    ----------
    times
        (n,) microseconds.
    first
        (n,) first row of the same EPC.
    reach
        Microseconds: rows at or before t − reach are not part of the history.
    most
        How many rows before the scan at most.
    """
    starts = np.empty(times.size, dtype=np.int64)
    lo = 0
    for i in range(times.size):
        lo = max(lo, first[i], i - most)
        while times[lo] <= times[i] - reach:
            lo += 1
        starts[i] = lo
    return starts


@compiled()
def place_row(i: int, lo: int, place: I32, stage: I32, direction: I8) -> int:  # pragma: no cover
    """Row that tells where scan i happened, looking back no further than row lo; −1 if none."""
    if place[i] >= 0:
        return i
    j = i - 1
    while j >= lo and place[j] < 0 and direction[j] != INBOUND:
        j -= 1
    # Nothing is known, or the goods have arrived somewhere that nobody wrote down.
    if j < lo or place[j] < 0 or direction[i] == ORIGIN:
        return -1
    if direction[i] == SALE:
        stayed = True
    elif stage[i] >= 0 and stage[j] >= 0:
        stayed = stage[i] == stage[j]
    else:
        gone = direction[j] == OUTBOUND or direction[j] == ORIGIN
        stayed = direction[i] != INBOUND and not gone
    return j if stayed else -1


@compiled()
def sequence_rows(
    starts: I64, place: I32, stage: I32, direction: I8
) -> tuple[I64, I64, I64, I64]:  # pragma: no cover
    """Rows that tell each scan's place, the one before, and the places so far.

    Returns
    -------
    tuple of arrays
        (n,) row of the scan's own place; (n,) row of the previous scan's place, both −1 where
        there is none; (n + 1,) offsets into the last: rows of the places so far, in order of
        visit and without immediate repeats.
    """
    n = starts.size
    own = np.empty(n, dtype=np.int64)
    before = np.full(n, -1, dtype=np.int64)
    offsets = np.zeros(n + 1, dtype=np.int64)
    capacity = 0
    for i in range(n):
        capacity += i - starts[i] + 1
    visited = np.empty(capacity, dtype=np.int64)
    filled = 0
    for i in range(n):
        lo = starts[i]
        last, row = -1, -1
        for k in range(lo, i + 1):
            if k == i and k > lo:
                before[i] = row
            row = place_row(k, lo, place, stage, direction)
            if row >= 0 and place[row] != last:
                last = place[row]
                visited[filled] = row
                filled += 1
        own[i] = row
        offsets[i + 1] = filled
    return own, before, offsets, visited[:filled].copy()
