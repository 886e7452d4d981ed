"""What no longer is as in training although scoring does not follow it, told by whole days.

Units of scoring shrink with a series' noise in part. So of one that has become quieter, what stands
out of the new noise may be missed. A swing that has grown
is accepted after a day, but not where flat days lie between: on a Monday the last day says nothing
of it. Both show in two numbers of a day: the median size of its steps, and how far apart its
readings lie. What follows from it is decided elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.order_statistics import median, median_of_sorted, quantile_of_sorted

Kind = Literal["quieter", "wider"]

#: So many days are looked at together, and a change on so many of them is told.
LAST_DAYS, FEWEST_DAYS = 7, 3
#: A whole day has so many readings, over this share of it; training knows a week of them or says
#: nothing.
FEWEST_READINGS, _SPAN, _KNOWN_DAYS = 20, 0.9, 7
#: A day's swing lies between these quantiles of its readings.
_LOW, _HIGH = 0.1, 0.9
#: A day is quieter below this part of the quietest day's noise, …
_QUIETER = 0.6
#: … and wider beyond so many times the widest day's swing, where training has days with at most
#: this part of that swing.
_WIDER, _FLAT = 1.25, 0.5
_DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class DayChange:
    """How a day compares with those of training.

    Attributes
    ----------
    kind
        What has changed, None for nothing.
    noise
        Its noise over that of the quietest day in training; NaN where either is not known.
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


@dataclass(frozen=True, slots=True)
class UsualDays:
    """Between what the days of a training part lay; NaN where that is not known.

    Attributes
    ----------
    least_noise
        Of the quietest day on which the series moved.
    least_swing, widest_swing
        Of the flattest and the widest day.
    """

    least_noise: float = math.nan
    least_swing: float = math.nan
    widest_swing: float = math.nan

    @classmethod
    def fit(cls, times: Ints, values: Floats) -> UsualDays:
        """Learn from a training part; parameters as in `whole_days`."""
        noise, swing = whole_days(times, values)
        if noise.size < _KNOWN_DAYS:
            return cls()
        moved = noise[noise > 0.0]
        # One that most often rests has no noise to compare with.
        least = float(moved.min()) if 2 * moved.size > noise.size else math.nan
        return cls(least, float(swing.min()), float(swing.max()))

    def to_list(self) -> list[float]:
        """Return the numbers in the order of the constructor."""
        return [self.least_noise, self.least_swing, self.widest_swing]

    def compare(self, times: Ints, values: Floats) -> list[DayChange]:
        """Compare each whole day of some readings; parameters as in `whole_days`."""
        noise, swing = whole_days(times, values)
        return [self._compared(*day) for day in zip(noise.tolist(), swing.tolist(), strict=True)]

    def _compared(self, noise: float, swing: float) -> DayChange:
        quiet = noise / self.least_noise
        wide = swing / self.widest_swing if self.widest_swing > 0.0 else math.nan
        kind: Kind | None = None
        if 0.0 < quiet < _QUIETER:
            kind = "quieter"
        elif wide > _WIDER and self.least_swing <= _FLAT * self.widest_swing:
            kind = "wider"
        return DayChange(kind, quiet, wide)


def told(days: Sequence[DayChange]) -> list[str]:
    """Say what has changed on several of the last days, as sentences that begin with "its".

    Parameters
    ----------
    days
        In order of time; the last seven count.
    """
    last = days[-LAST_DAYS:]
    quiet = [one.noise for one in last if one.kind == "quieter"]
    wide = [one.swing for one in last if one.kind == "wider"]
    said = []
    if len(quiet) >= FEWEST_DAYS:
        said.append(
            f"its noise on {len(quiet)} of the last {len(last)} days is "
            f"{median(np.array(quiet)):.2f} of that of the quietest day in training, and units "
            "follow it in part: what stands out of the new noise may be missed"
        )
    if len(wide) >= FEWEST_DAYS:
        said.append(
            f"its swing on {len(wide)} of the last {len(last)} days is "
            f"{median(np.array(wide)):.2f} times that of the widest day in training, and flat days "
            "between keep that from being followed: ordinary readings may be flagged"
        )
    return said


def whole_days(times: Ints, values: Floats) -> tuple[Floats, Floats]:
    """Return the noise and the swing of each whole UTC day.

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
    found = []
    for clock, own in zip(np.split(times, begins), np.split(values, begins), strict=True):
        if own.size < FEWEST_READINGS or clock[-1] - clock[0] < _SPAN * _DAY:
            continue
        ordered = np.sort(own)
        swing = quantile_of_sorted(ordered, _HIGH) - quantile_of_sorted(ordered, _LOW)
        steps = np.sort(np.abs(np.diff(own)))
        found.append((median_of_sorted(steps), swing))
    noise, swings = np.array(found, dtype=np.float64).reshape(-1, 2).T
    return noise, swings
