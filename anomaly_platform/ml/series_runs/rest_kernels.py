"""Compiled: when a series rose again after it had rested at hours at which it used to rise.

A counter's windows hold a standstill long after its end, and its level lies oddly in them. Which
rests are unusual is told by the last week alone, as the state knows no model: a half-hour without a
rise is as rare as the days on which it had one were many, and a rest is as rare as all of its
half-hours together. One at which it did not rise on the same day of the last week says nothing, so
that weekends and other days of rest are ordinary.
"""

import math
from typing import Any

import numpy as np

from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.series_runs.layout import (
    AWAY_DAYS,
    LAST,
    PHASES,
    RESTED,
    RESUMED,
    ROSE,
    VALUE,
)

_HALF_HOUR = 1_800_000_000
#: Minus the logarithm of how rare a rest is that is unusual.
_UNUSUAL = 3.0 * math.log(10.0)


@compiled(error_model="numpy")
def _rarity(state: Any, phase: int) -> float:  # pragma: no cover
    """Return minus the logarithm of how rare a half-hour of a day without a rise is."""
    bit = np.int64(1) << phase
    around = bit | (np.int64(1) << ((phase + 1) % PHASES))
    around |= np.int64(1) << ((phase + PHASES - 1) % PHASES)
    days, rose = 0, 0
    for k in range(1, AWAY_DAYS):
        mask = state[ROSE + k]
        if math.isnan(mask):
            continue
        days += 1
        if np.int64(mask) & bit:
            rose += 1
    week_ago = state[ROSE + AWAY_DAYS - 1]
    if days == 0 or not (math.isnan(week_ago) or np.int64(week_ago) & around):
        return 0.0
    return -math.log(1.0 - (rose + 0.5) / (days + 1.0))


@compiled(error_model="numpy")
def take_rest(state: Any, time: int, value: float) -> bool:  # pragma: no cover
    """Take into a state whether a reading rises, before anything else of it; return whether."""
    if math.isnan(state[LAST]):
        return False
    last = np.int64(state[LAST]) // _HALF_HOUR
    today = np.int64(0) if math.isnan(state[ROSE]) else np.int64(state[ROSE])
    if last != time // _HALF_HOUR and not today & (np.int64(1) << (last % PHASES)):
        state[RESTED] += _rarity(state, int(last) % PHASES)
    if not value > state[VALUE]:
        return False
    if state[RESTED] >= _UNUSUAL:
        state[RESUMED] = float(time)
    state[RESTED] = 0.0
    return True


@compiled(error_model="numpy")
def take_rise(state: Any, time: int, rises: bool, new_day: bool) -> None:  # pragma: no cover
    """Keep that a series rises at the half-hour of a reading."""
    if new_day:
        for k in range(AWAY_DAYS - 1, 0, -1):
            state[ROSE + k] = state[ROSE + k - 1]
        state[ROSE] = 0.0
    if rises:
        bit = np.int64(1) << ((time // _HALF_HOUR) % PHASES)
        state[ROSE] = float(np.int64(state[ROSE]) | bit)
