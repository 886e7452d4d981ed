"""Features of many rows at once: the compiled kernel, whole series shared out among threads.

What belongs here: who computes which series. What a feature is stands in ``kernels``.
"""

from itertools import pairwise

import numpy as np
from polars import thread_pool_size

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.features.metrics.kernels import clock_table, constants_of, feature_kernel
from anomaly_platform.ml.features.metrics.layout import FeatureLayout
from anomaly_platform.ml.threads import in_order

#: A thread of its own pays from so many rows on.
_ROWS_OF_A_THREAD = 20_000


def run_kernel(
    feature_set: FeatureLayout,
    times: Ints,
    values: Floats,
    offsets: Ints,
    since: int | Ints,
    rows: int,
) -> Floats:
    """Return (features, rows) for the `rows` rows at or after `since`; see `feature_kernel`.

    One time holds for all series, or each has its own.

    Many rows are shared out among threads, whole series each: what a series gives depends on no
    other.
    """
    out = np.empty((len(feature_set.names), rows))
    # Adding 0.0 turns −0.0 into 0.0: the two compare equal but differ in bits, and which of them
    # a sorted window yields would depend on how it came about.
    values = values + 0.0
    windows, lags, frequency, lookback = constants_of(feature_set)
    firsts = np.full(offsets.size - 1, since, dtype=np.int64)

    def write(part: tuple[Ints, Ints, int]) -> int:
        offsets, firsts, column = part
        begin, end = offsets[0], offsets[-1]
        return feature_kernel(
            times[begin:end],
            values[begin:end],
            offsets - begin,
            firsts,
            windows,
            lags,
            frequency,
            lookback,
            clock_table(),
            out,
            column,
        )

    parts = _shares(times, offsets, firsts)
    # Few rows are not worth a thread.
    *_, written = map(write, parts) if len(parts) == 1 else in_order(write, parts)
    if written != rows:
        raise AssertionError(f"{written} rows were written where {rows} were announced")
    return out


def _shares(times: Ints, offsets: Ints, firsts: Ints) -> list[tuple[Ints, Ints, int]]:
    """Return the series of each thread, and the column of its first row; one where rows are few."""
    number = min(thread_pool_size(), (offsets.size - 1) // 2, times.size // _ROWS_OF_A_THREAD)
    if number < 2:
        return [(offsets, firsts, 0)]
    wanted = times >= np.repeat(firsts, np.diff(offsets))
    columns = np.append(0, np.cumsum(wanted))
    cuts = np.searchsorted(offsets, times.size * np.arange(1, number) // number)
    edges = [0, *cuts.tolist(), offsets.size - 1]
    return [
        (offsets[first : after + 1], firsts[first:after], int(columns[offsets[first]]))
        for first, after in pairwise(edges)
        if first < after
    ]
