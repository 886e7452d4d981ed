# ruff: noqa: C901  (compiled: one function a row, calls cost)
"""The arithmetic of runs: readings folded into a series' state, and what the state is evidence of.

The state of a series is a vector of numbers that does not depend on any model. A reading changes it
and gets its *run columns* from it, in the batch and one by one by the same function, so that the
bits are the same wherever a batch starts. A missing reading changes nothing.
"""

import math
from typing import Any

import numpy as np

from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.series_runs.day_kernels import (
    TELLING,
    as_a_day_ago,
    compare_with_yesterday,
)
from anomaly_platform.ml.series_runs.glitch_kernels import returns
from anomaly_platform.ml.series_runs.layout import (
    AGE_WORTH,
    AGES,
    AT_REST,
    AWAY,
    AWAY_DAYS,
    AWAY_THEN,
    BEFORE,
    BEFORE_AT,
    BESIDE,
    BUSY,
    BUSY_WORTH,
    CHANGED,
    CHANGES,
    CHANGING,
    CHATTER,
    COUNTER,
    COUNTING,
    DAY,
    ELAPSED,
    ELAPSED_OVER,
    EVENTS,
    EXCUSED,
    FALL,
    FALL_WORTH,
    FALLEN,
    FELL,
    GOES_ON,
    HELD,
    LAST,
    LASTED,
    LEAST,
    LENGTH,
    LONG_NOW,
    MOST,
    MOST_CHANGES,
    MOST_LASTED,
    NOT_AT_REST,
    ORDINARY,
    OTHERS,
    PHASES,
    QUIET,
    QUIET_WORTH,
    REST,
    RESUMED,
    RISE,
    RISING,
    ROWS,
    RUN_COLUMNS,
    SCALE,
    SINCE,
    SPACING,
    SPEAKS,
    STATE_VALUES,
    STATES,
    STEP,
    STEP_OVER,
    STUCK,
    TAIL_SIZE,
    TAILS,
    TOO_LONG,
    USUAL_FALL,
    VALUE,
)
from anomaly_platform.ml.series_runs.reset_kernels import judge_fall
from anomaly_platform.ml.series_runs.rest_kernels import take_rest, take_rise
from anomaly_platform.ml.series_runs.tail_kernels import beyond_tail, rate_of, rises_as_ever

_HALF_HOUR = 1_800_000_000
_DAY = 86_400_000_000
#: Days on which a series has been away from 0 at a time, after which that is no news.
_ACCEPTED_DAYS = 3
#: A run ends regularly where the longest is so many times as long as its tail; that it has not
#: ended is told for this part of it.
_REGULAR = 20.0
_TOLD = 8.0
#: Share of the usual time between readings that runs which are too long at this hour have lasted.
_LASTS = 0.6
#: No run is rarer: a host's other metrics, and a reading far off, count for more.
_SMALLEST = 1e-4


@compiled(error_model="numpy")
def _begin_run(state: Any, now: float, value: float) -> None:  # pragma: no cover
    if not math.isnan(state[VALUE]):
        for k in range(MOST_CHANGES - 1, 0, -1):
            state[CHANGES + k] = state[CHANGES + k - 1]
        state[CHANGES] = now
        if value < state[VALUE]:
            state[FELL] = now
    state[VALUE], state[SINCE], state[ROWS] = value, now, 0.0


@compiled(error_model="numpy")
def take_reading(
    state: Any, time: int, value: float, out: Any, column: int, day: Any
) -> None:  # pragma: no cover
    """Fold a reading into (`STATE_SIZE`,) `state`, and write its run columns.

    A reading that is not newer than all before changes nothing, and has no run columns. `day` is as
    in `compare_with_yesterday`.
    """
    for k in range(RUN_COLUMNS):
        out[k, column] = np.nan
    now = float(time)
    if math.isnan(value) or now <= state[LAST]:
        return
    known = not math.isnan(state[LAST])
    rises = take_rest(state, time, value)
    if known:
        out[STEP, column] = value - state[VALUE]
        out[ELAPSED, column] = now - state[LAST]
        out[STEP_OVER, column] = value - state[BEFORE]
        out[ELAPSED_OVER, column] = now - state[BEFORE_AT]
        state[BEFORE], state[BEFORE_AT] = state[VALUE], state[LAST]
    if not known or value != state[VALUE]:
        _begin_run(state, now, value)
    state[ROWS] += 1.0
    state[LAST] = now
    compare_with_yesterday(state, time, value, out, column, day)
    day = float(time // _DAY)
    new_day = day != state[DAY]
    take_rise(state, time, rises, new_day)
    if new_day:
        for k in range(AWAY_DAYS - 1, 0, -1):
            state[AWAY + k] = state[AWAY + k - 1]
        state[DAY], state[AWAY] = day, 0.0
    bit = np.int64(1) << ((time // _HALF_HOUR) % PHASES)
    away = 0
    for k in range(1, AWAY_DAYS):
        if np.int64(state[AWAY + k]) & bit:
            away += 1
    if value != 0.0:
        state[AWAY] = float(np.int64(state[AWAY]) | bit)
    out[LENGTH, column], out[LASTED, column] = state[ROWS], now - state[SINCE]
    # NaN until there were as many; a rest as long as usual ends the quick changes at once.
    widest = now - state[CHANGES] + 0.0 * state[CHANGES + MOST_CHANGES - 1]
    for k in range(MOST_CHANGES - 1):
        widest = max(widest, state[CHANGES + k] - state[CHANGES + k + 1])
    out[CHANGED, column] = widest
    out[FALLEN, column] = now - state[FELL]
    out[AWAY_THEN, column] = away
    out[COUNTING, column] = now - state[RESUMED]


@compiled(error_model="numpy")
def take_readings(state: Any, times: Any, values: Any, out: Any) -> None:  # pragma: no cover
    """Fold (n,) readings of one series into `state`; write (`RUN_COLUMNS`, n)."""
    day = np.full(3, np.nan)
    for i in range(times.size):
        take_reading(state, times[i], values[i] + 0.0, out, i, day)


@compiled(error_model="numpy")
def pass_readings(state: Any, times: Any, values: Any) -> None:  # pragma: no cover
    """Fold (n,) readings of one series into `state`."""
    unused, unknown = np.empty((RUN_COLUMNS, 1)), np.empty(0)
    for i in range(times.size):
        take_reading(state, times[i], values[i] + 0.0, unused, 0, unknown)


@compiled(error_model="numpy")
def _since_due(length: float, tail: Any) -> float:  # pragma: no cover
    """Return the length of a run, of runs that end regularly for a while after each end is due."""
    if not (_REGULAR * tail[SCALE] < tail[MOST] < length):
        return length
    over = length % tail[MOST]
    return float(tail[MOST] + over) if _TOLD * over <= tail[MOST] else 0.0


@compiled(error_model="numpy")
def _group(value: float, own: Any) -> int:  # pragma: no cover
    """Return the place of a value among the states, `OTHERS` for one that is none."""
    for k in range(STATES):
        if own[STATE_VALUES + k] == value:
            return k
    return OTHERS


@compiled(error_model="numpy")
def _held_too_long(value: float, runs: Any, column: int, own: Any) -> float:  # pragma: no cover
    """Return the evidence of how long the value before was held, of series of events."""
    step = runs[STEP, column]
    if math.isnan(step) or step == 0.0:
        return 0.0
    before = value - step
    for k in range(STATES):
        if abs(own[STATE_VALUES + k] - before) <= 1e-9 * max(abs(before), 1.0):
            tail = own[TAILS + TAIL_SIZE * k : TAILS + TAIL_SIZE * (k + 1)]
            return float(beyond_tail(runs[ELAPSED, column] / own[SPACING], tail))
    return 0.0


@compiled(error_model="numpy")
def _of_hour(
    time: int, value: float, runs: Any, column: int, own: Any
) -> tuple[float, int]:  # pragma: no cover
    """Return what is unusual for the half-hour of a reading, and its kind."""
    phase = (time // _HALF_HOUR) % PHASES
    bit = np.int64(1) << phase
    counter = own[COUNTER] > 0.0
    if counter and not runs[ELAPSED, column] <= BESIDE * own[SPACING]:
        return 0.0, ORDINARY  # What was counted over a gap belongs to no half-hour.
    if not runs[STEP, column] > 0.0 if counter else value == own[REST]:
        best, kind, length = 0.0, ORDINARY, runs[LENGTH, column]
        if np.int64(own[BUSY]) & bit:
            best, kind = own[BUSY_WORTH], AT_REST
        group = OTHERS if own[EVENTS] > 0.0 else _group(value, own)
        most = own[TAILS + TAIL_SIZE * group + MOST]
        late = own[AGES + phase] < length <= most and own[AGE_WORTH] > best
        if late and runs[LASTED, column] > _LASTS * own[AGES + phase] * own[SPACING]:
            best, kind = own[AGE_WORTH], LONG_NOW
        return best, kind
    accepted = own[REST] == 0.0 and not counter and not runs[AWAY_THEN, column] < _ACCEPTED_DAYS
    if np.int64(own[QUIET]) & bit and not accepted:
        return own[QUIET_WORTH], NOT_AT_REST
    return 0.0, ORDINARY


@compiled(error_model="numpy")
def judge_run(
    time: int, value: float, runs: Any, column: int, own: Any
) -> tuple[float, int]:  # pragma: no cover
    """Return the strongest evidence of a reading's run columns, and its kind.

    Parameters
    ----------
    time, value
        The reading.
    runs, column
        (`RUN_COLUMNS`, n), and which of them.
    own
        (`RUN_CONSTANTS`,) the model's.
    """
    best, kind = 0.0, ORDINARY
    length = runs[LENGTH, column]
    if math.isnan(length) or (own[COUNTER] > 0.0 and returns(time, value, runs, column, own)):
        return best, kind
    group = OTHERS if own[EVENTS] > 0.0 else _group(value, own)
    tail = own[TAILS + TAIL_SIZE * group : TAILS + TAIL_SIZE * (group + 1)]
    more = (tail[LEAST] - tail[MOST] - 1.0) * own[SPACING]
    if own[EVENTS] > 0.0:
        best, kind = _held_too_long(value, runs, column, own), HELD
    elif runs[LASTED, column] >= tail[MOST_LASTED] + 0.9 * more:
        best = beyond_tail(_since_due(length, tail), tail)
        kind = STUCK if group == OTHERS else TOO_LONG
    if not best > 0.0:
        kind = ORDINARY
    changed = runs[CHANGED, column]
    if changed > 0.0:
        found = beyond_tail(-math.log(changed), own[TAILS + TAIL_SIZE * CHANGING :])
        if found > best:
            best, kind = found, CHATTER
    step = runs[STEP, column]
    if own[COUNTER] > 0.0 and step > 0.0:
        rate = rate_of(step, runs[ELAPSED, column], own[SPACING])
        found = beyond_tail(rate, own[TAILS + TAIL_SIZE * RISING :])
        if found > best:
            best, kind = found, RISE
    if own[FALL_WORTH] > best:
        fall = judge_fall(time, value, step, runs[ELAPSED, column], own)
        if fall != USUAL_FALL:
            best, kind = own[FALL_WORTH], FALL
    worth, of_hour = _of_hour(time, value, runs, column, own)
    return (worth, of_hour) if worth > best else (best, kind)


@compiled(error_model="numpy")
def join_evidence(
    slots: Any, times: Any, values: Any, runs: Any, constants: Any, p: Any, alone: Any, kinds: Any
) -> None:  # pragma: no cover
    """Lower (n,) p-values to what the runs say, and write which evidence it is.

    Parameters
    ----------
    slots
        (n,) place of the model in `constants`, −1 for none.
    times, values, runs
        The readings, and their run columns.
    constants
        (slots, `RUN_CONSTANTS`).
    p, alone, kinds
        p-values before, NaN where there is none, lowered; filled with what they would be without
        runs; filled.
    """
    for i in range(slots.size):
        kinds[i], alone[i] = ORDINARY, p[i]
        if slots[i] < 0 or not constants[slots[i], SPEAKS] > 0.0 or math.isnan(p[i]):
            continue
        own = constants[slots[i]]
        if own[COUNTER] > 0.0 and p[i] < 1.0:
            # The level after a reset or a standstill says nothing; how much it rises does.
            stood = own[GOES_ON] > 0.0 and runs[COUNTING, i] <= own[EXCUSED]
            if runs[FALLEN, i] <= own[EXCUSED] or (stood and rises_as_ever(times[i], runs, i, own)):
                p[i] = 1.0
        p[i] = max(p[i], as_a_day_ago(times[i], values[i], runs, i, own))
        alone[i] = p[i]
        evidence, kind = judge_run(times[i], values[i], runs, i, own)
        if evidence > 0.0:
            found = max(math.exp(-evidence), _SMALLEST)
            if found < p[i] or evidence >= TELLING:
                kinds[i] = kind
            p[i] = min(p[i], found)
