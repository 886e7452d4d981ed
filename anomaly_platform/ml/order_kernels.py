"""Compiled loops of ``order_statistics``."""

from typing import Any

from anomaly_platform.ml.compiled import compiled


@compiled()
def fill_quantiles(ordered: Any, q: Any, found: Any) -> None:  # pragma: no cover
    """Write the (m, rows) quantiles `q` of each row of (rows, n) ascending values."""
    last = ordered.shape[1] - 1
    for k in range(q.size):
        place = last * q[k]
        below = min(int(place), last)
        above, share = min(below + 1, last), place - below
        for row in range(ordered.shape[0]):
            low, high = ordered[row, below], ordered[row, above]
            # From the nearer end, as NumPy does: rounding is its own.
            if share >= 0.5:
                found[k, row] = high - (high - low) * (1.0 - share)
            else:
                found[k, row] = low + (high - low) * share
