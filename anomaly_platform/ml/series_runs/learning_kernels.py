"""Compiled loops of ``model`` and ``days``: a series' runs, states and tails, and its days."""

import math
from typing import Any

import numpy as np

from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.series_runs.layout import APART, DAY_AGO, LEVEL
from anomaly_platform.ml.sums import sum_of

_HOUR = 3_600_000_000


@compiled()
def find_runs(
    times: Any, values: Any, usual: int, found: Any, lengths: Any
) -> int:  # pragma: no cover
    """Write the runs of (n,) readings, and return how many there are.

    Parameters
    ----------
    times, values
        (n,) microseconds since 1970, ascending; readings.
    usual
        The longest time between two readings for which a value is known to stay.
    found, lengths
        (n,) value of each; (3, n) its readings, when it ended, and for how long it lasted.
    """
    count, clock, began = 0, np.int64(0), np.int64(0)
    for i in range(times.size):
        if i > 0:
            clock += min(times[i] - times[i - 1], usual)
        if i == 0 or values[i] != values[i - 1]:
            found[count], lengths[0, count], began = values[i], 0, clock
            count += 1
        lengths[0, count - 1] += 1
        lengths[1, count - 1], lengths[2, count - 1] = times[i], clock - began
    return count


@compiled()
def only_counts(
    values: Any, resets: float, counts: float, fewest: float, each: float, reset_to: float
) -> bool:  # pragma: no cover
    """Return whether (n,) values only rise, but for resets; see the constants of ``model``."""
    up = down = 0
    falls = True
    for i in range(1, values.size):
        up += values[i] > values[i - 1]
        if values[i] < values[i - 1]:
            down += 1
            falls = falls and values[i] <= reset_to * values[i - 1]
    steps = values.size - 1
    least = max(counts * steps, fewest, each * down)
    if not falls or down > resets * steps or up < least:
        return False
    return bool(values.min() >= 0.0)


@compiled()
def find_states(
    values: Any, rows: Any, order: Any, all_states: float, share: float, length: float, states: Any
) -> int:  # pragma: no cover
    """Write the values at which a series stays, most readings first; return how many there are.

    Parameters
    ----------
    values, rows, order
        (n,) value and readings of each run, and their order by value.
    all_states, share, length
        Readings of all states together from which every value is one; of one, and how many times
        those of its runs, from which it is one elsewhere.
    states
        (s,), filled.
    """
    most, runs = np.zeros(states.size), np.zeros(states.size)
    known, k = 0, 0
    while k < order.size:
        value, mine, count = values[order[k]], 0.0, 0.0
        while k < order.size and values[order[k]] == value:
            mine, count, k = mine + rows[order[k]], count + 1.0, k + 1
        at = known
        while at > 0 and most[at - 1] < mine:
            at -= 1
        if at == states.size:
            continue
        known = min(known + 1, states.size)
        for j in range(known - 1, at, -1):
            states[j], most[j], runs[j] = states[j - 1], most[j - 1], runs[j - 1]
        states[at], most[at], runs[at] = value, mine, count
    if most[:known].sum() >= all_states:
        return known
    stay = 0
    for j in range(known):
        if most[j] >= share and most[j] >= length * runs[j]:
            states[stay] = states[j]
            stay += 1
    return stay


@compiled()
def group_runs(values: Any, states: Any, groups: Any) -> None:  # pragma: no cover
    """Write the place of each of (n,) values among the states, or how many states there are."""
    for i in range(values.size):
        groups[i] = states.size
        for k in range(states.size):
            if values[i] == states[k]:
                groups[i] = k


@compiled()
def deepest_runs(lengths: Any, least: int, spacing: float, found: Any) -> None:  # pragma: no cover
    """Write (k, 2) begin and end of what runs longer than `least` have beyond that."""
    k = 0
    for i in range(lengths.shape[1]):
        if lengths[0, i] > least:
            found[k, 1] = float(lengths[1, i])
            found[k, 0] = found[k, 1] - (lengths[0, i] - least - 1) * spacing
            k += 1


@compiled()
def fit_tail(
    ordered: Any, count: int, weight: float, coarse: float, found: Any
) -> None:  # pragma: no cover
    """Write where the tail of the largest `count` of ascending sizes begins, scale and share.

    Other parameters as in ``model._fitted``; `found` is (3,).
    """
    n = ordered.size
    begin, largest = ordered[n - count - 1], ordered[n - 1]
    scale = max(sum_of(ordered[n - count :] - begin, 0, count) / count, coarse)
    # What is heavier than an exponential shows in its largest, and few may show too little.
    safe, heavy = scale * (1.0 + 2.0 / math.sqrt(count)), (largest - begin) / math.log(count)
    share = math.log(scale * weight * count)
    found[0], found[1] = begin, heavy if heavy > safe else safe
    found[2] = 0.0 if share > 0.0 else share


@compiled(error_model="numpy")
def compare_days(values: Any, columns: Any, found: Any, counts: Any) -> None:  # pragma: no cover
    """Write what is known of each day: (4, n) numbers, and (4,) how many of each.

    They are distances from a day ago, sizes of steps, usual distances, and levels.
    """
    counts[:] = 0
    for i in range(values.size):
        apart = abs(values[i] - columns[DAY_AGO, i])
        step = abs(values[i] - values[i - 1])
        usual, level = columns[APART, i], columns[LEVEL, i]
        if math.isfinite(apart):
            found[0, counts[0]] = apart
            counts[0] += 1
        if i > 0:
            found[1, counts[1]] = step
            counts[1] += 1
        if math.isfinite(usual):
            found[2, counts[2]] = usual
            counts[2] += 1
        if math.isfinite(level):
            found[3, counts[3]] = level
            counts[3] += 1


@compiled(error_model="numpy")
def sort_by_hour(times: Any, values: Any, t: Any, v: Any, offsets: Any) -> None:  # pragma: no cover
    """Write (n,) time within the hour and value by hour of the day, and (25,) where each begins."""
    offsets[:] = 0
    for i in range(times.size):
        offsets[(times[i] // _HOUR) % 24 + 1] += 1
    for k in range(24):
        offsets[k + 1] += offsets[k]
    place = offsets.copy()
    for i in range(times.size):
        hour = (times[i] // _HOUR) % 24
        t[place[hour]], v[place[hour]] = (times[i] % _HOUR) / _HOUR, values[i]
        place[hour] += 1
