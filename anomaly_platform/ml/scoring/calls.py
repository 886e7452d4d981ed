"""When somebody is told: calls on a host, which stay rare while the host drifts.

Adaptive conformal inference (Gibbs and Candès 2021): a row is a call when its p-value is at most
the *level*. Each call lowers the level, each other row raises it a little. Without bounds calls
would become as rare as the threshold says, whatever happens. The level is bounded from below, so
that no drift hides a host that has broken, and from above, so that a quiet time is not followed by
calls about nothing. An incident that lasts is called at its beginning, and then every few rows.

The level is kept as a multiple of what the threshold says, so that moving the threshold moves it.
It is one number per host, folded over its rows in order of time.

References
----------
I. Gibbs and E. Candès, "Adaptive conformal inference under distribution shift", NeurIPS 2021.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from anomaly_platform.ml.arrays import Bools, Floats
from anomaly_platform.ml.calibration.conformal import p_of_score
from anomaly_platform.ml.compiled import compiled

#: The level of a host that has no past.
FIRST: Final = 1.0
#: Between which multiples it stays.
LEAST: Final = 1e-3
MOST: Final = 2.0
#: How much a call lowers it.
STEP: Final = 0.5


@compiled(error_model="numpy")
def _fold(p: Any, rate: float, level: float, calls: Any) -> float:  # pragma: no cover
    for i in range(p.size):
        calls[i] = p[i] <= level * rate
        level = min(max(level + STEP * (rate - calls[i]), LEAST), MOST)
    return level


def rate_of(threshold: float, alpha: float) -> float:
    """Return the p-value at a threshold in [0, 1], given that at the standard threshold."""
    return 0.0 if threshold >= 1.0 else float(p_of_score(threshold, alpha)[0])


def calls_of(p_values: Floats, rate: float, level: float) -> tuple[Bools, float]:
    """Return (n,) which rows of a host are calls, and the level after them.

    Parameters
    ----------
    p_values
        (n,) of the host, in order of time.
    rate
        The share of rows in [0, 1] that may be calls: the p-value at the threshold.
    level
        The level before them.

    Examples
    --------
    >>> calls, level = calls_of(np.array([0.5, 0.001, 0.001, 0.001]), 0.01, FIRST)
    >>> calls.tolist()
    [False, True, True, False]
    """
    calls = np.zeros(p_values.size, dtype=np.bool_)
    return calls, float(_fold(p_values, rate, level, calls))
