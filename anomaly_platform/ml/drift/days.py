"""What no longer is as in training although scoring does not follow it, told by whole days.

Units of scoring follow a noise that has become less only in part: anomalies that are small beside
the noise of training may be missed. A swing that has grown is accepted after a day, but not where
flat days lie between: on a Monday the last day says nothing of it. Both show in two numbers of a
day: how noisy it is, and how far apart its readings lie. What follows from it is decided elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.drift.distances import MINIMUM_ROWS
from anomaly_platform.ml.order_statistics import median, quantile_of_sorted

Kind = Literal["quieter", "wider"]

#: So many judged days are looked at together, …
LAST_DAYS = 7
#: … and a change on so many of them is told.
FEWEST_DAYS = 3
#: A whole day has at least so many readings, as many as values and scores are judged by, …
FEWEST_READINGS = MINIMUM_ROWS
#: … over this share of it.
_SPAN = 0.9
#: So many whole days training has to know.
_KNOWN_DAYS = 7
#: Days whose intervals differ by more than this factor are not compared.
_INTERVAL = 1.25
#: A day's swing lies between these quantiles of its readings.
_LOW, _HIGH = 0.1, 0.9
#: A day is quieter below this part of the quietest day's noise, …
_QUIETER = 0.6
#: … and by more than so many steps of what readings are rounded to, …
_RESOLVED = 1.5
#: … and wider beyond so many times the widest day's swing, …
_WIDER = 1.25
#: … where training has days with at most this part of that swing.
_FLAT = 0.5
_DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class DayChange:
    """How a day compares with those of training.

    Attributes
    ----------
    kind
        What has changed, None for nothing; a day that is both is wider, which flags more.
    noise
        Its noise over that of the quietest day in training; NaN where either is not known, or where
        it is less by no more than rounding.
    swing
        Its swing over that of the widest day.
    """

    kind: Kind | None = None
    noise: float = math.nan
    swing: float = math.nan

    @property
    def is_known(self) -> bool:
        """Whether there was anything to compare with."""
        return not (math.isnan(self.noise) and math.isnan(self.swing))

    @property
    def is_quieter(self) -> bool:
        """Whether its noise has become less, whatever else it is."""
        return self.kind is not None and 0.0 < self.noise < _QUIETER


@dataclass(frozen=True, slots=True)
class LastDays:
    """What has changed on several of the last days.

    Attributes
    ----------
    is_quieter, is_wider
        What it is, one or both.
    words
        That in one text, which begins with "its".
    """

    is_quieter: bool
    is_wider: bool
    words: str


@dataclass(frozen=True, slots=True)
class WholeDay:
    """What one day of a series is like.

    Attributes
    ----------
    noise
        Median size by which one step differs from the next, so that a steady course counts for
        nothing; 0 where the series mostly rests.
    swing
        Between two far quantiles of its readings.
    interval
        Median microseconds between two readings.
    resolution
        Smallest distance between two different readings, 0 without any.
    """

    noise: float
    swing: float
    interval: float
    resolution: float


@dataclass(frozen=True, slots=True)
class UsualDays:
    """Between what the days of a training part lay; NaN where that is not known.

    Attributes
    ----------
    least_noise
        Of the quietest day on which the series moved.
    least_swing, widest_swing
        Of the flattest and the widest day.
    interval
        Of a usual day; days with another one are not compared.
    """

    least_noise: float = math.nan
    least_swing: float = math.nan
    widest_swing: float = math.nan
    interval: float = math.nan

    @classmethod
    def fit(cls, times: Ints, values: Floats) -> UsualDays:
        """Learn from a training part; parameters as in `whole_days`."""
        # Most of what is trained in a first week has too few days: they are not looked at.
        if not times.size or times[-1] // _DAY - times[0] // _DAY < _KNOWN_DAYS - 1:
            return cls()
        days = whole_days(times, values)
        if len(days) < _KNOWN_DAYS:
            return cls()
        moved = [day.noise for day in days if day.noise > 0.0]
        # One that most often rests has no noise to compare with.
        least = min(moved) if 2 * len(moved) > len(days) else math.nan
        swings = [day.swing for day in days]
        interval = median(np.array([day.interval for day in days]))
        return cls(least, min(swings), max(swings), interval)

    def to_list(self) -> list[float]:
        """Return the numbers in the order of the constructor."""
        return [self.least_noise, self.least_swing, self.widest_swing, self.interval]

    def compare(self, times: Ints, values: Floats) -> list[DayChange]:
        """Compare each whole day of some readings; parameters as in `whole_days`."""
        return [self._compared(day) for day in whole_days(times, values)]

    def _compared(self, day: WholeDay) -> DayChange:
        if not self.interval / _INTERVAL <= day.interval <= self.interval * _INTERVAL:
            return DayChange()
        quiet = day.noise / self.least_noise
        wide = day.swing / self.widest_swing if self.widest_swing > 0.0 else math.nan
        if quiet < _QUIETER and self.least_noise - day.noise <= _RESOLVED * day.resolution:
            quiet = math.nan
        kind: Kind | None = None
        if wide > _WIDER and self.least_swing <= _FLAT * self.widest_swing:
            kind = "wider"
        elif 0.0 < quiet < _QUIETER:
            kind = "quieter"
        return DayChange(kind, quiet, wide)


def told(days: Sequence[DayChange]) -> LastDays | None:
    """Say what has changed on several of the last days, None where nothing has.

    Parameters
    ----------
    days
        That were judged, in order of time; the last seven count.
    """
    last = days[-LAST_DAYS:]
    quiet = [one.noise for one in last if one.is_quieter]
    wide = [one.swing for one in last if one.kind == "wider"]
    quieter, wider = len(quiet) >= FEWEST_DAYS, len(wide) >= FEWEST_DAYS
    said = []
    if wider:
        said.append(
            f"its swing on {len(wide)} of the last {len(last)} days is "
            f"{median(np.array(wide)):.2f} times that of the widest day in training, and flat days "
            "between keep that from being followed: ordinary readings may be flagged"
        )
    if quieter:
        said.append(
            f"its noise on {len(quiet)} of the last {len(last)} days is "
            f"{median(np.array(quiet)):.2f} of that of the quietest day in training, and "
            "scoring follows this only in part: small anomalies may be missed"
        )
    return LastDays(quieter, wider, ". At the same time ".join(said)) if said else None


def whole_days(times: Ints, values: Floats) -> list[WholeDay]:
    """Return what each whole UTC day is like.

    Parameters
    ----------
    times
        (n,) microseconds since 1970, ascending.
    values
        (n,) readings, NaN where there is none.
    """
    present = np.isfinite(values)
    times, values = times[present], values[present]
    begins = np.unique(times // _DAY, return_index=True)[1][1:]
    return [
        _whole_day(clock, own)
        for clock, own in zip(np.split(times, begins), np.split(values, begins), strict=True)
        if own.size >= FEWEST_READINGS and clock[-1] - clock[0] >= _SPAN * _DAY
    ]


def _whole_day(times: Ints, values: Floats) -> WholeDay:
    ordered = np.sort(values)
    # Steps between readings near the largest float are infinite, and their differences no number.
    with np.errstate(over="ignore", invalid="ignore"):
        swing = quantile_of_sorted(ordered, _HIGH) - quantile_of_sorted(ordered, _LOW)
        steps = np.diff(values)
        apart = np.diff(ordered)
        noise = median(np.abs(np.diff(steps))) if median(np.abs(steps)) > 0.0 else 0.0
    resolution = float(apart.min(initial=math.inf, where=apart > 0.0))
    interval = median(np.diff(times).astype(np.float64))
    return WholeDay(noise, swing, interval, resolution if math.isfinite(resolution) else 0.0)
