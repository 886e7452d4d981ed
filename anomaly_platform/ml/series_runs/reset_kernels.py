"""Compiled: whether a counter falls as it did in training; see ``resets``."""

from typing import Any

from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.series_runs.layout import (
    ANY_FALL,
    COUNTER,
    FALL_WORTH,
    ITS_END,
    ITS_MOMENT,
    PHASES,
    RESET_BEGIN,
    RESET_FROM_HIGH,
    RESET_FROM_LOW,
    RESET_HIGH,
    RESET_LOW,
    RESET_SPAN,
    RESETS,
    SPACING,
    USUAL_FALL,
    USUAL_RISE,
)

_HALF_HOUR = 1_800_000_000
#: Half-hours to both sides of those of the resets: a clock change moves a midnight by two.
_BESIDE_PHASES = 2
#: Share of a reading by which it may fall by rounding.
_ROUNDING = 1e-9


@compiled(error_model="numpy")
def usual_rise(elapsed: float, own: Any) -> float:  # pragma: no cover
    """Return how far a counter usually rises at most in some microseconds."""
    return float(own[USUAL_RISE] * (max(elapsed, own[SPACING]) / own[SPACING]))


@compiled(error_model="numpy")
def _comes_as_ever(
    time: int, before: float, elapsed: float, slack: float, own: Any
) -> bool:  # pragma: no cover
    """Return whether a reset comes at the time of the others, or from their height."""
    timed, limited = own[RESET_SPAN] > 0.0, own[RESET_FROM_HIGH] > 0.0
    if limited and own[RESET_FROM_LOW] - slack <= before <= own[RESET_FROM_HIGH] + slack:
        return True
    if timed:
        # Over a gap it may have fallen at any time since the reading before.
        begin = int(own[RESET_BEGIN]) - _BESIDE_PHASES
        first, last = int(time - elapsed) // _HALF_HOUR, time // _HALF_HOUR
        for phase in range(max(first, last - PHASES), last + 1):
            if (phase - begin) % PHASES < own[RESET_SPAN] + 2 * _BESIDE_PHASES:
                return True
    return not (timed or limited)


@compiled(error_model="numpy")
def judge_fall(
    time: int, value: float, step: float, elapsed: float, own: Any
) -> int:  # pragma: no cover
    """Return what is odd of a reading's fall.

    Parameters
    ----------
    time, value, own
        As in `kernels.judge_run`.
    step, elapsed
        The step to the reading, and the microseconds from the reading before.
    """
    before = value - step
    # No step is known of a first reading: NaN is no fall.
    falls = step < -_ROUNDING * abs(before)
    if not (falls and own[COUNTER] > 0.0 and own[FALL_WORTH] > 0.0):
        return USUAL_FALL
    if own[RESETS] == 0.0:
        return ANY_FALL
    slack = usual_rise(elapsed, own)
    if not own[RESET_LOW] - slack <= value <= own[RESET_HIGH] + slack:
        return ITS_END
    if _comes_as_ever(time, before, elapsed, slack, own):
        return USUAL_FALL
    return ITS_MOMENT
