"""When somebody is told: calls on a host or a series, which stay rare while it drifts.

Adaptive conformal inference (Gibbs and Candès 2021): a row is a call when its p-value is at most
the *level*. Each call lowers the level, each other row raises it a little. Without bounds calls
would become as rare as the threshold says, whatever happens. The level is bounded from below, so
that no drift hides a host that has broken, and from above, so that a quiet time is not followed by
calls about nothing. An incident that lasts is called at its beginning, and then every few rows.

The level is kept as a multiple of what the threshold says, so that moving the threshold moves it.
It is one number per host and one per series, folded over their rows in order of time. Readings of a
series in ranges that it never visited (`series_model.visited`) are calls as well, and lower it; on
a host of several metrics they are while the level is not low.

References
----------
I. Gibbs and E. Candès, "Adaptive conformal inference under distribution shift", NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.ml.calibration.conformal import p_of_score, score_of_p
from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.scoring.call_states import LAST, LEVEL, VISITED, CallStates
from anomaly_platform.ml.series_model.visited import SINCE, VISITED_SIZE, visit
from anomaly_platform.ml.series_tables import Key

#: The level of a host that has no past.
FIRST: Final = 1.0
#: Between which multiples it stays.
LEAST: Final = 1e-3
MOST: Final = 2.0
#: How much a call lowers it.
STEP: Final = 0.5
#: From which level on what is novel in one of several metrics is a call of their host: the more
#: metrics, the more often one of them is somewhere for the first time.
NOVEL: Final = 0.5
#: Numbers of a series' state.
CALL_SIZE: Final = VISITED + VISITED_SIZE


class Told(NamedTuple):
    """What is told of (n,) readings.

    Attributes
    ----------
    calls, novel
        (n,) which are calls, and which of these for their range.
    bounds
        (2, n) between which readings those lie (`visited.visit`), NaN elsewhere.
    """

    calls: Bools
    novel: Bools
    bounds: Floats


def first_state(visited: Floats) -> Floats:
    """Return a series' state before its first row; `visited` has its ranges in training."""
    state = np.empty(CALL_SIZE)
    state[LEVEL], state[LAST], state[VISITED:] = FIRST, -np.inf, visited
    return state


@compiled(error_model="numpy")
def _fold(p: Any, rate: float, level: float, least: float, calls: Any) -> float:  # pragma: no cover
    """Make what is novel, from a level on, or rare enough, a call."""
    for i in range(p.size):
        calls[i] = (calls[i] and level >= least) or p[i] <= level * rate
        level = min(max(level + STEP * (rate - calls[i]), LEAST), MOST)
    return level


@compiled(error_model="numpy")
def _take(
    state: Any, time: int, value: float, p: float, rate: float, bounds: Any
) -> tuple[bool, bool]:  # pragma: no cover
    """Take a reading into a state, and return whether it is a call, and whether a novel one."""
    novel = visit(state[VISITED:], value, bounds)
    # Rows from before the training widen what is known as others do.
    if not np.isnan(value):
        state[VISITED + SINCE] = min(state[VISITED + SINCE], time)
    call = novel or p <= state[LEVEL] * rate
    if not np.isnan(p):
        state[LEVEL] = min(max(state[LEVEL] + STEP * (rate - call), LEAST), MOST)
    state[LAST] = time
    return call, novel


@compiled(error_model="numpy")
def look_ahead(
    state: Any, time: int, value: float, p: float, rate: float, bounds: Any
) -> tuple[bool, bool]:  # pragma: no cover
    """Return whether a reading would be a call, and whether a novel one; the state stays.

    Parameters are those of `tell`, of one reading, and (2,) room for `Told.bounds`.
    """
    return _take(state.copy(), time, value, p, rate, bounds)


@compiled(error_model="numpy")
def _tell(
    places: Any, times: Any, values: Any, p: Any, rates: Any, states: Any, told: Any
) -> None:  # pragma: no cover
    calls, novel, bounds = told
    for i in range(times.size):
        state = states[places[i]]
        if times[i] <= state[LAST]:
            state = state.copy()
        bounds[:, i] = np.nan
        calls[i], novel[i] = _take(state, times[i], values[i], p[i], rates[i], bounds[:, i])


def tell(
    states: Floats, places: Ints, times: Ints, values: Floats, p_values: Floats, rates: Floats
) -> Told:
    """Return what is told of readings, and take them into the states of their series.

    A reading that is not newer than what its state has seen is judged, and changes nothing.

    Parameters
    ----------
    states
        (series, `CALL_SIZE`), changed in place.
    places
        (n,) whose each reading is.
    times, values, p_values
        (n,) microseconds since 1970, ascending within a series; readings; NaN where there is none.
    rates
        (n,) the share of readings that may be calls (`rate_of`).
    """
    n = times.size
    calls, novel = np.zeros((2, n), dtype=np.bool_)
    told = Told(calls, novel, np.empty((2, n)))
    _tell(places, times, values, p_values, rates, states, told)
    return told


def take(
    calls: CallStates,
    key: Key,
    first: Callable[[Key], Floats],
    times: Ints,
    values: Floats,
    p_values: Floats,
    rate: float,
) -> Told:
    """Take rows of a series in, which begins as `first` says, and return what is told of them.

    The other parameters are those of `tell`.
    """
    state = calls.series.get(key)
    state = first(key) if state is None else state.copy()
    calls.series[key] = state
    places, rates = np.zeros_like(times), np.full(times.size, rate)
    return tell(state[None], places, times, values, p_values, rates)


@lru_cache(maxsize=1024)
def rate_of(threshold: float, alpha: float) -> float:
    """Return the p-value at a threshold in [0, 1], given that at the standard threshold."""
    return 0.0 if threshold >= 1.0 else float(p_of_score(threshold, alpha)[0])


def rates_of(thresholds: Floats, alpha: float) -> Floats:
    """Return (n,) what `rate_of` does of each threshold."""
    different = set(told := thresholds.tolist())
    if len(different) == 1:
        return np.full(len(told), rate_of(told[0], alpha))
    return np.array([rate_of(one, alpha) for one in told])


def told_from(thresholds: Floats, calls: Bools, alpha: float) -> Floats:
    """Return (n,) scores from which readings are told.

    Parameters
    ----------
    thresholds
        (n,) from which each is an anomaly.
    calls
        (n,) which are only calls: they are told from that score on which is one at any level.
    alpha
        Share of ordinary readings above the standard threshold.
    """
    limits = thresholds.copy()
    if calls.any():
        rates = np.minimum(MOST * rates_of(thresholds[calls], alpha), 1.0)
        limits[calls] = score_of_p(rates, alpha)
    return limits


def calls_of(
    p_values: Floats,
    rate: float,
    level: float,
    novel: Bools | None = None,
    *,
    metrics: int = 1,
) -> tuple[Bools, float]:
    """Return (n,) which rows of a host are calls, and the level after them.

    Parameters
    ----------
    p_values
        (n,) of the host, in order of time.
    rate
        The share of rows in [0, 1] that may be calls: the p-value at the threshold.
    level
        The level before them.
    novel
        (n,) which have a metric that is novel, none by default: calls whatever their p-value, of a
        host with several metrics only while the level is `NOVEL` or higher.
    metrics
        How many the host has.

    Examples
    --------
    >>> calls, level = calls_of(np.array([0.5, 0.001, 0.001, 0.001]), 0.01, FIRST)
    >>> calls.tolist()
    [False, True, True, False]
    """
    calls = np.zeros(p_values.size, dtype=np.bool_) if novel is None else novel.copy()
    return calls, float(_fold(p_values, rate, level, NOVEL if metrics > 1 else 0.0, calls))
