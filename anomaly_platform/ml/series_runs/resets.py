"""Where a counter falls: what training says of its resets.

A counter without resets in training never falls. One with resets falls to where they ended. Where
they all came at one time of the day, or all from one height, as at the limit of a register, so do
those to come.
"""

from __future__ import annotations

import math

import numpy as np

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.series_runs.layout import (
    BESIDE,
    ELAPSED,
    FALL_WORTH,
    PHASES,
    RESET_BEGIN,
    RESET_FROM_HIGH,
    RESET_FROM_LOW,
    RESET_HIGH,
    RESET_LOW,
    RESET_SPAN,
    RESETS,
    RISES,
    SPACING,
    STEP,
    USUAL_RISE,
)

_HALF_HOUR = 1_800_000_000
_HOUR = 2 * _HALF_HOUR
_DAY = 86_400_000_000
#: What a fall is worth that is like none in training: a counter cannot do that.
_WORTH = math.log(1e4)
#: Share of the rises that are usual.
_USUAL = 0.99
#: Resets from which on they may have a time or a height of their own; the half-hours that they
#: take up, with the clock change of a year; and how far the heights lie apart, as a share.
_FEWEST = 5
_MOST_PHASES = 3
_HEIGHTS_APART = 0.05


def learn_resets(times: Ints, values: Floats, columns: Floats, own: Floats) -> None:
    """Learn to where, when and from where a counter falls.

    Less than a day of training says nothing: what follows the course of a day may rise for so long.

    Parameters
    ----------
    times, values
        (n,) microseconds since 1970; readings.
    columns
        (`RUN_COLUMNS`, n) their run columns.
    own
        (`RUN_CONSTANTS`,), changed in place.
    """
    if times[-1] - times[0] < _DAY:
        return
    steps, elapsed, spacing = columns[STEP], columns[ELAPSED], own[SPACING]
    up = steps > 0.0
    rates = steps[up] * spacing / np.maximum(elapsed[up], spacing)
    own[FALL_WORTH], own[USUAL_RISE] = _WORTH, float(np.quantile(rates, _USUAL))
    at = _resets(values)
    own[RESETS] = at.size
    if not at.size:
        return
    own[RESET_LOW], own[RESET_HIGH] = values[at].min(), values[at].max()
    low, high = values[at - 1].min(), values[at - 1].max()
    if at.size >= _FEWEST and high - low <= _HEIGHTS_APART * high:
        own[RESET_FROM_LOW], own[RESET_FROM_HIGH] = low, high
    beside = at[elapsed[at] <= BESIDE * spacing]
    if beside.size >= _FEWEST:
        begin, span = _phases_of((times[beside] // _HALF_HOUR) % PHASES)
        if span <= _MOST_PHASES:
            own[RESET_BEGIN], own[RESET_SPAN] = begin, span


def learn_rises(times: Ints, columns: Floats, own: Floats) -> None:
    """Learn between which rates a counter rises at each hour of a day; parameters as above."""
    counts = columns[STEP] >= 0.0
    steps, elapsed, spacing = columns[STEP][counts], columns[ELAPSED][counts], own[SPACING]
    rates, hours = steps * spacing / np.maximum(elapsed, spacing), times[counts] // _HOUR % 24
    rises = np.tile((np.inf, -np.inf), (24, 1))
    np.minimum.at(rises[:, 0], hours, rates)
    np.maximum.at(rises[:, 1], hours, rates)
    own[RISES : RISES + 48] = rises.ravel()


def _resets(values: Floats) -> Ints:
    """Return which readings begin anew, other than around a single one that is far off."""
    falls = np.flatnonzero(values[1:] < values[:-1]) + 1
    earlier, later = (
        values[np.maximum(falls - 2, 0)],
        values[np.minimum(falls + 1, values.size - 1)],
    )
    from_off = (values[falls] >= earlier) & (falls >= 2)
    back = (later >= values[falls - 1]) & (falls + 1 < values.size)
    resets: Ints = falls[~(from_off | back)]
    return resets


def _phases_of(phases: Ints) -> tuple[int, int]:
    """Return the first of the half-hours of a day, and how many they span around the clock."""
    found = np.unique(phases)
    gaps = np.diff(np.append(found, found[0] + PHASES))
    widest = int(gaps.argmax())
    return int(found[(widest + 1) % found.size]), PHASES - int(gaps[widest]) + 1
