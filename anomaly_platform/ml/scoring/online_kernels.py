# ruff: noqa: C901, PLR0915  (compiled: one loop over the rows, calls cost)
"""The arithmetic of `online_scoring`: readings of many series scored in one compiled pass.

Each function repeats, reading by reading, what the batch computes with a series' model
(`training.series`, `training.inputs`, `training.position`, `detectors.statistical`), in the same
operations in the same order, so that the bits are the same; a test holds the two together. The
logarithms that the batch takes with NumPy are left to the caller, since NumPy's own may round
otherwise than the C library's.
"""

import math
from typing import Any

import numpy as np

from anomaly_platform.ml.calibration.kernels import p_values
from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.detectors.forest_kernels import score_rows
from anomaly_platform.ml.series_model.input_kernels import quieten, relate, standardise
from anomaly_platform.ml.series_model.level_shift import MOST_GAIN
from anomaly_platform.ml.series_model.noise import MOST_GROWTH

_MONDAY = 3 * 86_400_000_000
_LARGEST = float(np.finfo(np.float64).max)

#: Columns of a series' constants.
FLOOR, STEP, JITTER, NARROW, CENTRE, UNIT, LEVEL, LEVEL_TAIL, SWING, SWING_LIMIT = range(10)
SLACK, ORDINARY, RESTING, NORMALISER, RESTS, HISTORY = range(10, 16)
CONSTANTS = 16

#: Rows of the table of features, before the medians of the windows.
VALUE, DIFFERENCE, SMALLEST, LARGEST, COUNT, MISSING, NOISE = range(7)
#: Rows of the longest window's statistics.
MEAN, STD, Q25, Q75, MEDIAN, MAD, NUMBER = range(7)

#: The last of the places of a reading: in an accepted level and swing.
ACCEPTED = 3

#: What the position does to the raw score of the model inputs.
AS_IS, TEMPERED, NOTHING = range(3)


@compiled(error_model="numpy")
def _finite(x: float) -> float:  # pragma: no cover
    if math.isnan(x):
        return 0.0
    if math.isinf(x):
        return _LARGEST if x > 0.0 else -_LARGEST
    return x


@compiled(error_model="numpy")
def _off_season(
    x: float, time: int, period: int, phases: int, offset: Any, widening: Any
) -> float:  # pragma: no cover
    if period == 0:
        return x
    phase = ((time + _MONDAY) % period) * phases // period
    return float((x - offset[phase]) / widening[phase])


@compiled(error_model="numpy")
def _moved(level: float, own: Any) -> float:  # pragma: no cover
    """Return by how much a level that has been accepted lies beside the usual one, in units."""
    moved = (level - own[CENTRE]) / own[UNIT] - own[LEVEL]
    beyond = max(abs(moved) - own[LEVEL_TAIL], 0.0)
    if moved > 0.0:
        return float(beyond)
    return float(-beyond if moved < 0.0 else moved)


@compiled(error_model="numpy")
def _gain(deviation: float, own: Any) -> float:  # pragma: no cover
    """Return how many times as wide as in training a series has come to swing."""
    if not own[SWING] > 0.0:
        return 1.0
    ratio = min(max(deviation / own[SWING], 1.0 / MOST_GAIN), MOST_GAIN)
    return float(max(ratio / own[SWING_LIMIT], min(ratio * own[SWING_LIMIT], 1.0)))


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
def judge_rows(
    slots: Any,
    times: Any,
    table: Any,
    related_columns: Any,
    constants: Any,
    periods: Any,
    medians: Any,
    tails: Any,
    spreads: Any,
    season_offset: Any,
    season_widening: Any,
    week_offset: Any,
    week_widening: Any,
    place_season_offset: Any,
    place_season_widening: Any,
    place_week_offset: Any,
    place_week_widening: Any,
    distances: Any,
    raw_scores: Any,
    feature: Any,
    cut: Any,
    path: Any,
    scaling: Any,
    shortest: int,
    out_of_place: float,
    inputs: Any,
    forest: Any,
    short: Any,
    within: Any,
    effect: Any,
    frozen: Any,
) -> None:  # pragma: no cover
    """Write what each of (n,) readings is to the model in its slot.

    Parameters
    ----------
    slots, times
        (n,) place of the model in the arrays, −1 for none; microseconds since 1970.
    table
        (7, n) features: value, first difference, the shortest window's extremes, the longest's
        count, the shortest's missing, the longest's jitter.
    related_columns
        (2 w + 3, n) as `input_kernels.relate` takes them.
    constants … scaling
        The models, (slots, …).
    shortest
        Rows of the shortest window.
    out_of_place
        Rare distances beyond which a reading is out of place.
    inputs, forest, short, within, effect, frozen
        Filled: (n, inputs) model inputs; the forest's score; distance after slack, −1 where
        position is not used; raw score worth up to the largest known distance; what the position
        does to the raw score; whether the series is frozen.
    """
    number = inputs.shape[1]
    columns = related_columns.shape[0]
    one = np.empty((columns, 1))
    x = np.empty((1, number))
    places = np.empty(4)
    stds, first_std = np.empty((spreads.shape[1], 1)), 2 + (columns - 3) // 2
    score, growth, deviation = np.empty(1), np.empty(1), np.empty(1)
    for i in range(slots.size):
        slot = slots[i]
        if slot < 0:
            continue
        own = constants[slot]
        growth[0] = 1.0
        if own[JITTER] > 0.0:
            growth[0] = min(max(table[NOISE, i] / own[JITTER], 1.0), MOST_GROWTH)
        for c in range(columns):
            one[c, 0] = related_columns[c, i]
        relate(one, own[FLOOR], own[STEP], x)
        standardise(x, medians[slot], tails[slot], x)
        period, week = periods[slot, 0], periods[slot, 2]
        for j in range(number):
            y = _off_season(
                x[0, j],
                times[i],
                period,
                periods[slot, 1],
                season_offset[slot, j],
                season_widening[slot, j],
            )
            x[0, j] = _off_season(
                y,
                times[i],
                week,
                periods[slot, 3],
                week_offset[slot, j],
                week_widening[slot, j],
            )
        deviation[0] = related_columns[columns - 1, i]
        for k in range(stds.shape[0]):
            stds[k, 0] = related_columns[first_std + 1 + k, i]
        quieten(x, growth, stds, spreads[slot], deviation, own[FLOOR], own[NARROW], tails[slot])
        for j in range(number):
            inputs[i, j] = x[0, j]
            x[0, j] = min(max(x[0, j], scaling[slot, 2, j]), scaling[slot, 3, j])
        score_rows(feature[slot], cut[slot], path[slot], scaling[slot], own[NORMALISER], x, score)
        forest[i] = score[0]

        reach = table[LARGEST, i] - table[SMALLEST, i]
        frozen[i] = (
            table[COUNT, i] >= shortest
            and table[MISSING, i] == 0.0
            and abs(table[DIFFERENCE, i]) <= own[RESTING]
            and reach <= own[RESTING]
        )
        effect[i] = AS_IS
        if not math.isfinite(own[SLACK]):
            short[i] = -1.0
            continue
        moved = _moved(related_columns[1 + (columns - 3) // 2, i], own)
        gain = _gain(related_columns[columns - 1, i], own)
        for k in range(4):
            value = table[SMALLEST + k - 1, i] if k in (1, 2) else table[VALUE, i]
            y = (value - own[CENTRE]) / own[UNIT]
            y = _finite((y - moved) / gain if k == ACCEPTED else y)
            y = _off_season(
                y,
                times[i],
                periods[slot, 4],
                periods[slot, 5],
                place_season_offset[slot, 0],
                place_season_widening[slot, 0],
            )
            places[k] = _off_season(
                y,
                times[i],
                periods[slot, 6],
                periods[slot, 7],
                place_week_offset[slot, 0],
                place_week_widening[slot, 0],
            )
        place = places[0]
        far = min(abs(place), abs(places[ACCEPTED] * gain)) / growth[0]
        if math.isinf(far):
            far = 1e6
        short[i] = far / own[SLACK]
        within[i] = _interpolate(short[i], distances[slot], raw_scores[slot])
        still = abs(places[ACCEPTED] * gain) <= out_of_place * own[ORDINARY]
        if still and abs(place) <= own[ORDINARY]:
            before = max(abs(places[1]), abs(places[2]))
            effect[i] = NOTHING if before > out_of_place * own[ORDINARY] else TEMPERED


@compiled(error_model="numpy")
def p_of_rows(
    slots: Any,
    raw: Any,
    fallback: Any,
    counts: Any,
    constants: Any,
    values: Any,
    exceeding: Any,
    tail: Any,
    floor: float,
    known: Any,
    out: Any,
) -> None:  # pragma: no cover
    """Write the p-values of raw scores by each model's calibration; see `SeriesModel.p_value`.

    And to ``known`` whether the (n,) counts of values in the longest window are enough for the
    model to speak; if not, see `SeriesModel.p_value_of_new`.
    """
    found = np.empty(1)
    for i in range(slots.size):
        slot = slots[i]
        if slot < 0:
            continue
        p_values(values[slot], exceeding[slot], tail[slot], raw[i : i + 1], floor, found)
        p = found[0]
        known[i] = counts[i] >= constants[slot, HISTORY]
        if not known[i]:
            if math.isnan(fallback[i]) or fallback[i] > p:
                p = fallback[i]
        elif constants[slot, RESTS] > 0.0 and not math.isnan(fallback[i]) and fallback[i] > p:
            p = fallback[i]
        out[i] = p


@compiled(error_model="numpy")
def _beyond_rounding(distance: float, value: float, level: float) -> float:  # pragma: no cover
    slack = 1e-9 * max(abs(value), abs(level))
    return distance if distance > slack else 0.0


@compiled(error_model="numpy")
def _spread(spread: float, level: float) -> float:  # pragma: no cover
    return spread if spread > 1e-9 * abs(level) else 0.0


@compiled(error_model="numpy")
def _ratio(distance: float, spread: float) -> float:  # pragma: no cover
    if not distance > 0.0:
        return 0.0
    quotient = distance / spread
    if math.isnan(quotient):
        return 1000.0
    return min(quotient, 1000.0)


@compiled(error_model="numpy")
def fallback_rows(
    values: Any, history: Any, least: float, floor: float, raw: Any, p: Any
) -> None:  # pragma: no cover
    """Write combined raw scores and p-values of (n,) readings against their own trailing window.

    Parameters
    ----------
    values, history
        (n,) readings and (7, n) statistics of the longest window.
    least
        Values that the window must hold.
    floor
        Smallest p-value.
    raw, p
        Filled; NaN where the window is too short.
    """
    for i in range(values.size):
        value = values[i]
        if not (history[NUMBER, i] >= least and math.isfinite(value)):
            raw[i] = p[i] = np.nan
            continue
        mean, median = history[MEAN, i], history[MEDIAN, i]
        q25, q75 = history[Q25, i], history[Q75, i]
        std = _spread(history[STD, i], mean)
        z = _ratio(_beyond_rounding(abs(value - mean), value, mean), std)
        from_median = _beyond_rounding(abs(value - median), value, median)
        plain = _ratio(from_median, std)
        outside = max(q25 - value, value - q75)
        outside = _beyond_rounding(max(outside, 0.0), value, median)
        width = _spread(q75 - q25, median)
        iqr = _ratio(outside, width) if width > 0.0 else plain / 1.349
        deviation = _spread(history[MAD, i], median)
        mad = _ratio(from_median, deviation) if deviation > 0.0 else plain * 1.4826
        beyond = 0.6745 + 1.349 * iqr if iqr > 0.0 else 0.0
        iqr_sigma = beyond if width > 0.0 else plain
        mad_sigma = mad / 1.4826 if deviation > 0.0 else plain
        low, high = min(z, iqr_sigma), max(z, iqr_sigma)
        sigma = min(max(low, min(high, mad_sigma)), 1000.0)
        raw[i] = sigma
        root = math.sqrt(4.0 + sigma * sigma)
        rest = 4.0 / (root * (root + sigma))
        p[i] = max(0.5 * rest * rest * (3.0 - rest), floor)
