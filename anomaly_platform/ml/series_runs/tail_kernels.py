"""Compiled: how rare a size is beyond all that training had; see ``model``."""

import math
from typing import Any

from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.series_runs.layout import (
    BEGIN,
    ELAPSED,
    LEAST,
    RISES,
    SCALE,
    SHARE,
    SPACING,
    STEP,
)

#: Kinds of evidence that may each raise an alarm: each is allowed its part of the rate.
_KINDS = math.log(4.0)
_HOUR = 3_600_000_000
#: Factor by which a counter may rise faster or more slowly than ever at an hour.
_NEARLY = 1.5


@compiled(error_model="numpy")
def beyond_tail(x: float, tail: Any) -> float:  # pragma: no cover
    """Return minus the logarithm of the p-value of what is beyond all that was seen, 0 within."""
    if not x >= tail[LEAST]:
        return 0.0
    return float(max((x - tail[BEGIN]) / tail[SCALE] - tail[SHARE] - _KINDS, 0.0))


@compiled(error_model="numpy")
def rises_as_ever(time: int, runs: Any, column: int, own: Any) -> bool:  # pragma: no cover
    """Return whether a counter's own step is as at this hour of a day in training, or nearly so."""
    place, spacing = RISES + 2 * ((time // _HOUR) % 24), own[SPACING]
    rate = runs[STEP, column] * spacing / max(runs[ELAPSED, column], spacing)
    return bool(own[place] / _NEARLY <= rate <= own[place + 1] * _NEARLY)


@compiled(error_model="numpy")
def rate_of(step: float, elapsed: float, spacing: float) -> float:  # pragma: no cover
    """Return the logarithm of how much a counter rises in the usual time between readings."""
    return math.log1p(step * spacing / max(elapsed, spacing))
