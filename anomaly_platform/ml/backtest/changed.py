"""What no longer is as it was learned, in words: series that stay unusual, and clocks that moved.

What scoring does not follow is said, so that nobody takes an old model's verdicts for news. A
series whose readings are flagged on most of the last days has changed, or is out of order for days.
One whose daily course comes earlier or later than in training tells of a clock that was set, as by
daylight saving: learned again, it is ordinary. How its days compare with those of training says
`ml.drift.days`, here as in the platform.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.backtest.series import Backtest, feature_set_for
from anomaly_platform.ml.drift.days import (
    FEWEST_DAYS,
    LAST_DAYS,
    UsualDays,
    told,
)
from anomaly_platform.ml.features.metrics.batch import microseconds

#: A day is unusual where so many times the promised share of its readings is flagged. A series is
#: where half of its last days are, and `FEWEST_DAYS` at least.
_UNUSUAL = 5.0
#: A day has at least so many readings.
_FEWEST_READINGS = 20
#: Parts of a day at most, and by how many minutes a course may have moved.
_PARTS, _FURTHEST = 96, 180
#: A course has moved where it fits so well, and leaves so small a part of what does not fit else.
_FITS, _LEFT = 0.9, 0.5
_DAY = 86_400_000_000
_MINUTES = 1440


def changed(
    train: pl.DataFrame, test: pl.DataFrame, result: Backtest, *, time_column: str, alpha: float
) -> dict[str, list[str]]:
    """Return what there is to say of each metric that no longer is as it was learned.

    Parameters
    ----------
    train, test, time_column
        As `series.train_test` took them.
    result
        What it returned.
    alpha
        Share of ordinary readings that is flagged.
    """
    frames = [frame.sort(time_column) for frame in (train, test)]
    known_times, times = (microseconds(frame[time_column]) for frame in frames)
    frequency = round(feature_set_for(frames[0][time_column]).frequency.total_seconds() * 1e6)
    judged = microseconds(result.times)
    said = {}
    for name, scores in result.metric_scores.items():
        known, values = (
            frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for frame in frames
        )
        flags = np.where(np.isnan(scores), np.nan, scores >= result.threshold)
        found = (
            clock_moved(known_times, known, times, values, frequency),
            stays_unusual(judged, flags, alpha),
        )
        days = told(UsualDays.fit(known_times, known).compare(times, values))
        said[name] = [one for one in found if one is not None]
        if days is not None:
            said[name].append(f"{days.words}; learn again from newer rows")
    return {name: sentences for name, sentences in said.items() if sentences}


def stays_unusual(times: Ints, flags: Floats, alpha: float) -> str | None:
    """Say that a series is unusual on most of the last days, None where it is not.

    Parameters
    ----------
    times
        (n,) microseconds since 1970, ascending.
    flags
        (n,) 1 where a reading is an anomaly, 0 where it is none, NaN where it has no score.
    alpha
        Share of ordinary readings that is flagged.
    """
    judged = np.isfinite(flags)
    days, place, counts = np.unique(times[judged] // _DAY, return_inverse=True, return_counts=True)
    shares = np.bincount(place, weights=flags[judged], minlength=days.size) / np.maximum(counts, 1)
    whole = counts >= _FEWEST_READINGS
    days, shares = days[whole][-LAST_DAYS:], shares[whole][-LAST_DAYS:]
    unusual = shares > _UNUSUAL * alpha
    if unusual.sum() < max(FEWEST_DAYS, days.size / 2.0):
        return None
    since = datetime.fromtimestamp(int(days[unusual][0]) * 86_400, UTC)
    return (
        f"{shares[unusual].mean():.0%} of its readings are flagged on {unusual.sum()} of the last "
        f"{days.size} days, since {since:%Y-%m-%d} or before: unless it is out of order, it has "
        "changed for good; learn again from newer rows"
    )


def clock_moved(
    known_times: Ints, known: Floats, times: Ints, values: Floats, frequency: int
) -> str | None:
    """Say by how much the course of the last days lies beside that of training, None for not.

    Parameters
    ----------
    known_times, known
        (n,) microseconds since 1970 and readings of training.
    times, values
        (m,) of what was scored.
    frequency
        Usual microseconds between two readings.
    """
    parts = min(_PARTS, _DAY // max(frequency, 1))
    if parts < 24 or times.size == 0 or known.size == 0:
        return None
    recent = times > times[-1] - LAST_DAYS * _DAY
    halves = (known_times // _DAY) % 2 == 1
    courses = [
        _course(known_times, known, parts),
        _course(times[recent], values[recent], parts),
        _course(known_times[halves], known[halves], parts),
        _course(known_times[~halves], known[~halves], parts),
    ]
    known_courses = [one for one in courses if one is not None]
    if len(known_courses) < len(courses):
        return None
    usual, now, odd, even = known_courses
    furthest = _FURTHEST * parts // _MINUTES
    moves = np.arange(-furthest, furthest + 1)
    fits = np.array([_fit(usual, np.roll(now, move)) for move in moves])
    best, unmoved, itself = float(fits.max()), float(fits[furthest]), _fit(odd, even)
    left = 1.0 - min(best, itself)
    minutes = int(moves[fits.argmax()]) * _MINUTES // parts
    if min(best, itself) < _FITS or abs(minutes) < 30 or left > _LEFT * (1.0 - unmoved):
        return None
    way = "earlier" if minutes > 0 else "later"
    return (
        f"its daily course comes {abs(minutes)} minutes {way} than in training, as after a clock "
        "was set: learn again from newer rows"
    )


def _course(times: Ints, values: Floats, parts: int) -> Floats | None:
    """Return the mean of each part of a day, None unless all are known from three days or more."""
    finite = np.isfinite(values)
    times, values = times[finite], values[finite]
    place = times % _DAY * parts // _DAY
    counts = np.bincount(place, minlength=parts)
    if np.unique(times // _DAY).size < FEWEST_DAYS or counts.min() < 1:
        return None
    return np.asarray(np.bincount(place, weights=values, minlength=parts) / counts)


def _fit(one: Floats, other: Floats) -> float:
    """Return the correlation of two courses, 0 where one is flat."""
    if not min(one.std(), other.std()) > 0.0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
