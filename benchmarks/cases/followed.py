"""Changes that are followed late: what each costs on the days after it, and what is found then.

A chapter of ``docs/measured/simulated.md`` (`simulated.py`): single series, learned from before a
change and judged after it, with the settings that `anomaly backtest` has by default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from tqdm import tqdm

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.backtest.series import train_test

TRAIN_DAYS, TEST_DAYS = 28, 21
SEEDS = (0, 1, 2)
EVERY, SIZE = 97, 8.0
#: First and last day, after the change, of each span that is told apart.
SPANS = ((0, 1), (1, 5), (5, 19))
CHANGE_DAY = 2

CHAPTER = """## Followed late

Single series, {train} days to learn from and {test} judged; on the third of these the series
changes. Every {every}th reading is off by {size:g} times the noise of that time, up and down in
turns. *False*: the share of the other readings that is flagged, without the hour after each, on the
first day after the change, on the next four, and later; *found*: the share of those off, on all
days. *Learned again*: from there on a model judges that knows these days alone, without the
readings off. Three seeds, α = 0.01.

| change | minutes | noise | first day | four days | later | found |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |"""

#: Makes (rows,) readings without noise, and how rough each is, of days since the first judged one
#: and days since the change.
Course = Callable[[Floats, Floats], tuple[Floats, Floats | float]]


@dataclass(frozen=True)
class Late:
    """One change.

    Attributes
    ----------
    course
        The series.
    minutes
        Between two readings.
    noises
        Standard deviations of the noise before the change.
    again
        Days after the change from which alone, without the readings off, another model learns, as a
        training for drift does; it judges what follows. 0 where there is none.
    """

    course: Course
    minutes: int = 5
    noises: tuple[float, ...] = (1.0, 0.3)
    again: int = 0


def _sine(day: Floats) -> Floats:
    return np.asarray(50.0 + 5.0 * np.sin(2.0 * np.pi * day))


def _work(day: Floats) -> Floats:
    """Return a load that people make from nine to five, on five days of seven."""
    hour = day % 1.0 * 24.0
    return np.asarray(np.where((hour >= 9.0) & (hour < 17.0) & (day % 7.0 < 5.0), 60.0, 50.0))


def _weekdays(day: Floats, swing: Floats) -> Floats:
    """Return a daily course on five days of seven."""
    return np.asarray(50.0 + swing * np.sin(2.0 * np.pi * day) * (day % 7.0 < 5.0))


def _between(since: Floats, begin: float, end: float) -> Floats:
    return np.asarray((since >= begin) & (since < end), dtype=np.float64)


def _quieter(day: Floats, since: Floats) -> tuple[Floats, Floats]:
    return _sine(day), np.where(since < 0.0, 1.0, 1.0 / 3.0)


def _wider(day: Floats, since: Floats) -> tuple[Floats, float]:
    return _weekdays(day, np.where(since < 0.0, 5.0, 7.5)), 1.0


CHANGES: dict[str, Late] = {
    "none": Late(lambda day, _: (_sine(day), 1.0)),
    "noise a third": Late(_quieter),
    "noise a third, learned again after three days": Late(_quieter, again=3),
    "noise as in training after two days of a third": Late(
        lambda day, since: (_sine(day), 1.0 - _between(since, -2.0, 0.0) * 2.0 / 3.0)
    ),
    "the clock an hour back": Late(
        lambda day, since: (_sine(day + (since >= 0.0) / 24.0), 1.0), noises=(1.0, 0.3, 0.05)
    ),
    "the clock an hour back, working hours": Late(
        lambda day, since: (_work(day + (since >= 0.0) / 24.0), 1.0)
    ),
    "rises by 0.1 noises a day": Late(lambda day, since: _rising(day, since, 0.1), 60, (1.0,)),
    "rises by 0.25 noises a day": Late(lambda day, since: _rising(day, since, 0.25), 60, (1.0,)),
    "swing half as wide again": Late(
        lambda day, since: (50.0 + (_sine(day) - 50.0) * np.where(since < 0.0, 1.0, 1.5), 1.0)
    ),
    "swing half as wide again, quiet weekends": Late(_wider),
    "swing half as wide again, quiet weekends, learned again after three days": Late(
        _wider, again=3
    ),
    "3 higher two days before, and back for three hours": Late(
        lambda day, since: (
            _sine(day) + 3.0 * ((since >= -1.9) - _between(since, -0.125, 0.0)),
            1.0,
        )
    ),
}


def _rising(day: Floats, since: Floats, noises: float) -> tuple[Floats, float]:
    return _sine(day) + noises * np.maximum(since, 0.0), 1.0


def judged(one: Late, noise: float, seed: int) -> tuple[list[float], float]:
    """Return the share of false alarms in each span, and that of readings off that were found."""
    per_day = 1440 // one.minutes
    day = np.arange((TRAIN_DAYS + TEST_DAYS) * per_day) / per_day
    since = day - TRAIN_DAYS - CHANGE_DAY
    smooth, rough = one.course(day, since)
    rough = noise * np.broadcast_to(rough, day.shape)
    values = smooth + rough * np.random.default_rng(seed).standard_normal(day.size)
    cut = TRAIN_DAYS * per_day
    off = np.arange(cut + CHANGE_DAY * per_day + 50, values.size - 12, EVERY)
    values[off] += SIZE * rough[off] * np.where(np.arange(off.size) % 2, -1.0, 1.0)
    begin = datetime(2026, 1, 5)  # noqa: DTZ001  (as most files have it)
    times = [begin + timedelta(minutes=one.minutes * n) for n in range(values.size)]
    frame = pl.DataFrame({"time": times, "value": values})
    flags = train_test(frame[:cut], frame[cut:], time_column="time").is_anomaly
    if one.again:
        first, end = (cut + (CHANGE_DAY + days) * per_day for days in (0, one.again))
        known = pl.Series("value", np.where(np.isin(np.arange(values.size), off), np.nan, values))
        later = train_test(
            frame.with_columns(known)[first:end], frame[end:], time_column="time"
        ).is_anomaly
        flags = np.concatenate((flags[: end - cut], later))
    ordinary = np.ones(flags.size, dtype=np.bool_)
    for row in off - cut:
        ordinary[row : row + 1 + max(60 // one.minutes, 1)] = False
    shares = []
    for first, last in SPANS:
        span = slice((CHANGE_DAY + first) * per_day, (CHANGE_DAY + last) * per_day)
        shares.append(float(flags[span][ordinary[span]].mean()))
    return shares, float(flags[off - cut].mean())


def followed_section() -> str:
    """Return the chapter."""
    lines = [CHAPTER.format(train=TRAIN_DAYS, test=TEST_DAYS, every=EVERY, size=SIZE)]
    for change, one in tqdm(CHANGES.items(), desc="followed late"):
        for noise in one.noises:
            false, found = zip(*(judged(one, noise, seed) for seed in SEEDS), strict=True)
            cells = " | ".join(f"{share:.1%}" for share in np.mean(false, axis=0))
            lines.append(
                f"| {change} | {one.minutes} | {noise:g} | {cells} | {np.mean(found):.0%} |"
            )
    return "\n".join(lines) + "\n"
