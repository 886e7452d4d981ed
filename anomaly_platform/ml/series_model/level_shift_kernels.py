"""The arithmetic of `level_shift`: where readings lie, in one compiled pass over the rows."""

import math
from typing import Any

import numpy as np
from numba import types

from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.series_model.season_kernels import phase_of

_LARGEST = float(np.finfo(np.float64).max)

#: Swings beyond this many times training's, or this small a part of it, are not told apart.
MOST_GAIN = 1e3
#: A reading is out of place this many rare distances from the usual level.
OUT_OF_PLACE = 2.0

#: A model's constants.
CENTRE, UNIT, LEVEL, LEVEL_TAIL, SWING, SWING_LIMIT, SLACK, ORDINARY, RESTING = range(9)
#: Rows of the features: the reading, its difference to the first lag, the shortest window's
#: extremes and missing readings, the longest's count, median and MAD.
VALUE, DIFFERENCE, SMALLEST, LARGEST, MISSING, COUNT, MEDIAN, DEVIATION = range(8)
#: What its place does to the raw score of a reading's model inputs; alone, it is all there is.
AS_IS, TEMPERED, NOTHING, ALONE = range(4)
#: A model's limits: the distances that an ordinary reading exceeds once in 10, 100, 1,000, 10,000.
NUMBER_OF_LIMITS = 4
_TENFOLD = math.log(10.0)
#: The last of a reading's places: in an accepted level and swing.
_ACCEPTED = 3


@compiled(error_model="numpy")
def _finite(x: float) -> float:  # pragma: no cover
    if math.isnan(x):
        return 0.0
    if math.isinf(x):
        return _LARGEST if x > 0.0 else -_LARGEST
    return x


@compiled(error_model="numpy")
def _off_season(
    x: float, time: int, period: int, phases: int, profile: Any
) -> float:  # pragma: no cover
    if period == 0:
        return x
    phase = phase_of(time, period, phases)
    return float((x - profile[0, phase]) / profile[1, phase])


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
def beyond_limits(
    value: float,
    time: int,
    own: Any,
    limits: Any,
    periods: Any,
    cycles: Any,
) -> float:  # pragma: no cover
    """Return how rare a reading is by its place alone, ≥ 0: minus the logarithm of its p-value.

    Parameters
    ----------
    value, time
        The reading, and microseconds since 1970.
    own, limits
        (9,) and (4,) constants of the model.
    periods, cycles
        As in `level_rows`.
    """
    season, week = cycles
    place = _finite((value - own[CENTRE]) / own[UNIT])
    place = _off_season(place, time, periods[0], periods[1], season)
    far = abs(_off_season(place, time, periods[2], periods[3], week))
    before, after, tenfold = 0.0, limits[0], 0
    while far > after and tenfold < NUMBER_OF_LIMITS - 1:
        tenfold += 1
        before, after = after, limits[tenfold]
    return float(_finite(_TENFOLD * (tenfold + (far - before) / (after - before))))


@compiled(error_model="numpy")
def level_rows(
    times: Any,
    table: Any,
    growth: Any,
    own: Any,
    periods: Any,
    cycles: Any,
    shortest: int,
    found: Any,
) -> None:  # pragma: no cover
    """Write where (n,) readings of one series lie.

    Parameters
    ----------
    times, table
        (n,) microseconds since 1970, (≥ 8, n) features.
    growth
        (n,) by how much the noise has grown: so much farther a reading rarely goes.
    own
        (9,) constants of the model.
    periods
        (4,) period and phases of season and week.
    cycles
        Their profiles: (2, phases) offset and widening of each.
    shortest
        Rows of the shortest window.
    found
        Three (n,) arrays that are filled: distance from the usual or, where it is nearer, the
        accepted level, ≥ 0, 1 being as far as it rarely goes; what the place does to the raw score
        of the model inputs; whether a series that never rests has rested for the shortest window.
    """
    (season, week), (far, effect, frozen) = cycles, found
    places = np.empty(4)
    for i in range(times.size):
        reach = table[LARGEST, i] - table[SMALLEST, i]
        frozen[i] = (
            table[COUNT, i] >= shortest
            and table[MISSING, i] == 0.0
            and abs(table[DIFFERENCE, i]) <= own[RESTING]
            and reach <= own[RESTING]
        )
        moved, gain = _moved(table[MEDIAN, i], own), _gain(table[DEVIATION, i], own)
        for k in range(4):
            value = table[SMALLEST + k - 1, i] if k in (1, 2) else table[VALUE, i]
            y = (value - own[CENTRE]) / own[UNIT]
            y = _finite((y - moved) / gain if k == _ACCEPTED else y)
            y = _off_season(y, times[i], periods[0], periods[1], season)
            places[k] = _off_season(y, times[i], periods[2], periods[3], week)
        usual, accepted = abs(places[0]), abs(places[_ACCEPTED] * gain)
        far[i] = min(usual, accepted) / growth[i]
        if math.isinf(far[i]):
            far[i] = 1e6
        effect[i] = AS_IS
        if usual <= own[ORDINARY] and accepted <= OUT_OF_PLACE * own[ORDINARY]:
            before = max(abs(places[1]), abs(places[2]))
            effect[i] = NOTHING if before > OUT_OF_PLACE * own[ORDINARY] else TEMPERED


# Called by series with a season alone: a rehearsal has none.
@compiled(types.float64(types.float64[::1], types.int64[::1], types.int64, types.int64))
def median_without(ordered: Any, order: Any, first: int, last: int) -> float:  # pragma: no cover
    """Return the median of (n,) ascending values but those at places from `first` to `last`.

    Parameters
    ----------
    ordered, order
        (n,) values in ascending order, and their places.
    first, last
        What is left out; not everything.
    """
    number, seen, low = ordered.size - (last - first), 0, 0.0
    for k in range(ordered.size):
        if first <= order[k] < last:
            continue
        if 2 * seen >= number - 1:
            break
        low = ordered[k]
        seen += 1
    return float(ordered[k] if number % 2 else (low + ordered[k]) / 2.0)


@compiled(error_model="numpy")
def levels_held_out(
    units: Any, ordered: Any, order: Any, edges: Any, found: Any
) -> None:  # pragma: no cover
    """Write (n,) readings as differences from the level of what lies before their part.

    Parameters
    ----------
    units
        (n,) readings.
    ordered, order
        As `median_without` takes them.
    edges
        (parts + 1,) where the parts begin and end, from 0 to n; before the first one there is
        nothing, and it is held to the level of the others.
    found
        Written to.
    """
    for k in range(edges.size - 1):
        first, last = edges[k], edges[k + 1]
        level = median_without(ordered, order, first, units.size if first else last)
        for i in range(first, last):
            found[i] = units[i] - level
