# ruff: noqa: C901  (compiled: one loop over the sides, calls cost)
"""The arithmetic of `expected`: other values in readings' places, and which to judge next."""

import math
from typing import Any

from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.detectors.statistical_kernels import MIN_COUNT, statistical_rows
from anomaly_platform.ml.detectors.statistical_kernels import P_FLOOR as FALLBACK_FLOOR
from anomaly_platform.ml.series_model.level_shift_kernels import DIFFERENCE, VALUE
from anomaly_platform.ml.series_model.season_kernels import phase_of

#: Steps outwards, the reading itself among them; and those within one, ends left out.
LADDER, WITHIN = 21, 15
#: How often a step is cut into parts.
ROUNDS = 2
#: What is known of a side: how often its step was cut, the next place in it, and how many from
#: there on are being judged.
TURN, PLACE, ASKED = range(3)
DONE = ROUNDS + 1
#: How many values of a side are judged together at least, and of all sides about.
_LEAST, _TOGETHER = 5, 32


@compiled(error_model="numpy")
def put_values(
    values: Any, of: Any, readings: Any, runs: Any, room: Any, told: Any
) -> None:  # pragma: no cover
    """Write (m,) other values in the places of readings, with all that was before as it is.

    Parameters
    ----------
    values, of
        (m,) the values, and in whose places of (n,) readings.
    readings, room
        Of a `model_stack.Room` of n, and of m that is filled: slots, times, table, related,
        history, and rules.
    runs, told
        (`RUN_COLUMNS`, n), (`RUN_COLUMNS`, m) that is filled; or empty.
    """
    slots, times, table, related, history, _ = readings
    its_slots, its_times, its_table, its_related, its_history, rules = room
    for i in range(of.size):
        its_slots[i], its_times[i] = slots[of[i]], times[of[i]]
    for pair in ((table, its_table), (related, its_related), (history, its_history), (runs, told)):
        for j in range(pair[0].shape[0]):
            for i in range(of.size):
                pair[1][j, i] = pair[0][j, of[i]]
    for i in range(of.size):
        shift = values[i] - its_table[VALUE, i]
        its_table[VALUE, i] = its_related[0, i] = values[i]
        its_table[DIFFERENCE, i] += shift
        its_related[1, i] += shift
    statistical_rows(values, its_history, MIN_COUNT, FALLBACK_FLOOR, rules)


@compiled(error_model="numpy")
def look_further(
    steps: Any, state: Any, ends: Any, limits: Any, scores: Any, values: Any, of: Any
) -> int:  # pragma: no cover
    """Take the scores of what was proposed, and return how many values are proposed next.

    Parameters
    ----------
    steps
        (2 n, `LADDER` + 1) places from the most ordinary value outwards, then within one step; of
        each reading downwards and upwards.
    state
        (2 n, 3), `DONE` where nothing is to be done.
    ends
        (2 n,) filled with the last values before the first that reaches the limit.
    limits
        (n,).
    scores
        Those of the values proposed before.
    values, of
        Filled: values to be judged, and in whose places.
    """
    active, taken, proposed = 0, 0, 0
    for side in range(ends.size):
        active += state[side, TURN] < DONE
    together = max(_LEAST, _TOGETHER // max(active, 1))
    for side in range(ends.size):
        turn, place, asked = state[side, TURN], state[side, PLACE], state[side, ASKED]
        if turn == DONE:
            continue
        last, outside = LADDER if turn == 0 else WITHIN, 0
        for k in range(asked):
            if outside == 0 and scores[taken + k] >= limits[side // 2]:
                outside = place + k
        taken, place = taken + asked, place + asked
        if outside == 0 and turn == 0 and place > last:
            ends[side] = math.inf if side % 2 else -math.inf
            state[side, TURN] = DONE
            continue
        if outside > 0 or place > last:
            outside = outside if outside > 0 else place
            good, bad = steps[side, outside - 1], steps[side, outside]
            ends[side] = good
            turn, place, last = turn + 1, 1, WITHIN
            state[side, TURN] = turn
            if turn == DONE:
                continue
            for k in range(WITHIN + 2):
                steps[side, k] = good + (bad - good) * (k / (WITHIN + 1.0))
        left = last + 1 - place
        asked = left if left < together + 3 else together
        state[side, PLACE], state[side, ASKED] = place, asked
        for k in range(asked):
            values[proposed], of[proposed] = steps[side, place + k], side // 2
            proposed += 1
    return proposed


@compiled(error_model="numpy")
def in_season(
    slots: Any, times: Any, periods: Any, season: Any, week: Any, units: Any, out: Any
) -> None:  # pragma: no cover
    """Write (n, k) what becomes each of (k,) `units` at a time where season and week are taken off.

    Parameters
    ----------
    slots, times
        (n,) place of the model in the arrays, microseconds since 1970.
    periods
        (slots, 4) period and phases of season and week.
    season, week
        (slots, 2, phases) offset and widening.
    """
    for i in range(slots.size):
        own, place_of_season, place_of_week = periods[slots[i]], 0, 0
        if own[0] > 0:
            place_of_season = phase_of(times[i], own[0], own[1])
        if own[2] > 0:
            place_of_week = phase_of(times[i], own[2], own[3])
        for k in range(units.size):
            x = units[k]
            if own[2] > 0:
                profile = week[slots[i]]
                x = profile[0, place_of_week] + profile[1, place_of_week] * x
            if own[0] > 0:
                profile = season[slots[i]]
                x = profile[0, place_of_season] + profile[1, place_of_season] * x
            out[i, k] = x
