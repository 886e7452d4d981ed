"""Compiled loops over the hours of each stay.

The hazard of leaving at a moment is `at_hour[cell, hour] · on_day[cell, day] · g[pair, u] / m`,
with u the bin of log(hours so far / m) and m the median hours of a stay of that product there.
"""

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.compiled import compiled

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BINS = 80
WIDTH = 0.1
LOWEST = -4.0
"""Bins of the log of a stay over its median: from −4 to 4, a tenth each."""


@compiled()
def bin_of(log_hours: float, log_median: float) -> int:  # pragma: no cover
    """Bin of a stay so far."""
    u = (log_hours - log_median - LOWEST) / WIDTH
    return min(max(int(u), 0), BINS - 1)


@compiled()
def log_densities(
    hours: Floats,
    leaves: Floats,
    cell: Ints,
    pair: Ints,
    log_medians: Floats,
    at_hour: Floats,
    on_day: Floats,
    g: Floats,
) -> Floats:  # pragma: no cover
    """Log density of each stay's end, under each of several medians.

    Parameters
    ----------
    hours, leaves
        (n,) length of the stay, and the hour of the week at which it ends.
    cell, pair
        (n,) rows of the tables.
    log_medians
        (n, k) log of the median hours under each supposition; NaN for none.
    at_hour, on_day, g
        (cells, 24), (cells, 7) and (pairs, BINS) factors of the hazard.

    Returns
    -------
    numpy.ndarray
        (n, k), NaN where the median is.
    """
    n, k = log_medians.shape
    out = np.full((n, k), np.nan)
    spent = np.zeros(k)
    for i in range(n):
        begin = now = leaves[i] - hours[i]
        spent[:] = 0.0
        while now < leaves[i] - 1e-9:
            until = min(np.floor(now + 1e-9) + 1.0, leaves[i])
            where = int(np.floor(now + 1e-9)) % 168
            rate = at_hour[cell[i], where % 24] * on_day[cell[i], where // 24] * (until - now)
            so_far = np.log(max(0.5 * (now + until) - begin, 1e-3))
            for j in range(k):
                if not np.isnan(log_medians[i, j]):
                    spent[j] += rate * g[pair[i], bin_of(so_far, log_medians[i, j])]
            now = until
        last = int(np.floor(leaves[i])) % 168
        rate = at_hour[cell[i], last % 24] * on_day[cell[i], last // 24]
        for j in range(k):
            m = log_medians[i, j]
            if not np.isnan(m):
                final = rate * g[pair[i], bin_of(np.log(hours[i]), m)]
                out[i, j] = np.log(final) - m - spent[j] * np.exp(-m)
    return out


@compiled()
def expected(
    hours: Floats,
    leaves: Floats,
    cell: Ints,
    pair: Ints,
    log_median: Floats,
    weight: Floats,
    at_hour: Floats,
    on_day: Floats,
    g: Floats,
) -> tuple[Floats, Floats, Floats]:  # pragma: no cover
    """How many stays should have ended by hour, day and bin; parameters as `log_densities`.

    Returns
    -------
    tuple of arrays
        (cells, 24), (cells, 7), (pairs, BINS).
    """
    by_hour, by_day, by_bin = np.zeros_like(at_hour), np.zeros_like(on_day), np.zeros_like(g)
    for i in range(len(hours)):
        begin, m = leaves[i] - hours[i], log_median[i]
        now = begin
        while now < leaves[i] - 1e-9:
            until = min(np.floor(now + 1e-9) + 1.0, leaves[i])
            where = int(np.floor(now + 1e-9)) % 168
            u = bin_of(np.log(max(0.5 * (now + until) - begin, 1e-3)), m)
            rate = at_hour[cell[i], where % 24] * on_day[cell[i], where // 24] * g[pair[i], u]
            rate *= weight[i] * (until - now) * np.exp(-m)
            by_hour[cell[i], where % 24] += rate
            by_day[cell[i], where // 24] += rate
            by_bin[pair[i], u] += rate
            now = until
    return by_hour, by_day, by_bin
