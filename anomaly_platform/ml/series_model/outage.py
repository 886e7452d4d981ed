"""What a reading is held to that comes after an outage longer than the look-back.

There are no windows then, and only the distance from the series' usual level is left, less what is
usual at that time of day and week. How far ordinary readings may be is derived without labels, from
the training window itself, by split conformal prediction over *blocks*:

- The window is cut into blocks as long as the look-back, at least eight of them. Rows of one block
  resemble each other; blocks are what is taken for exchangeable, and the first readings after the
  outage are part of one more.
- Every distance is held out: each fifth of the blocks is measured from the level of the fifths
  before it, since what comes after an outage lies ahead as well, and by a season fitted on the
  other four. (The first fifth, before which there is nothing, takes the level of the other four.)
- A block's *reach* is the distance that nine in ten of its rows keep to. Training may set aside a
  tenth of the rows as suspect (`contamination`), and so may every block.
- Of one more block's reach, the ranks of the known ones say how often it goes further; beyond the
  upper half of them an exponential tail goes on. With k excesses over a common threshold, the
  excess of one more is beyond y with probability (1 + y / their sum) ** -k exactly, which is the
  finite-sample correction: few blocks make wide limits.
- Within the block, the tenth of its rows that goes beyond the reach has an exponential tail, too.
  The nearer rows of the median block show how long it is, or its farthest row, if that says more;
  it is never shorter than a normal distribution's.
- Where most blocks go is no anomaly: the farthest rows of half of them lie within all limits. Of
  readings that are suspect, that asks for more than half of the blocks to have none.

Each of the two steps gets half of the probability. Nothing here was chosen by what it flags.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

import numpy as np

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.order_statistics import median, quantiles_of_rows
from anomaly_platform.ml.series_model.level_shift_kernels import levels_held_out, median_without
from anomaly_platform.ml.series_model.seasonality import SeasonalProfile

PROBABILITIES: Final = (1e-1, 1e-2, 1e-3, 1e-4)
"""P-values whose distances are the limits; beyond the last one the tail goes on."""

FEWEST_BLOCKS: Final = 8
_FOLDS: Final = 5
_HALF, _REACH = 0.5, 0.9
_FACTOR: Final = math.log((1.0 - _HALF) / (1.0 - _REACH))
#: The scale of a normal distribution's tail beyond its reach, in that reach.
_NORMAL_TAIL: Final = (2.5758 - 1.6449) / 1.6449 / math.log(10.0)

UNKNOWN: Final = np.full(len(PROBABILITIES), np.inf)
"""Limits of a series of which too little is known: nothing is beyond them."""


def outage_limits(
    times: Ints, units: Floats, frequency: int, look_back: int, level: float, *, seasonal: bool
) -> Floats:
    """Return the distances, in units, that ordinary readings exceed with `PROBABILITIES`.

    Parameters
    ----------
    times
        (n,) microseconds since 1970, ascending.
    units
        (n,) readings as differences from the usual level.
    frequency, look_back
        Expected microseconds between two rows, and rows of the longest window.
    level
        The usual level in units: the only scale of a series that never moved.
    seasonal
        Whether the season is taken off readings before they are held to the limits.
    """
    if units.size < FEWEST_BLOCKS:
        return UNKNOWN
    size = min(look_back, units.size // FEWEST_BLOCKS)
    count = units.size // size
    rest = units.size - count * size
    distances = _held_out(times[rest:], units[rest:], frequency, size, count, seasonal=seasonal)
    blocks = np.sort(distances.reshape(count, size), axis=1)
    half, reach = quantiles_of_rows(blocks, np.array((_HALF, _REACH)))
    visited = median(blocks[:, -1])
    tail = max(median(reach - half) / _FACTOR, _tail_to(visited - median(reach), size))
    limits = _limits(np.sort(reach), tail, abs(level) or 1.0)
    limits += max(visited - limits[0], 0.0)
    # Readings near the largest float are at no distance that could be counted.
    return UNKNOWN if np.isnan(limits).any() else limits


def _held_out(
    times: Ints, units: Floats, frequency: int, size: int, count: int, *, seasonal: bool
) -> Floats:
    """Return each row's distance from what other rows say is usual."""
    found = np.empty(units.size)
    order = np.argsort(units)
    ordered = units[order]
    edges = [size * (count * fold // _FOLDS) for fold in range(_FOLDS + 1)]
    levels_held_out(units, ordered, order, np.array(edges), found)
    if seasonal:
        for first, last in pairwise(edges):
            other = np.ones(units.size, dtype=np.bool_)
            other[first:last] = False
            usual = median_without(ordered, order, first, last)
            rows, there = (units[other] - usual)[:, None], times[other]
            season = SeasonalProfile.fit(there, rows, frequency)
            week = SeasonalProfile.fit_week(there, season.apply(there, rows), frequency)
            here, clock = found[first:last, None], times[first:last]
            found[first:last] = week.apply(clock, season.apply(clock, here))[:, 0]
    return np.abs(found, out=found)


def _tail_to(farthest: float, size: int) -> float:
    """Return the tail that takes the farthest of a block's rows so far beyond the reach, as a rule.

    Zero for blocks of a few rows, of which none may be in the tail.
    """
    rarer = math.log((1.0 - _REACH) / (1.0 - 0.5 ** (1.0 / size)))
    return farthest / rarer if rarer > 1.0 else 0.0


def _limits(reach: Floats, tail: float, scale: float) -> Floats:
    """Return the limits that follow from (blocks,) ascending reaches.

    Parameters
    ----------
    tail
        Distance by which rows of the median block get rarer by a factor e.
    scale
        Stands for the reach of a series that never moved.
    """
    upper = reach.size // 2
    usual = float(reach[-upper - 1]) if reach[-1] > 0.0 else scale
    excess = float(np.sum(np.maximum(reach[-upper:] - usual, 0.0)))
    tail = max(tail, _NORMAL_TAIL * usual)
    share = (upper + 1) / (reach.size + 1)
    limits = []
    for p in PROBABILITIES:
        rarer = max((2.0 * share / p) ** (1.0 / upper) - 1.0, 0.0)
        limits.append(usual + excess * rarer + tail * math.log(2.0 * (1.0 - _REACH) / p))
    return np.array(limits)
