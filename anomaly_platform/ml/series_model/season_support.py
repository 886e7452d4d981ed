"""Whether a period is borne out by a series that changes only a few times.

The odd and the even cycles of such a series correlate as soon as two of its changes come at one
time, and of a few changes some pair always lies one period apart for the period that is looked for
at that very distance. So a few changes make a period only when they come at one time in most of its
cycles, and more often than chance lets them.
"""

from __future__ import annotations

import math

import numpy as np

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.series_model.season_kernels import cycle_of, phase_of

#: Above so many changes the correlation of odd and even cycles is left to speak for itself.
FEW = 32
_LEAST_CYCLES = 3
_LEAST_SHARE = 0.5
_CHANCE = 0.01
#: Phases within which changes count as coming at one time: people are less exact than clocks.
_WIDTHS = (1, 3, 9, 27)


def is_supported(times: Ints, values: Floats, period: int, phases: int, tried: int) -> bool:
    """Return whether a series changes often enough, or regularly enough, for a period.

    Parameters
    ----------
    times
        (n,) microseconds since 1970, ascending.
    values
        (n,) of the series.
    period, phases
        Microseconds, and the phases that it is cut into.
    tried
        Among how many periods this one was looked for.
    """
    rows = np.flatnonzero(values[1:] != values[:-1])
    if rows.size > FEW:
        return True
    # A spike changes twice and is one event.
    events = times[1:][rows[np.diff(rows, prepend=-2) > 1]].tolist()
    places = [(cycle_of(time, period), phase_of(time, period, phases)) for time in events]
    cycles = int(times[-1] - times[0]) // period
    least = max(_LEAST_CYCLES, math.ceil(_LEAST_SHARE * cycles))
    for width in _WIDTHS:
        if 4 * width > phases:
            break
        most = max((_cycles_met(places, begin, width, phases) for _, begin in places), default=0)
        chance = tried * phases / width * _tail(len(places), most, width / phases)
        if most >= least and chance <= _CHANCE:
            return True
    return False


def _cycles_met(places: list[tuple[int, int]], begin: int, width: int, phases: int) -> int:
    """Return in how many cycles an event lies in the phases from `begin` on."""
    return len({cycle for cycle, phase in places if (phase - begin) % phases < width})


def _tail(events: int, least: int, share: float) -> float:
    """Return the chance that at least so many of independent events lie in a share of the time."""
    return math.fsum(
        math.comb(events, k) * share**k * (1.0 - share) ** (events - k)
        for k in range(least, events + 1)
    )
