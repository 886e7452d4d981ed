"""Which readings would have been ordinary: the expected range.

A range is found by scoring: other values are put in the reading's place, with all that was before
as it is, and judged by the same compiled passes. First a few that are likely to be the most
ordinary; from the best of them outwards, in steps that double, until one reaches the threshold; and
sixteen parts of that step, twice. A few are judged at a time, of all readings together: what lies
beyond the first that reaches the threshold changes nothing. What runs say is left out: it is not
about how large a reading is. Only a counter's range lies within what it usually rises from the
reading before (`continued`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from anomaly_platform.ml.arrays import AnyArray, Bools, Floats, Ints
from anomaly_platform.ml.detectors.statistical_kernels import MAD_TO_SIGMA
from anomaly_platform.ml.scoring import row_kernels
from anomaly_platform.ml.scoring.explaining.continued import continuations
from anomaly_platform.ml.scoring.explaining.search_kernels import (
    DONE,
    LADDER,
    PLACE,
    TURN,
    in_season,
    look_further,
    put_values,
)
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
    MEDIAN,
    UNIT,
    VALUE,
)
from anomaly_platform.ml.series_runs.layout import DAY_AGO, LENGTH

#: Steps outwards, in typical spreads of the series.
_STEPS = 2.0 ** np.arange(-5, LADDER - 6)
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
    goes_on
        Whether the range is what a counter usually rises from the reading before.
    """

    low: Floats
    high: Floats
    found: Bools
    spread: Floats
    goes_on: Bools


@dataclass(frozen=True, eq=False)
class Judge:
    """Scores other values in the places of (n,) readings, all with a model or none.

    Attributes
    ----------
    models
        Those in use; None where no reading has one.
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

    def scores(self, values: Floats, of: Ints) -> Floats:
        """Return (m,) scores of values in the places of readings; 0 where nothing is said."""
        m = values.size
        room, told = Room(m, self.columns), np.empty((self.runs.shape[0], m))
        put_values(values, of, _parts_of(self.room), self.runs, _parts_of(room), told)
        if self.models is not None:
            measure(self.models, room, self.columns, told)
            conclude(self.models, room)
            if told.size:
                told[LENGTH] = np.nan
                join_runs(self.models, room, told)
        row_kernels.decide_rows(
            room.p, np.ones(m), self.exponent, room.raw, room.score, room.flagged
        )
        return np.where(room.score > 0.0, room.score, 0.0)


def _parts_of(room: Room) -> tuple[AnyArray, ...]:
    return room.slots, room.times, room.table, room.related, room.history, room.rules


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
    n = thresholds.size
    with np.errstate(over="ignore", invalid="ignore"):
        usual, spread = _usual(judge)
        starts = _starts(judge, usual[:, 1])
        onward = continuations(judge.models, judge.room, judge.runs)
        counts = np.isfinite(onward[:, 1])
        parts = np.linspace(0.0, 1.0, starts.shape[1])
        starts[counts] = onward[counts, :1] * (1.0 - parts) + onward[counts, 1:] * parts
        usual[counts, ::2] = onward[counts]
        rows = np.arange(n)
        scores = judge.scores(starts.ravel(), rows.repeat(starts.shape[1])).reshape(starts.shape)
        best = scores.argmin(axis=1)
        centre, found = starts[rows, best], scores[rows, best] < thresholds
        ends = _ends(judge, thresholds, centre, spread, found)
    low = np.where(found, ends[:, 0], usual[:, 0])
    high = np.where(found, ends[:, 1], usual[:, 2])
    low[counts] = np.maximum(low[counts], onward[counts, 0])
    high[counts] = np.minimum(high[counts], onward[counts, 1])
    return Ranges(low, high, found, spread, counts)


def _ends(judge: Judge, limits: Floats, centre: Floats, spread: Floats, found: Bools) -> Floats:
    """Return (n, 2) the last values downwards and upwards that stay below the limit.

    Infinite where none is last.

    Parameters
    ----------
    limits
        (n,) scores.
    centre, spread
        (n,) where to begin, and the unit of the steps.
    found
        (n,) for which readings to look.
    """
    own, start = judge.room.table[VALUE][:, None, None], centre[:, None, None]
    ladder = start + _SIGNS[:, None] * (spread[:, None, None] * _STEPS)
    # The reading itself is one of the steps on its side, so that it is not passed over.
    extra = np.where(_SIGNS[:, None] * (own - start) > 0.0, own, ladder[:, :, :1])
    ladder = np.sort(np.concatenate((ladder, extra), axis=2), axis=2)
    ladder[:, 0] = ladder[:, 0, ::-1]
    steps = np.concatenate((np.broadcast_to(start, extra.shape), ladder), axis=2)
    steps, sides = steps.reshape(-1, LADDER + 1), 2 * centre.size
    state, ends = np.zeros((sides, 3), dtype=np.int64), np.empty(sides)
    state[:, PLACE], state[~found.repeat(2), TURN] = 1, DONE
    values, of = np.empty(sides * LADDER), np.empty(sides * LADDER, dtype=np.int64)
    scores = np.empty(0)
    while m := look_further(steps, state, ends, limits, scores, values, of):
        scores = judge.scores(values[:m], of[:m])
    return ends.reshape(-1, 2)


def _starts(judge: Judge, usual: Floats) -> Floats:
    """Return (n, k) values of which one is likely to be the most ordinary."""
    related = judge.room.related
    windows = (related.shape[0] - 3) // 2
    found = [usual, *related[2 : 2 + windows], related[0] - related[1]]
    if judge.models is not None:
        models, slots = judge.models, judge.room.slots
        cycles = (models.level_season[:, :, 0], models.level_week[:, :, 0])
        place = np.empty((slots.size, 1))
        in_season(slots, judge.room.times, models.periods[:, 4:], *cycles, np.zeros(1), place)
        centre, unit = (models.constants[slots, row_kernels.LEVELS + k] for k in (CENTRE, UNIT))
        found.append(centre + unit * place[:, 0])
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
    slots, last = judge.room.slots, judge.columns.inputs - 4
    floors, n = models.constants[slots, row_kernels.FLOOR], slots.size
    cycles = (models.season[:, :, last], models.week[:, :, last])
    x = np.empty((n, 3))
    in_season(slots, judge.room.times, models.periods[:, :4], *cycles, np.arange(-1.0, 2.0), x)
    x = models.units[slots, 0, last][:, None] + models.units[slots, 1, last][:, None] * x
    x = np.minimum(np.maximum(x, -_FARTHEST), _FARTHEST)
    # NumPy's own may round otherwise from one machine to the next.
    sinh = np.array([math.sinh(one) for one in x.ravel().tolist()]).reshape(n, 3)
    deviations = (MAD_TO_SIGMA * table[DEVIATION]).tolist()
    wide = np.array([math.hypot(*pair) for pair in zip(deviations, floors.tolist(), strict=True)])
    spread = floors / FLOOR_SHARE
    return table[MEDIAN][:, None] + wide[:, None] * sinh, np.where(spread > 0.0, spread, 1.0)
