"""What is usual of a series at each hour of a day, and how far it is from a day ago."""

from __future__ import annotations

import math

import numpy as np

from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.ml.order_statistics import median_of_sorted, quantile_of_sorted
from anomaly_platform.ml.series_runs.layout import (
    AGE_WORTH,
    AGES,
    BESIDE,
    BUSY,
    BUSY_WORTH,
    DAYS,
    ELAPSED,
    LENGTH,
    PHASES,
    QUIET,
    QUIET_WORTH,
    RARELY_APART,
    RARELY_MOVED,
    RARELY_OFF,
    REST,
    SPACING,
    STEP,
    TYPICALLY_APART,
    USUAL,
    USUAL_LEVEL,
)

#: Readings by which a rest must be longer, whatever its factor.
_LONGER = 2
#: Half-hours beside a quiet or a busy one that are as quiet or as busy: a day's course moves.
_MARGIN = 2
_FEWEST_DAYS = 6
#: How many times as long as ever at an hour a series must rest to rest too long there.
_LONGER_AT = 1.5
#: Readings with one a day before from which on their distances are known, and the quantiles that
#: are rare of these and of distances from what is usual.
_FEWEST_PAIRS = 200
#: A series wanders where it is so many times as far from a day ago as from the reading before.
_WANDERS = 2.5
_RARELY_APART = 0.99
_RARELY_OFF = 0.9
#: Of the times within an hour, below which no slope is told.
_SMALLEST_VARIANCE = 1e-6
_HALF_HOUR = 1_800_000_000
_DAY = 86_400_000_000


def learn_days(times: Ints, values: Floats, columns: Floats, own: Floats) -> None:
    """Learn how far readings are from those of a day ago, and what is usual at each hour."""
    from anomaly_platform.ml.series_runs.hour_kernels import centre_hours, lay_lines
    from anomaly_platform.ml.series_runs.learning_kernels import compare_days, sort_by_hour

    told, counts = np.empty((4, values.size)), np.empty(4, dtype=np.int64)
    compare_days(values, columns, told, counts)
    if counts[0] < _FEWEST_PAIRS:
        return
    apart, steps, typical, levels = (row[:n] for row, n in zip(told, counts.tolist(), strict=True))
    for numbers in (apart, steps, typical, levels):
        numbers.sort()
    rarely = quantile_of_sorted(apart, _RARELY_APART)
    if rarely > _WANDERS * quantile_of_sorted(steps, _RARELY_APART):
        return  # It wanders: a day ago says little of today.
    own[RARELY_APART] = rarely
    own[TYPICALLY_APART] = quantile_of_sorted(typical, _RARELY_OFF) if typical.size else np.inf
    t, v, off, centred = (np.empty(k * times.size) for k in (1, 1, 1, 2))
    lines, variances = np.zeros((24, 2)), np.zeros(24)
    offsets = np.empty(25, dtype=np.int64)
    sort_by_hour(times, values, t, v, offsets)
    centre_hours(t, v, offsets, centred, variances)
    for k in np.flatnonzero(variances > _SMALLEST_VARIANCE).tolist():
        begin, end = 2 * offsets[k], 2 * offsets[k + 1]
        both = centred[begin:end].reshape(2, -1)
        # The library's product, not a loop's: what it rounds depends on the processor.
        lines[k, 1] = np.dot(both, both.T)[0, 1] * (2.0 / (end - begin)) / variances[k]
    lay_lines(t, v, offsets, lines, off)
    own[USUAL : USUAL + 48] = lines.ravel()
    off.sort()
    own[RARELY_OFF] = quantile_of_sorted(off, _RARELY_OFF)
    if levels.size:
        own[USUAL_LEVEL] = usual = median_of_sorted(levels)
        farthest = max(usual - levels.item(0), levels.item(-1) - usual)
        own[RARELY_MOVED] = max(farthest, own[RARELY_OFF])


def learn_phases(
    times: Ints, values: Floats, lengths: Floats | None, rest: float, own: Floats
) -> None:
    """Learn at which half-hours of a day a series never, and always, rests, and for how long."""
    day = times // _DAY
    days = np.unique(day)
    if days.size < _FEWEST_DAYS:
        return
    seen = np.zeros((2, days.size, PHASES), dtype=np.bool_)
    at = (np.searchsorted(days, day), (times // _HALF_HOUR) % PHASES)
    away = values != rest
    seen[0][at[0][away], at[1][away]] = True
    seen[1][at[0][~away], at[1][~away]] = True
    own[REST], own[DAYS] = rest, days.size
    for kind, (mask, worth) in enumerate(((QUIET, QUIET_WORTH), (BUSY, BUSY_WORTH))):
        happened, known = seen[kind], seen[0] | seen[1]
        own[mask] = float(sum(1 << int(k) for k in np.flatnonzero(_never(happened, known))))
        own[worth] = _worth(happened, known)
    own[AGES : AGES + PHASES] = math.inf
    if lengths is None:
        return
    ages = np.zeros((days.size, PHASES))
    np.maximum.at(ages, (at[0][~away], at[1][~away]), lengths[~away])
    known = seen[0] | seen[1]
    own[AGES : AGES + PHASES] = np.where(known.any(axis=0), _too_old(ages), math.inf)
    own[AGE_WORTH] = _worth_of_ages(ages, known)


def learn_counting(times: Ints, columns: Floats, own: Floats) -> None:
    """Learn at which half-hours of a day a counter never counts, and for how long it rests.

    What it counted over a gap says nothing of an hour. That it always counts at an hour is left to
    the lengths of its rests: one reading without a count is ordinary.
    """
    beside = columns[ELAPSED] <= BESIDE * own[SPACING]
    counted = (columns[STEP] > 0.0).astype(np.float64)
    learn_phases(times[beside], counted[beside], columns[LENGTH][beside], 0.0, own)
    own[BUSY] = 0.0


def _never(happened: Bools, known: Bools) -> Bools:
    """Return (phases,) where, and close to where, what is seen on (days, phases) never was.

    Hourly readings leave every second half-hour out: one without readings is as those beside it.
    """
    told = known.any(axis=0)
    told |= np.roll(told, 1) & np.roll(told, -1)
    some = happened.any(axis=0) | ~told
    around = [np.roll(some, k) for k in range(-_MARGIN, _MARGIN + 1)]
    return np.asarray(~np.any(around, axis=0))


def _too_old(ages: Floats) -> Floats:
    """Return (phases,) the readings at rest that are too many at and around each half-hour."""
    most = ages.max(axis=0)
    around = np.max([np.roll(most, k) for k in range(-_MARGIN, _MARGIN + 1)], axis=0)
    return np.asarray(_LONGER_AT * around + _LONGER)


def _worth_of_ages(ages: Floats, known: Bools) -> float:
    """Return the same as `_worth` of how long a series rested, (days, phases)."""
    half = ages.shape[0] // 2
    halves = ((slice(half), slice(half, None)), (slice(half, None), slice(half)))
    wrong = sum(int((ages[b] > _too_old(ages[a])).sum()) for a, b in halves)
    return math.log((known.sum() + 1.0) / (wrong + 1.0))


def _worth(happened: Bools, known: Bools) -> float:
    """Return minus the logarithm of how often a half of the days was wrong about the other."""
    half = happened.shape[0] // 2
    wrong = told = 0
    for one, other in ((slice(half), slice(half, None)), (slice(half, None), slice(half))):
        quiet = _never(happened[one], known[one])
        wrong += int(happened[other][:, quiet].sum())
        told += int(known[other][:, quiet].sum())
    return math.log((told + 1.0) / (wrong + 1.0))
