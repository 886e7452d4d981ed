"""Simulated events that a person sees at a glance, and whether they are found for what they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from tqdm import tqdm

from anomaly_platform.ml.arrays import Bools, Floats
from anomaly_platform.ml.backtest.series import train_test

SEEDS = tuple(range(8))
TRAIN_DAYS, TEST_DAYS = 28, 14
#: The event lies on the fourth day after training; rows from its beginning to half a day after its
#: end are not counted as ordinary.
EVENT_DAY, AFTER_DAYS = 3, 0.5

CHAPTER = """## Seen at a glance

Single series, {train} days to learn from and {test} judged, α = 0.01, {seeds} seeds; one event on
the fourth day. *Found*: a flagged row of the event has a reason of its own kind. *False*: the share
of the other rows that is flagged, and the share that has such a reason.

| event | minutes | found | false | with such a reason |
| --- | ---: | ---: | ---: | ---: |"""

Random = np.random.Generator
#: Makes (rows,) ordinary readings of so many days, so many a day.
Series = Callable[[Random, int, int], Floats]
#: Changes readings in place from a row on, and returns how many rows it lasts.
Event = Callable[[Random, Floats, int, int], int]


@dataclass(frozen=True)
class Glance:
    """One kind of event.

    Attributes
    ----------
    series, event
        The ordinary, and what becomes of it.
    hour
        Of the day at which the event begins.
    words
        One of these is in its reason.
    minutes
        Between two readings.
    changes
        Whether readings come only when the value changes.
    """

    series: Series
    event: Event
    hour: float
    words: tuple[str, ...]
    minutes: int = 5
    changes: bool = False


def _sensor(rng: Random, days: int, per_day: int) -> Floats:
    day = np.arange(days * per_day) / per_day
    wave = 21.0 + 3.0 * np.sin(2.0 * np.pi * day)
    return np.asarray((wave + rng.normal(0.0, 0.1, day.size)).round(1))


def _wandering(rng: Random, days: int, per_day: int) -> Floats:
    steps = rng.normal(0.0, 0.05, days * per_day)
    level = np.empty(steps.size)
    level[0] = 0.0
    for n in range(1, steps.size):
        level[n] = 0.999 * level[n - 1] + steps[n]
    return np.asarray((50.0 + level + rng.normal(0.0, 0.05, level.size)).round(2))


def _flow(rng: Random, days: int, per_day: int) -> Floats:
    """Return a flow that is 0 at night and now and then by day."""
    hour = np.arange(days * per_day) % per_day / per_day * 24.0
    used = (hour > 6.0) & (hour < 22.0) & (rng.random(hour.size) < 0.6)
    return np.asarray(np.where(used, rng.gamma(3.0, 4.0, hour.size), 0.0).round(1))


def _door(rng: Random, days: int, per_day: int) -> Floats:
    values = np.zeros(days * per_day)
    longest = max(2, per_day // 57)
    for day in range(days):
        for at in rng.integers(per_day // 3, 3 * per_day // 4, 10):
            start = day * per_day + at
            values[start : start + rng.integers(1, longest + 1)] = 1.0
    return values


def _pump(rng: Random, days: int, per_day: int) -> Floats:
    values: list[float] = []
    state = 0.0
    while len(values) < days * per_day:
        minutes = rng.normal(27.0, 6.0) if state else rng.normal(54.0, 12.0)
        values += [state] * max(2, round(minutes * per_day / 1440))
        state = 1.0 - state
    return np.array(values[: days * per_day])


def _counter(rng: Random, days: int, per_day: int) -> Floats:
    day = np.arange(days * per_day) / per_day
    rate = 864_000.0 / per_day * (1.2 + np.sin(2.0 * np.pi * day))
    total = np.cumsum(rng.poisson(rate)).astype(np.float64)
    for reset in sorted(rng.integers(0, total.size, days // 7)):
        total[reset:] -= total[reset]
    return total


def _meter(rng: Random, days: int, per_day: int) -> Floats:
    """Return what a water meter has counted, which rests at night and often by day."""
    hour = np.arange(days * per_day) % per_day / per_day * 24.0
    used = ((hour > 6.0) & (hour < 9.0)) | ((hour > 17.0) & (hour < 22.0))
    used &= rng.random(hour.size) < 0.5
    return np.cumsum(np.where(used, rng.integers(1, 12, hour.size), 0)).astype(np.float64)


def _job(rng: Random, days: int, per_day: int) -> Floats:
    values = rng.normal(2.0, 0.0, days * per_day)
    for day in range(days):
        start = day * per_day + per_day // 12 + rng.integers(-1, 2)
        values[start : start + per_day // 48 + rng.integers(-1, 2)] = 40.0
    return values


def _repeat(_: Random, values: Floats, at: int, per_day: int) -> int:
    rows = per_day * 5 // 16
    values[at : at + rows] = values[at]
    return rows


def _hold(state: float, hours: float) -> Event:
    def event(_: Random, values: Floats, at: int, per_day: int) -> int:
        rows = round(hours / 24.0 * per_day)
        values[at : at + rows] = state
        return rows

    return event


def _chatter(_: Random, values: Floats, at: int, per_day: int) -> int:
    rows = max(per_day // 24, 24)
    values[at : at + rows] = np.arange(rows) // 2 % 2
    return rows


def _leak(rng: Random, values: Floats, at: int, per_day: int) -> int:
    rows = per_day // 12
    values[at : at + rows] = rng.gamma(3.0, 4.0, rows).round(1)
    return rows


def _stop(_: Random, values: Floats, at: int, per_day: int) -> int:
    rows = per_day // 12
    values[at + rows :] -= values[at + rows] - values[at - 1]
    values[at : at + rows] = values[at - 1]
    return rows


def _run_on(_: Random, values: Floats, at: int, per_day: int) -> int:
    rows = per_day // 8
    values[at:] += 6.0 * np.minimum(np.arange(1, values.size - at + 1), rows)
    return rows


def _shut(_: Random, values: Floats, at: int, per_day: int) -> int:
    rows = 3 * per_day // 2
    values[at + rows :] -= values[at + rows] - values[at]
    values[at : at + rows] = values[at]
    return rows


GLANCES: dict[str, Glance] = {
    "a sensor with a day's course repeats a value": Glance(_sensor, _repeat, 9.0, ("repeats",)),
    "a sensor without one repeats a value": Glance(_wandering, _repeat, 9.0, ("repeats",)),
    "a counter stops for two hours": Glance(_counter, _stop, 12.5, ("has not counted",)),
    "a water meter counts at night": Glance(_meter, _run_on, 1.0, ("counts at",)),
    "a water meter stands still for 36 hours": Glance(_meter, _shut, 3.0, ("has not counted",)),
    "a flow at night, always 0 there": Glance(_flow, _leak, 1.0, ("not at rest", "at 0 for")),
    "no flow by day": Glance(_flow, _hold(0.0, 6.0), 9.0, ("at 0 for", "at rest at")),
    "a door open for nine hours": Glance(_door, _hold(1.0, 9.0), 8.0, ("at 1 for", "not at rest")),
    "a door open for nine hours, events alone": Glance(
        _door, _hold(1.0, 9.0), 8.0, ("at 1 for", "not at rest"), changes=True
    ),
    "a door opened at night, events alone": Glance(
        _door, _hold(1.0, 0.25), 2.0, ("not at rest",), changes=True
    ),
    "a pump that never rests": Glance(_pump, _hold(1.0, 6.0), 6.0, ("at 1 for",), 1),
    "a pump that stays off": Glance(_pump, _hold(0.0, 8.0), 11.7, ("at 0 for",), 1),
    "a pump that chatters": Glance(_pump, _chatter, 6.7, ("8 changes",), 1),
    "a daily job stays out": Glance(_job, _hold(2.0, 4.0), 1.0, ("at 2 for", "at rest at")),
}


def judged(one: Glance, seed: int) -> tuple[bool, float, float]:
    """Return whether the event was found, and the false shares of flags and of its reasons."""
    rng, per_day = np.random.default_rng(seed), 1440 // one.minutes
    values = one.series(rng, TRAIN_DAYS + TEST_DAYS, per_day)
    cut = TRAIN_DAYS * per_day
    at = cut + EVENT_DAY * per_day + round(one.hour / 24.0 * per_day)
    rows = one.event(rng, values, at, per_day)
    begin = datetime(2026, 1, 5)  # noqa: DTZ001  (as most files have it)
    times = [begin + timedelta(minutes=one.minutes * n) for n in range(values.size)]
    frame = pl.DataFrame({"time": times, "value": values})
    told = np.ones(values.size, dtype=np.bool_)
    if one.changes:
        told[1:] = values[1:] != values[:-1]
    learned, judged = frame[:cut].filter(told[:cut]), frame[cut:].filter(told[cut:])
    result = train_test(learned, judged, time_column="time")
    reasons = result.reasons.fill_null("").to_list()
    own: Bools = np.array([any(word in reason for word in one.words) for reason in reasons])
    place = np.flatnonzero(told[cut:])
    # Of what is told only by the next reading, that reading is part.
    event = (place >= at - cut) & (place < at - cut + rows + one.changes)
    ordinary = (place < at - cut) | (place >= at - cut + rows + round(AFTER_DAYS * per_day))
    flags = result.is_anomaly
    return bool(own[event].any()), float(flags[ordinary].mean()), float(own[ordinary].mean())


def glance_section() -> str:
    """Return the chapter."""
    lines = [CHAPTER.format(train=TRAIN_DAYS, test=TEST_DAYS, seeds=len(SEEDS))]
    for what, one in tqdm(GLANCES.items(), desc="glance"):
        found, false, own = zip(*(judged(one, seed) for seed in SEEDS), strict=True)
        lines.append(
            f"| {what} | {one.minutes} | {sum(found)} of {len(SEEDS)} | {np.mean(false):.2%} | "
            f"{np.mean(own):.2%} |"
        )
    return "\n".join(lines) + "\n"
