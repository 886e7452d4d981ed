"""What of its runs makes a reading unusual, in words.

What belongs here: the words. What is evidence is decided where readings are scored; of all other
evidence `explaining` has the words.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.series_runs.layout import (
    AGES,
    ANY_FALL,
    AT_REST,
    CHANGED,
    CHANGING,
    CHATTER,
    COUNTER,
    DAYS,
    ELAPSED,
    FALL,
    HELD,
    ITS_END,
    LASTED,
    LENGTH,
    LONG_NOW,
    MOST,
    MOST_CHANGES,
    MOST_LASTED,
    NOT_AT_REST,
    OTHERS,
    PHASES,
    RESET_BEGIN,
    RESET_FROM_HIGH,
    RESET_FROM_LOW,
    RESET_HIGH,
    RESET_LOW,
    RESET_SPAN,
    REST,
    RISE,
    RISING,
    SPACING,
    STATE_VALUES,
    STATES,
    STEP,
    STUCK,
    TAIL_SIZE,
    TAILS,
    TOO_LONG,
)
from anomaly_platform.ml.written import as_bound, as_given, rounded

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HALF_HOUR = 1_800_000_000
#: Patterns (SQL's ``LIKE``) of the reasons that a value stays for too long.
STUCK_REASONS = ("at % for %", "has not counted for %", "repeats % for %")
#: Evidence of runs whose reason names the time of the day.
CLOCKED = frozenset((LONG_NOW, NOT_AT_REST, AT_REST))
#: Digits that a difference of two readings has for certain.
_OF_A_STEP = 12
_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))


def clock_of(time: int) -> str:
    """Return hour and minute of microseconds since 1970.

    Examples
    --------
    >>> clock_of(52_200_000_000)
    '14:30 UTC'
    """
    return f"{_EPOCH + timedelta(microseconds=time):%H:%M} UTC"


def duration(microseconds: float) -> str:
    """Return a span of time as people say it.

    Examples
    --------
    >>> duration(9 * 3600e6), duration(1500e6), duration(0.5e6)
    ('9 h', '25 min', '0.5 s')
    """
    seconds = microseconds / 1e6
    for size, unit in _UNITS:
        if seconds >= 1.5 * size or size == 1.0:
            return f"{round(seconds / size, 1):g} {unit}"
    raise AssertionError


def novelty_reason(
    value: float,
    time: int,
    since: float,
    bounds: Floats,
    reason: str = "",
    *,
    trained_until: int | None = None,
) -> str:
    """Return why a reading in a range that was never visited is a call.

    Parameters
    ----------
    value, time, since
        The reading; its time, and that of the first one known, in microseconds since 1970.
    bounds
        (2,) between which readings it lies, as `series_model.visited.visit` writes them.
    reason
        What else makes it unusual, which comes first.
    trained_until
        Time of the newest reading that the model was trained on, None where nobody knows. What a
        reading older than all that is known is compared with is the training.

    Examples
    --------
    >>> day, bounds = 86_400_000_000, np.array((18.0, 31.2))
    >>> novelty_reason(36.4, 42 * day, 0, bounds)
    '36.4, always from 18 to 31.2 in 42 days before'
    >>> novelty_reason(36.4, 2 * day, 7 * day, bounds, trained_until=42 * day)
    '36.4, always from 18 to 31.2 in 35 days of training'
    """
    low, high = bounds.tolist()
    new = new_range(value, low, high)
    if time > since:
        new += f" in {_days(time - since)} before"
    elif trained_until is not None and trained_until > since:
        new += f" in {_days(trained_until - since)} of training"
    return f"{reason}; {new}" if reason else f"{as_given(value)}, {new}"


def _days(span: float) -> str:
    days = span / 86_400e6
    return f"{days:.0f} days" if days >= 1.5 else duration(span)


def new_range(value: float, low: float, high: float) -> str:
    """Return where readings were before, or were not, by the readings next to a new one.

    Examples
    --------
    >>> new_range(36.4, 18.0, 31.2), new_range(45.1, 42.1647, 47.722), new_range(0.0, 1.0, 1.0)
    ('always from 18 to 31.2', 'never between 42.16 and 47.72', 'always 1')
    """
    first, last = as_bound(low, value, 4), as_bound(high, value, 4)
    if low < value < high:
        return f"never between {first} and {last}"
    return f"always {first}" if low == high else f"always from {first} to {last}"


def run_reason(kind: int, time: int, value: float, runs: Floats, own: Floats) -> str:
    """Return what of its runs makes a reading unusual.

    Parameters
    ----------
    kind
        The evidence (`series_runs.layout`), not `ORDINARY`.
    time, value
        The reading.
    runs
        (`RUN_COLUMNS`,) of it.
    own
        (`RUN_CONSTANTS`,) of its model.
    """
    if kind in {STUCK, TOO_LONG, HELD}:
        return _of_length(kind, value, runs, own)
    if kind in {CHATTER, RISE, FALL}:
        return _of_fall(time, value, runs, own) if kind == FALL else _of_changes(kind, runs, own)
    clock, rest, counter = clock_of(time), as_given(own.item(REST)), own[COUNTER] > 0.0
    if kind == LONG_NOW:
        limit = duration(own[AGES + time // _HALF_HOUR % PHASES] * own[SPACING])
        state = "has not counted" if counter else f"at {rest}"
        return f"{state} for {duration(runs[LASTED])}, never for {limit} at {clock} before"
    if kind == NOT_AT_REST and counter:
        return f"counts at {clock}, never at this hour in {own[DAYS]:g} days"
    # Only 0 is what people call rest: a machine that always runs is at 1.
    is_called_rest = own[REST] == 0.0
    if kind == NOT_AT_REST:
        state = "not at rest" if is_called_rest else as_given(value)
        return f"{state} at {clock}, always {rest} at this hour in {own[DAYS]:g} days"
    state = "at rest" if is_called_rest else as_given(value)
    return f"{state} at {clock}, never {rest} at this hour in {own[DAYS]:g} days"


def _of_length(kind: int, value: float, runs: Floats, own: Floats) -> str:
    state, lasted = value, runs[LASTED]
    if kind == HELD:
        state, lasted = value - runs[STEP], runs[ELAPSED]
    states = np.isclose(own[STATE_VALUES : STATE_VALUES + STATES], state, rtol=1e-9, atol=1e-9)
    if states.any():
        known = int(states.argmax())
        longest = duration(own[TAILS + TAIL_SIZE * known + MOST_LASTED])
        at = as_given(own.item(STATE_VALUES + known))
        return f"at {at} for {duration(lasted)}, longest before {longest}"
    most = own[TAILS + TAIL_SIZE * OTHERS + MOST]
    if own[COUNTER] > 0.0:
        longest = duration(most * own[SPACING])
        return f"has not counted for {duration(runs[LASTED])}, longest before {longest}"
    return f"repeats {as_given(value)} for {runs[LENGTH]:g} readings, longest before {most:g}"


def _of_changes(kind: int, runs: Floats, own: Floats) -> str:
    if kind == CHATTER:
        rest = duration(math.exp(-own[TAILS + TAIL_SIZE * CHANGING + MOST]))
        apart = f"{MOST_CHANGES} changes at most {duration(runs[CHANGED])} apart"
        return f"{apart}, with a rest of {rest} at least before"
    most = math.expm1(own[TAILS + TAIL_SIZE * RISING + MOST])
    rate = runs[STEP] * own[SPACING] / max(runs[ELAPSED], own[SPACING])
    every = duration(own[SPACING])
    return f"rises by {rounded(rate, 6)} in {every}, by {rounded(most, 6)} at most before"


def _of_fall(time: int, value: float, runs: Floats, own: Floats) -> str:
    from anomaly_platform.ml.series_runs.reset_kernels import judge_fall, usual_rise

    odd = judge_fall(time, value, runs[STEP], runs[ELAPSED], own)
    days, anew = f"{own[DAYS]:g} days", value <= usual_rise(runs[ELAPSED], own)
    fall = f"falls by {rounded(-runs[STEP], _OF_A_STEP)} in {duration(runs[ELAPSED])}"
    if odd == ANY_FALL:
        return f"{f'counts anew from {as_given(value)}' if anew else fall}, never in {days}"
    if odd == ITS_END:
        low, high = own[RESET_LOW], own[RESET_HIGH]
        ends = f"{as_bound(low, value, 4)} and {as_bound(high, value, 4)}"
        return f"{fall} to {as_given(value)}, always to between {ends} in {days}"
    if own[RESET_SPAN] > 0.0:
        begin, end = own[RESET_BEGIN], own[RESET_BEGIN] + own[RESET_SPAN]
        first, last = (clock_of(int(one) % PHASES * _HALF_HOUR) for one in (begin, end))
        when, usual = clock_of(time), f"between {first.removesuffix(' UTC')} and {last}"
    else:
        low, high = own[RESET_FROM_LOW], own[RESET_FROM_HIGH]
        before = float(value - runs[STEP])
        when = rounded(before, _OF_A_STEP)
        usual = f"between {as_bound(low, before, 6)} and {as_bound(high, before, 6)}"
    return f"counts anew at {when}, always {usual} in {days}"
