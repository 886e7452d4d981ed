"""Which readings would have been ordinary: the expected range.

A range is found by scoring: other values are put in the reading's place, with all that was before
as it is, and judged by the same compiled passes. First a few that are likely to be the most
ordinary; from the best of them outwards, in steps that double, until one reaches the threshold; and
sixteen parts of that step, twice. What runs say is left out: it is not about how large a
reading is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from anomaly_platform.ml.arrays import Bools, Floats, Ints, Singles
from anomaly_platform.ml.detectors.statistical_kernels import (
    MAD_TO_SIGMA,
    MIN_COUNT,
    statistical_rows,
)
from anomaly_platform.ml.detectors.statistical_kernels import P_FLOOR as FALLBACK_FLOOR
from anomaly_platform.ml.scoring import row_kernels
from anomaly_platform.ml.scoring.model_stack import (
    Columns,
    Models,
    Room,
    conclude,
    join_runs,
    measure,
)
from anomaly_platform.ml.series_model.input_kernels import FLOOR_SHARE
from anomaly_platform.ml.series_model.level_shift_kernels import (
    CENTRE,
    DEVIATION,
    DIFFERENCE,
    MEDIAN,
    UNIT,
    VALUE,
)
from anomaly_platform.ml.series_model.season_kernels import phase_of
from anomaly_platform.ml.series_runs.layout import DAY_AGO, LENGTH

#: Steps outwards, in typical spreads of the series.
_STEPS = 2.0 ** np.arange(-5, 15)
_PARTS = np.arange(17) / 16.0
_ROUNDS = 2
_SIGNS = np.array([-1.0, 1.0])
#: Beyond so many spreads nothing is told apart.
_FARTHEST = 700.0


class Ranges(NamedTuple):
    """The expected ranges of (n,) readings.

    Attributes
    ----------
    low, high
        Infinite where there is no end.
    found
        Whether any value would have been ordinary; else the range is what is usual at that time.
    spread
        Of the series, as a scale where a range has no width.
    """

    low: Floats
    high: Floats
    found: Bools
    spread: Floats


@dataclass(frozen=True, eq=False)
class Judge:
    """Scores other values in the places of (n,) readings of one series.

    Attributes
    ----------
    models
        The one model (`ModelStack.only`); None where there is none.
    columns
        What the features are.
    room
        The readings, after `judge_by_window`.
    runs
        (`RUN_COLUMNS`, n), or empty.
    exponent
        From p-value to score.
    """

    models: Models | None
    columns: Columns
    room: Room
    runs: Floats
    exponent: float

    def scores(self, values: Floats) -> Floats:
        """Return (n, k) scores of as many values; 0 where nothing is said."""
        n, k = values.shape
        base, room, flat = self.room, Room(n * k, self.columns), values.ravel()
        room.times = np.repeat(base.times, k)
        room.slots[:] = -1 if self.models is None else 0
        room.table = np.repeat(base.table, k, axis=1)
        room.related = np.repeat(base.related, k, axis=1)
        history = np.repeat(base.history, k, axis=1)
        shift = flat - room.table[VALUE]
        room.table[VALUE] = room.related[0] = flat
        room.table[DIFFERENCE] += shift
        room.related[1] += shift
        statistical_rows(flat, history, MIN_COUNT, FALLBACK_FLOOR, room.rules)
        if self.models is not None:
            told = np.repeat(self.runs, k, axis=1)
            measure(self.models, room, self.columns, told)
            conclude(self.models, room)
            if told.size:
                told[LENGTH] = np.nan
                join_runs(self.models, room, told)
        row_kernels.decide_rows(
            room.p, np.ones(n * k), self.exponent, room.raw, room.score, room.flagged
        )
        return np.where(room.score > 0.0, room.score, 0.0).reshape(n, k)


def expected_ranges(judge: Judge, thresholds: Floats) -> Ranges:
    """Return the expected ranges of readings.

    A range holds the values around the most ordinary one that would have stayed below the
    threshold, to a part in 256 of a step; so an ordinary reading of the calibration's kind is in it
    as often as one stays below the threshold, and no reading is that its value makes an anomaly.

    Parameters
    ----------
    judge
        What scores values in the readings' places.
    thresholds
        (n,) score from which each is an anomaly.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        usual, spread = _usual(judge)
        limit, starts = thresholds[:, None], _starts(judge, usual[:, 1])
        scores, rows = judge.scores(starts), np.arange(thresholds.size)
        best = scores.argmin(axis=1)
        centre, found = starts[rows, best], scores[rows, best] < thresholds
        ends = _ends(judge, limit, centre, spread)
    low = np.where(found, ends[:, 0], usual[:, 0])
    high = np.where(found, ends[:, 1], usual[:, 2])
    return Ranges(low, high, found, spread)


def _ends(judge: Judge, limit: Floats, centre: Floats, spread: Floats) -> Floats:
    """Return (n, 2) the last values downwards and upwards that stay below the limit.

    Infinite where none is last.

    Parameters
    ----------
    limit
        (n, 1).
    centre, spread
        (n,) where to begin, and the unit of the steps.
    """
    own, start = judge.room.table[VALUE][:, None, None], centre[:, None, None]
    ladder = start + _SIGNS[:, None] * (spread[:, None, None] * _STEPS)
    # The reading itself is one of the steps on its side, so that it is not passed over.
    extra = np.where(_SIGNS[:, None] * (own - start) > 0.0, own, ladder[:, :, :1])
    ladder = np.sort(np.concatenate((ladder, extra), axis=2), axis=2)
    ladder[:, 0] = ladder[:, 0, ::-1]
    steps = np.concatenate((np.broadcast_to(start, extra.shape), ladder), axis=2)
    endless = np.zeros(extra.shape[:2], dtype=np.bool_)
    rows, sides = np.arange(centre.size)[:, None], np.arange(2)
    for turn in range(_ROUNDS + 1):
        inner = steps[:, :, 1:] if turn == 0 else steps[:, :, 1:-1]
        scores = judge.scores(inner.reshape(centre.size, -1)).reshape(inner.shape)
        outside = scores >= limit[:, :, None]
        first = np.where(outside.any(axis=2), outside.argmax(axis=2), inner.shape[2])
        if turn == 0:
            endless = first == inner.shape[2]
            first = np.minimum(first, inner.shape[2] - 1)
        good, bad = (steps[rows, sides, first + more][:, :, None] for more in (0, 1))
        steps = good + (bad - good) * _PARTS
    return np.where(endless, _SIGNS * np.inf, good[:, :, 0])


def _starts(judge: Judge, usual: Floats) -> Floats:
    """Return (n, k) values of which one is likely to be the most ordinary."""
    related = judge.room.related
    windows = (related.shape[0] - 3) // 2
    found = [usual, *related[2 : 2 + windows], related[0] - related[1]]
    if judge.models is not None:
        own = judge.models.constants[0, row_kernels.LEVELS :]
        cycles = (judge.models.level_season[0, :, 0], judge.models.level_week[0, :, 0])
        periods = judge.models.periods[0, 4:]
        places = [_with_season(0.0, int(t), periods, cycles) for t in judge.room.times]
        found.append(own[CENTRE] + own[UNIT] * np.array(places))
    if judge.runs.size:
        found.append(judge.runs[DAY_AGO])
    starts = np.array(found).T
    return np.where(np.isfinite(starts), starts, starts[:, 1:2])


def _usual(judge: Judge) -> tuple[Floats, Floats]:
    """Return (n, 3) low, middle and high of what is usual, and (n,) the series' spread.

    What is usual: the longest window's median, and as far from it, at that time of the cycle, as
    one ordinary reading in a hundred goes. Without a model three spreads of the window.
    """
    table, models = judge.room.table, judge.models
    if models is None:
        wide = MAD_TO_SIGMA * table[DEVIATION]
        spread = np.where(wide > 0.0, wide, 0.05 * np.abs(table[MEDIAN]))
        spread = np.where(spread > 0.0, spread, 1.0)
        return np.array([table[MEDIAN] + k * spread for k in (-3.0, 0.0, 3.0)]).T, spread
    own, units = models.constants[0], models.units[0]
    last = judge.columns.inputs - 4
    cycles = (models.season[0, :, last], models.week[0, :, last])
    usual = np.empty((table.shape[1], 3))
    for i in range(usual.shape[0]):
        wide = math.hypot(MAD_TO_SIGMA * table[DEVIATION, i], own[row_kernels.FLOOR])
        for k, unit in enumerate((-1.0, 0.0, 1.0)):
            x = _with_season(unit, int(judge.room.times[i]), models.periods[0], cycles)
            x = min(max(units[0, last] + units[1, last] * x, -_FARTHEST), _FARTHEST)
            usual[i, k] = table[MEDIAN, i] + wide * math.sinh(x)
    spread = float(own[row_kernels.FLOOR]) / FLOOR_SHARE
    return usual, np.full(usual.shape[0], spread if spread > 0.0 else 1.0)


def _with_season(x: float, time: int, periods: Ints, cycles: tuple[Singles, Singles]) -> float:
    """Return what becomes `x` where season and week are taken off."""
    for profile, (period, phases) in zip(cycles[::-1], ((2, 3), (0, 1)), strict=True):
        if periods[period] > 0:
            phase = phase_of(time, periods[period], periods[phases])
            x = float(profile[0, phase]) + float(profile[1, phase]) * x
    return x
