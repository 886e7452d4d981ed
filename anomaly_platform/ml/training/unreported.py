"""Finds what looks like unreported incidents in a series' rows, before a model is fitted on them.

An incident that nobody has reported does harm three times: what is ordinary grows by it, it hides
its like in the calibration part, and a sensor that was stuck once may be stuck again. So there are
two passes: the first, here, says which rows look like incidents, the second fits on the others.

**Out of place.** What is usual at each time of the day and the week is taken off all rows. From the
bulk of what is left an exponential tail is read (`outlier_trimming.tail_limit`), and where it would
leave `EXPECTED` rows, rows beyond are events, with their neighbours. The bulk is read again without
them until nothing changes. Raw scores say less: they compare a reading with the windows before it,
which follow a drift, while a month at once shows how far it went.

**Stuck.** A run of equal readings that is far longer than the exponential tail of all others.

A habit is no incident. So nothing is set aside that comes at one time of its cycle or every other
day, that jumps to the value at which it rests, or rests there twice, or that would take more than
the given share of the rows. A clean series with an exponential tail loses the neighbourhood of
`EXPECTED` readings, a fifth of it in the calibration part. Of 1,600 calibration rows the largest
decides what is flagged at α = 0.001, which is a rate of 1/1,601, and 1.2/1,601 with that fifth: the
promise keeps. Heavier tails than exponential ones lose more.
"""

import math

import numpy as np

from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.ml.order_statistics import median, quantile_of_sorted
from anomaly_platform.ml.series_model.seasonality import SeasonalProfile
from anomaly_platform.ml.training.outlier_trimming import NEIGHBOURS, tail_limit, with_neighbours

#: Rows of a clean series that may lie beyond the limit, if the tail is exponential.
EXPECTED = 1.0
#: So many events within an hour of each other in their cycle are a habit.
_HABIT = 3
_HOUR = 3_600_000_000
_DAY = 24 * _HOUR
#: Days for each event and for each stuck sensor; where there are more, the series is like that.
_DAYS_AN_EVENT = 2.0
_DAYS_A_RUN = 7.0
#: A stuck run is so many times as long as all others, and as many as this of their tail are.
_TIMES_AS_LONG = 2.0
_RUNS_EXPECTED = 1e-3
_RUNS_IN_TAIL = 20
#: Rows before a run that is still open for each of it.
_OTHERS_AN_OPEN_ROW = 3
#: Quantile of the steps beyond which one is a jump.
_JUMP = 0.99
_ROUNDS = 8


def suspects(times: Ints, values: Floats, frequency: int, shortest: int, share: float) -> Bools:
    """Return (n,) which rows of a series look like unreported incidents.

    Parameters
    ----------
    times, values
        (n,) microseconds since 1970, ascending; readings, none missing, n ≥ 1.
    frequency
        Expected microseconds between two rows.
    shortest
        Rows of the shortest window, which remembers each event.
    share
        Largest share of rows that may be set aside. Where more are suspect, none is.
    """
    days = float(times[-1] - times[0]) / _DAY
    aside = _stuck(values, int(days / _DAYS_A_RUN))
    aside |= _out_of_place(times, values, frequency, shortest, aside, int(days / _DAYS_AN_EVENT))
    return aside if aside.mean() <= share else np.zeros(values.size, dtype=np.bool_)


# Between readings near the largest float distances are infinite.
@np.errstate(over="ignore", invalid="ignore")
def _out_of_place(
    times: Ints, values: Floats, frequency: int, shortest: int, known: Bools, most: int
) -> Bools:
    """Return (n,) which rows, those known to be stuck left out, belong to `most` events."""
    distances = values - median(values)
    unit = quantile_of_sorted(np.sort(np.abs(distances)), 0.99)
    plain = np.nan_to_num(distances / (unit if unit > 0.0 else 1.0))[:, None]
    season = SeasonalProfile.fit(times, plain, frequency)
    rest = season.apply(times, plain)
    far = np.abs(SeasonalProfile.fit_week(times, rest, frequency).apply(times, rest)[:, 0])
    aside = known
    for _ in range(_ROUNDS):
        beyond = far > tail_limit(far[~aside], EXPECTED)
        found = known | with_neighbours(beyond, NEIGHBOURS, shortest)
        if np.array_equal(found, aside) or found.all():
            break
        aside = found
    return _without_habits(times, aside & ~known, season.period, most)


def _without_habits(times: Ints, rows: Bools, period: int, most: int) -> Bools:
    """Return (n,) the rows of `most` events that do not come at one time of a day or period."""
    edges = np.flatnonzero(np.diff(rows, prepend=False, append=False))
    begins, ends = edges[::2], edges[1::2]
    if begins.size > most:
        return np.zeros(rows.size, dtype=np.bool_)
    kept = rows.copy()
    for cycle in (_DAY, period or _DAY):
        phases = times[begins] % cycle
        apart = np.abs(phases[:, None] - phases)
        near = np.minimum(apart, cycle - apart) <= _HOUR
        for k in np.flatnonzero(near.sum(axis=1) >= _HABIT):
            kept[begins[k] : ends[k]] = False
    return kept


def _is_unexplained(length: int, others: Ints) -> bool:
    """Return whether a run is longer than the (`_RUNS_IN_TAIL` + 1,) longest others explain."""
    *tail, end = others.tolist()
    scale = max(sum(tail) / _RUNS_IN_TAIL - end, 0.5)
    expected = _RUNS_IN_TAIL * math.exp((end - length) / scale)
    return bool(expected < _RUNS_EXPECTED and length >= _TIMES_AS_LONG * tail[0])


# Steps between readings near the largest float are infinite.
@np.errstate(over="ignore", invalid="ignore")
def open_run(values: Floats, least: int) -> int:
    """Return from which row on a series repeats a value for longer than its other runs explain.

    A sensor that is stuck while a model learns would teach it that this is ordinary, whatever the
    length of its history. So learning ends with the first of these readings. A rest to which the
    reading jumps is a habit, and a run of a third of the other rows is what the series has become.

    Parameters
    ----------
    values
        (n,) readings in order of time, NaN where one is missing.
    least
        Readings that must be left to learn from.

    Returns
    -------
    int
        The row after the first reading of the run, or n.
    """
    rows = np.flatnonzero(~np.isnan(values))
    known = values[rows]
    if not known.size or (known.size > 1 and known[-1] != known[-2]):
        return values.size
    begins = np.flatnonzero(np.diff(known, prepend=np.nan) != 0.0)
    lengths = np.diff(np.append(begins, known.size))
    begin, length = int(begins[-1]), int(lengths[-1])
    others = -np.sort(-lengths[:-1])[: _RUNS_IN_TAIL + 1]
    enough = begin + 1 >= max(least, _OTHERS_AN_OPEN_ROW * length)
    if not enough or others.size <= _RUNS_IN_TAIL or not _is_unexplained(length, others):
        return values.size
    steps = np.abs(np.diff(known[: begin + 1]))
    if steps[-1] > quantile_of_sorted(np.sort(steps), _JUMP):
        return values.size
    return int(rows[begin]) + 1


# Steps between readings near the largest float are infinite.
@np.errstate(over="ignore", invalid="ignore")
def _stuck(values: Floats, most: int) -> Bools:
    """Return (n,) which rows belong to runs, `most` at most, that the others do not explain."""
    aside = np.zeros(values.size, dtype=np.bool_)
    begins = np.flatnonzero(np.diff(values, prepend=np.nan) != 0.0)
    lengths = np.diff(np.append(begins, values.size))
    order = np.argsort(-lengths, kind="stable")
    found = 0
    for k in range(min(most + 1, lengths.size - _RUNS_IN_TAIL - 1)):
        if _is_unexplained(int(lengths[order[k]]), lengths[order[k + 1 : k + 2 + _RUNS_IN_TAIL]]):
            found = k + 1
    if not 0 < found <= most:
        return aside
    steps = np.abs(np.diff(values))
    jump = quantile_of_sorted(np.sort(steps), _JUMP)
    rests = values[begins[order[:found]]]
    for begin, length in zip(begins[order[:found]], lengths[order[:found]], strict=True):
        jumped = begin > 0 and steps[begin - 1] > jump
        if not jumped and np.count_nonzero(rests == values[begin]) == 1:
            aside[begin : begin + length] = True
    return aside
