"""Which readings of a simulated fleet exist: devices that join and leave, outages, lost readings.

What belongs here: presence of rows and null values. What does not: what a reading says.
"""

import numpy as np

from anomaly_platform.ml.arrays import Bools

_OUTAGES_PER_DAY = 0.03
_OUTAGE_ROWS = (3, 36)


def device_presence(
    rows: int, rows_per_day: float, churn: float, missing_rate: float, rng: np.random.Generator
) -> Bools:
    """Return which readings of a device arrive at all, for all its metrics together.

    Parameters
    ----------
    rows : int
        Length of the grid.
    rows_per_day : float
        Readings a day.
    churn : float
        Chance that the device joins after the start, in [0, 1]; half of it is the chance that it
        leaves before the end.
    missing_rate : float
        0 means no outages.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    ndarray of bool, shape (rows,)
        True where the device reports.
    """
    present = np.ones(rows, dtype=np.bool_)
    joins, leaves = rng.random(2)
    first, last = rng.uniform(0.2, 0.8), rng.uniform(0.85, 0.98)
    if joins < churn:
        present[: int(first * rows)] = False
    if leaves < churn / 2:
        present[int(last * rows) :] = False
    if missing_rate > 0:
        outages = rng.poisson(_OUTAGES_PER_DAY * rows / rows_per_day)
        starts = rng.integers(0, max(rows, 1), outages)
        lengths = rng.integers(_OUTAGE_ROWS[0], _OUTAGE_ROWS[1] + 1, outages)
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            present[start : start + length] = False
    return present
