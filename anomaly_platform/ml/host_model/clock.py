"""The readings of a host's metrics on one clock."""

from collections.abc import Sequence

import numpy as np

from anomaly_platform.ml.arrays import Floats, Ints


def on_one_clock(times: Sequence[Ints], values: Sequence[Floats]) -> tuple[Ints, Floats]:
    """Return the times at which any metric has a reading, and the readings.

    Parameters
    ----------
    times
        Per metric, (n_i,) microseconds since 1970, distinct.
    values
        Per metric, (n_i,) readings.

    Returns
    -------
    times : ndarray of int64, shape (n,)
        Ascending.
    rows : ndarray of float64, shape (n, metrics)
        NaN where a metric has no reading.
    """
    first = times[0] if times else np.empty(0, dtype=np.int64)
    # Most often all report together, and nothing needs sorting.
    if bool((first[1:] > first[:-1]).all()) and all(np.array_equal(own, first) for own in times):
        return first, np.array(values).reshape(len(times), first.size).T.copy()
    clock = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *times]))
    rows = np.full((clock.size, len(times)), np.nan)
    for column, (own, readings) in enumerate(zip(times, values, strict=True)):
        rows[np.searchsorted(clock, own), column] = readings
    return clock, rows
