"""Compiled: a counter's return to its track after a single reading that was far off."""

import math
from typing import Any

from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.series_runs.layout import (
    ELAPSED,
    ELAPSED_OVER,
    GOES_ON,
    LEAST,
    RISING,
    SPACING,
    STEP,
    STEP_OVER,
    TAIL_SIZE,
    TAILS,
    USUAL_FALL,
)
from anomaly_platform.ml.series_runs.reset_kernels import judge_fall
from anomaly_platform.ml.series_runs.tail_kernels import beyond_tail, rate_of

#: Evidence of the reading far off from which on it alone is told: as rare as one in 1,000.
_TOLD = 3.0 * math.log(10.0)


@compiled(error_model="numpy")
def returns(time: int, value: float, runs: Any, column: int, own: Any) -> bool:  # pragma: no cover
    """Return whether a counter goes on from the reading before the last, which was far off.

    So it is where it has risen since by no more than it may, and where the reading between was told
    of, as a fall or as a rise. The parameters are `kernels.judge_run`'s.
    """
    over, span = runs[STEP_OVER, column], runs[ELAPSED_OVER, column]
    if not (own[GOES_ON] > 0.0 and over >= 0.0):
        return False
    tail = own[TAILS + TAIL_SIZE * RISING : TAILS + TAIL_SIZE * (RISING + 1)]
    if rate_of(over, span, own[SPACING]) >= tail[LEAST]:
        return False
    step, elapsed = runs[STEP, column], runs[ELAPSED, column]
    there, passed = over - step, span - elapsed
    if there < 0.0:
        at = time - int(elapsed)
        return judge_fall(at, value - step, there, passed, own) != USUAL_FALL
    if step < 0.0:
        return beyond_tail(rate_of(there, passed, own[SPACING]), tail) >= _TOLD
    return False


@compiled(error_model="numpy")
def steps_on_track(
    times: Any, values: Any, runs: Any, constants: Any, found: Any
) -> None:  # pragma: no cover
    """Write (2, n) the step to each of (n,) readings of counters and the microseconds it took.

    They are from the reading before or, where that was far off, from the one before that; `runs` is
    (`RUN_COLUMNS`, n), `constants` (n, `RUN_CONSTANTS`).
    """
    for i in range(times.size):
        over = returns(times[i], values[i], runs, i, constants[i])
        found[0, i] = runs[STEP_OVER if over else STEP, i]
        found[1, i] = runs[ELAPSED_OVER if over else ELAPSED, i]
