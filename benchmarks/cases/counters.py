"""Counters after an event: what is flagged once they count on as before.

A chapter of ``docs/measured/simulated.md`` (`simulated.py`): single meters and counters, learned
from before an event and judged after it, with the settings that `anomaly backtest` has by default.
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

SEEDS = tuple(range(4))
TRAIN_DAYS, TEST_DAYS, EVENT_DAY = 28, 14, 3
MINUTES = (5, 15, 30, 60)

CHAPTER = """## Counters after an event

Single series, {train} days to learn from and {test} judged, α = 0.01, {seeds} seeds; one event
begins on the fourth day and ends where it counts again. *Found*: a row of the event is flagged.
*Two days*, *later*: the share of the rows that is flagged within two days of its end, and later.
*Return*: how often the row after a single reading far off is flagged as well. *None* is what is
flagged without an event.

| series | event | minutes | found | two days | later | return |
| --- | --- | ---: | ---: | ---: | ---: | ---: |"""

Random = np.random.Generator
#: Makes (rows,) what is counted between two readings, of so many days, so many a day.
Counted = Callable[[Random, int, int], Floats]


def _meter(rng: Random, days: int, per_day: int) -> Floats:
    """Return what a household uses: nothing at night, and often nothing by day."""
    hour = np.arange(days * per_day) % per_day / per_day * 24.0
    used = ((hour >= 6.0) & (hour < 9.0)) | ((hour >= 17.0) & (hour < 22.0))
    used &= rng.random(hour.size) < 1.0 - 0.5 ** (288 / per_day)
    return np.asarray(np.where(used, rng.integers(1, 12, hour.size), 0), dtype=np.float64)


def _requests(rng: Random, days: int, per_day: int) -> Floats:
    day = np.arange(days * per_day) / per_day
    rate = 864_000.0 / per_day * (1.2 + np.sin(2.0 * np.pi * day))
    return rng.poisson(rate).astype(np.float64)


def _energy(rng: Random, days: int, per_day: int) -> Floats:
    """Return what is always drawn, more by day and less at weekends."""
    day = np.arange(days * per_day) / per_day
    busy = (day % 1.0 > 0.3) & (day % 1.0 < 0.75) & (day % 7.0 < 5.0)
    return np.asarray((24.0 / per_day * rng.gamma(20.0, np.where(busy, 0.5, 0.1))).round(3))


@dataclass(frozen=True)
class Stop:
    """A meter stands still from an hour of the day on, for so many hours."""

    hour: float
    hours: float

    def applied(self, counted: Floats, at: int, per_day: int) -> tuple[Floats, int]:
        """Return the readings, and after how many rows from row `at` on it counts again."""
        rows = round(self.hours / 24.0 * per_day)
        counted = counted.copy()
        counted[at : at + rows] = 0.0
        return np.cumsum(counted), int(np.argmax(counted[at:] > 0.0)) if rows else 0


@dataclass(frozen=True)
class Glitch:
    """A single reading is far off, above the total or below it."""

    hour: float
    factor: float

    def applied(self, counted: Floats, at: int, per_day: int) -> tuple[Floats, int]:  # noqa: ARG002
        """Return the readings, and how many rows from row `at` on the event takes."""
        values = 1000.0 + np.cumsum(counted)
        values[at] = np.round(values[at] * self.factor)
        return values, 1


SERIES: dict[str, Counted] = {
    "a water meter": _meter,
    "a counter of requests": _requests,
    "an energy meter": _energy,
}
EVENTS: dict[str, Stop | Glitch] = {
    "none": Stop(9.0, 0.0),
    "stands still for six hours": Stop(17.0, 6.0),
    "stands still for 36 hours": Stop(3.0, 36.0),
    "one reading ten times as high": Glitch(12.0, 10.0),
    "one reading of 0": Glitch(18.0, 0.0),
}


def judged(
    counted: Counted, event: Stop | Glitch, minutes: int, seed: int
) -> tuple[bool, float, float, bool]:
    """Return whether it was found, the shares flagged afterwards, and whether the return was."""
    per_day = 1440 // minutes
    one = counted(np.random.default_rng(seed), TRAIN_DAYS + TEST_DAYS, per_day)
    cut = TRAIN_DAYS * per_day
    at = cut + EVENT_DAY * per_day + round(event.hour / 24.0 * per_day)
    values, rows = event.applied(one, at, per_day)
    begin = datetime(2026, 1, 5)  # noqa: DTZ001  (as most files have it)
    times = [begin + timedelta(minutes=minutes * n) for n in range(values.size)]
    frame = pl.DataFrame({"time": times, "value": values})
    flags = train_test(frame[:cut], frame[cut:], time_column="time").is_anomaly
    first, end = at - cut, at - cut + rows
    returned = isinstance(event, Glitch) and bool(flags[end])
    after = end + isinstance(event, Glitch)
    soon = flags[after : after + 2 * per_day]
    later = flags[after + 2 * per_day :]
    return bool(flags[first:end].any()), float(soon.mean()), float(later.mean()), returned


def counters_section() -> str:
    """Return the chapter."""
    lines = [CHAPTER.format(train=TRAIN_DAYS, test=TEST_DAYS, seeds=len(SEEDS))]
    for what, counted in tqdm(SERIES.items(), desc="counters"):
        for event, one in EVENTS.items():
            for minutes in MINUTES:
                found, soon, later, back = zip(
                    *(judged(counted, one, minutes, seed) for seed in SEEDS), strict=True
                )
                told = "–" if event == "none" else f"{sum(found)} of {len(SEEDS)}"
                returned = f"{sum(back)} of {len(SEEDS)}" if isinstance(one, Glitch) else "–"
                lines.append(
                    f"| {what} | {event} | {minutes} | {told} | {np.mean(soon):.1%} | "
                    f"{np.mean(later):.1%} | {returned} |"
                )
    return "\n".join(lines) + "\n"
