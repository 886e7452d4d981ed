# ruff: noqa: C901  (compiled: one loop over the rows, calls cost)
"""The arithmetic of `model_stack`: readings of many series scored in two compiled passes.

Between them the caller takes logarithms with NumPy, whose own may round otherwise than the C
library's. A row's result is computed from that row alone, so that the bits do not depend on which
rows are scored together.
"""

import math
from typing import Any

import numpy as np

from anomaly_platform.ml.calibration.kernels import p_values, scores_of_p
from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.detectors.forest_kernels import score_rows
from anomaly_platform.ml.detectors.statistical_kernels import MIN_COUNT
from anomaly_platform.ml.series_model.input_kernels import (
    forget_spikes,
    relate,
    rescale_for_noise,
    shrink_units,
    standardise,
)
from anomaly_platform.ml.series_model.level_shift import FROZEN_WORTH
from anomaly_platform.ml.series_model.level_shift_kernels import (
    ALONE,
    AS_IS,
    COUNT,
    DEVIATION,
    LARGEST,
    NOTHING,
    NUMBER_OF_LIMITS,
    SLACK,
    SMALLEST,
    TEMPERED,
    VALUE,
    beyond_limits,
    level_rows,
)
from anomaly_platform.ml.series_model.noise import MOST_GROWTH
from anomaly_platform.ml.series_model.season_kernels import take_off
from anomaly_platform.ml.series_runs.day_kernels import has_moved
from anomaly_platform.ml.series_runs.kernels import join_evidence
from anomaly_platform.ml.series_runs.layout import FORGETS
from anomaly_platform.ml.sums import sum_of

#: Columns of a series' constants, before those of its level.
FLOOR, STEP, JITTER, NARROW, NORMALISER, RESTS, HISTORY, MOST, LAST_LOGARITHM = range(9)
LEVELS = 9
LIMITS = LEVELS + 9
QUIET = LIMITS + NUMBER_OF_LIMITS

#: Rows of the features behind those of the level: the longest window's jitter, the shortest's mean.
NOISE, MEAN = 8, 9
#: Rows of one series that are looked at together.
_BLOCK = 256


@compiled(error_model="numpy")
def _interpolate(x: float, xs: Any, ys: Any) -> float:  # pragma: no cover
    """Return what `numpy.interp` does of one number."""
    last = xs.size - 1
    if math.isnan(x):
        return x
    if x > xs[last]:
        return float(ys[last])
    if x < xs[0]:
        return float(ys[0])
    low, high = 0, last + 1
    while low < high:
        middle = (low + high) >> 1
        if x >= xs[middle]:
            low = middle + 1
        else:
            high = middle
    j = low - 1
    if j == last or xs[j] == x:
        return float(ys[j])
    slope = (ys[j + 1] - ys[j]) / (xs[j + 1] - xs[j])
    found = slope * (x - xs[j]) + ys[j]
    if math.isnan(found):
        found = slope * (x - xs[j + 1]) + ys[j + 1]
        if math.isnan(found) and ys[j] == ys[j + 1]:
            found = ys[j]
    return float(found)


@compiled(error_model="numpy")
def _larger(a: float, b: float) -> float:  # pragma: no cover
    """Return `numpy.maximum` of two numbers."""
    return a if a > b or math.isnan(a) else b


@compiled(error_model="numpy")
def _judge_alone(
    slot: int, times: Any, table: Any, models: Any, short: Any, effect: Any
) -> None:  # pragma: no cover
    """Write `beyond_limits` of the rows whose window is too short for model and fallback."""
    own, periods = models.constants[slot], models.periods[slot, 4:]
    cycles = (models.level_season[slot, :, 0], models.level_week[slot, :, 0])
    if math.isinf(own[LIMITS]):
        return
    for i in range(times.size):
        if table[COUNT, i] < own[HISTORY] and table[COUNT, i] < MIN_COUNT:
            effect[i] = ALONE
            value, level, limits = table[VALUE, i], own[LEVELS:], own[LIMITS:]
            short[i] = beyond_limits(value, times[i], level, limits, periods, cycles)


@compiled(error_model="numpy")
def _write_distances(inputs: Any, short: Any, distances: Any) -> None:  # pragma: no cover
    """Write `series_forest.distance` of (n, inputs), to the bit, and `short` below it."""
    number = inputs.shape[1]
    squares = np.empty(number)
    for i in range(short.size):
        for j in range(number):
            squares[j] = inputs[i, j] * inputs[i, j]
        distances[0, i] = math.sqrt(sum_of(squares, 0, number) / number)
        distances[1, i] = short[i]


@compiled(error_model="numpy")
def _follow(times: Any, runs: Any, own: Any, effect: Any) -> None:  # pragma: no cover
    """Let the usual place of a series that has moved for good excuse none of its readings."""
    if runs.shape[0] == 0:
        return
    for i in range(times.size):
        if effect[i] != AS_IS and has_moved(times[i], runs, i, own):
            effect[i] = AS_IS


@compiled(error_model="numpy")
def measure_rows(models: Any, room: Any, shortest: int, runs: Any) -> None:  # pragma: no cover
    """Write what each of (n,) readings is to the model in its slot.

    Filled are the model inputs; the forest's score; `short`, the distance after slack, 0 where the
    level is not used; `effect` and `frozen` as in `level_rows`. Where the window is too short for
    the model and the fallback, `effect` is `ALONE` and the distance `beyond_limits`. In
    `logarithms` is what logarithms are to be taken of: the model inputs' distance from ordinary,
    and `short`; 0 without a model.

    Parameters
    ----------
    models
        `model_stack.Models`.
    room
        `model_stack.RoomArrays`: `table` has `level_shift_kernels`' features, the longest window's
        jitter and the shortest's mean, `related` (2 w + 3, n) as `input_kernels.relate` takes them.
    shortest
        Rows of the shortest window.
    runs
        (`RUN_COLUMNS`, n), or (0, n) where no runs are judged.
    """
    slots, times, table, related = room.slots, room.times, room.table, room.related
    inputs, forest, short = room.inputs, room.forest, room.short
    effect, frozen, distances = room.effect, room.frozen, room.logarithms
    number, stds = inputs.shape[1], 3 + (related.shape[0] - 3) // 2
    between, most = models.spreads.shape[1], min(slots.size, _BLOCK)
    growth, clipped = np.ones(most), np.empty((most, number))
    start = 0
    while start < slots.size:
        slot, stop = slots[start], start + 1
        while stop < slots.size and stop - start < most and slots[stop] == slot:
            stop += 1
        begin, size, rows, start = start, stop - start, slice(start, stop), stop
        if slot < 0:
            distances[:, rows] = 0.0
            continue
        own, tails, scaling = models.constants[slot], models.units[slot, 1], models.scaling[slot]
        periods, now, x = models.periods[slot], times[rows], inputs[rows]
        for i in range(size):
            growth[i] = 1.0
            if own[JITTER] > 0.0:
                growth[i] = min(max(table[NOISE, begin + i] / own[JITTER], 1.0), MOST_GROWTH)
        grown = growth[:size]
        relate(related[:, rows], own[FLOOR], own[STEP], x)
        if models.runs[slot, FORGETS] > 0.0:
            forget_spikes(
                table[MEAN, rows],
                related[2, rows],
                related[stds - 1, rows],
                table[SMALLEST, rows],
                table[LARGEST, rows],
                table[DEVIATION, rows],
                own[FLOOR],
                shortest,
                x,
            )
        standardise(x, models.units[slot, 0], tails, x)
        season, week = models.season[slot], models.week[slot]
        if periods[0] > 0:
            take_off(now, x, periods[0], periods[1], season[0], season[1], x)
        if periods[2] > 0:
            take_off(now, x, periods[2], periods[3], week[0], week[1], x)
        spreads, deviation = related[stds : stds + between, rows], related[-1, rows]
        typical, floor, narrow = models.spreads[slot], own[FLOOR], own[NARROW]
        rescale_for_noise(x, grown, spreads, typical, deviation, floor, narrow, tails)
        spreads = related[stds - 1 : stds + between, rows]
        shrink_units(
            x, table[COUNT, rows], table[NOISE, rows], spreads, typical, floor, own[QUIET:]
        )
        for i in range(size):
            for j in range(number):
                clipped[i, j] = min(max(x[i, j], scaling[2, j]), scaling[3, j])
        feature, cut, path = models.feature[slot], models.cut[slot], models.path[slot]
        score_rows(feature, cut, path, scaling, own[NORMALISER], clipped[:size], forest[rows])
        level, found = own[LEVELS:], (short[rows], effect[rows], frozen[rows])
        cycles = (models.level_season[slot, :, 0], models.level_week[slot, :, 0])
        level_rows(now, table[:, rows], grown, level, periods[4:], cycles, shortest, found)
        if math.isfinite(level[SLACK]):
            short[rows] /= level[SLACK]
        else:
            short[rows] = 0.0
            effect[rows] = AS_IS
        _follow(now, runs[:, rows], models.runs[slot], effect[rows])
        _judge_alone(slot, now, table[:, rows], models, short[rows], effect[rows])
        _write_distances(x, short[rows], distances[:, rows])


@compiled(error_model="numpy")
def conclude_rows(models: Any, room: Any, floor: float) -> None:  # pragma: no cover
    """Write raw scores and p-values of readings that have a model.

    The raw score is the larger of what the model inputs say and what the distance from the usual
    level is worth. A series that rested in its calibration part gave no measure of how unusual a
    change is: every change is infinitely far. There the trailing window has a say as well, so that
    the first change is an anomaly and the hundredth of the same day is not. Without history enough
    both the model and the trailing window must find a reading unusual: the model's inputs are
    relations to a window that is not yet what it was in calibration, and the window alone takes
    the first morning after the first night for an incident. Where it is too short even for that,
    as right after an outage, the reading's place alone decides.

    Parameters
    ----------
    models
        As in `measure_rows`.
    room
        After `measure_rows`, with logarithms of 1 + `logarithms` in their place. Of `rules` the raw
        scores and p-values are the fallback's before, NaN where the trailing window is too short.
        Filled: these, and `known`, whether there is a model, and history enough for it to speak.
    floor
        Smallest p-value.
    """
    slots, table, forest, short = room.slots, room.table, room.forest, room.short
    logarithms, effect, frozen, known = room.logarithms, room.effect, room.frozen, room.known
    raw, p = room.rules[3], room.rules[4]
    constants, knots, values = models.constants, models.knots, models.values
    exceeding, tail = models.exceeding, models.tail
    found = np.empty(1)
    for i in range(slots.size):
        slot = slots[i]
        known[i] = False
        if slot < 0:
            continue
        own = constants[slot]
        if effect[i] == ALONE:
            raw[i] = short[i]
            p[i] = max(math.exp(-raw[i]), floor)
            continue
        total = forest[i] + logarithms[0, i]
        if effect[i] == NOTHING:
            total = 0.0
        elif effect[i] == TEMPERED and not (total < own[MOST] or math.isnan(total)):
            total = own[MOST]
        worth = 0.0
        if math.isfinite(own[LEVELS + SLACK]):
            within = _interpolate(short[i], knots[slot, 0], knots[slot, 1])
            worth = within + _larger(logarithms[1, i] - own[LAST_LOGARITHM], 0.0)
        total = _larger(total, worth)
        raw[i] = total + FROZEN_WORTH if frozen[i] else total
        p_values(values[slot], exceeding[slot], tail[slot], raw[i : i + 1], floor, found)
        known[i] = table[COUNT, i] >= own[HISTORY]
        fallback, p[i] = p[i], found[0]
        if not known[i]:
            if math.isnan(fallback) or fallback > found[0]:
                p[i] = fallback
        elif own[RESTS] > 0.0 and not math.isnan(fallback) and fallback > found[0]:
            p[i] = fallback


@compiled(error_model="numpy")
def join_rows(models: Any, room: Any, runs: Any) -> None:  # pragma: no cover
    """Lower p-values to what (`RUN_COLUMNS`, n) run columns say, after `conclude_rows`."""
    p, series = room.rules[4], models.runs
    join_evidence(room.slots, room.times, room.table[0], runs, series, p, room.alone, room.kinds)


@compiled(error_model="numpy")
def decide_rows(
    p: Any, thresholds: Any, exponent: float, raw: Any, score: Any, flagged: Any
) -> None:  # pragma: no cover
    """Write scores of p-values and whether they reach their thresholds; NaN where there is none."""
    for i in range(p.size):
        if math.isnan(p[i]):
            raw[i] = score[i] = np.nan
            flagged[i] = False
            continue
        scores_of_p(p[i : i + 1], exponent, score[i : i + 1])
        flagged[i] = score[i] >= thresholds[i]
