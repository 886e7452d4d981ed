# ruff: noqa: C901  (compiled: one loop over the rows, calls cost)
"""Values in ranges that a series has never visited: a call each, and never again once known.

What belongs here: which readings of a series in streaming order are novel. What does not: what a
stream makes of it (`ml.backtest`).

The range of the first readings is cut into parts of one width, and the parts go on beyond it. A
reading in a part that no earlier one was in is novel; from then on the part is known. After a call
a further novel reading is none for a while, and its part is known all the same. A series that goes
on in one direction, as a trend does, would call once per part. So each further new part on the same
side makes twice as many parts behind it known as the one before: a trend over a hundred parts calls
a few times.

A state is bounded: parts further out than `FURTHEST` count as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from anomaly_platform.ml.arrays import Bools, Floats
from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.scoring.entities import BESIDE

#: Into how many parts the range of the first readings is cut.
PARTS: Final = 15
#: Share of the first readings for which nothing is called again.
QUIET_SHARE: Final = 0.2
#: Parts on either side that are told apart.
FURTHEST: Final = 2048
#: How near to 1 a score without novelty is an alarm, as a share of the way from the threshold.
CLEAR: Final = 1.0 / 6.0
#: At most so many doublings.
_MOST_DOUBLINGS: Final = 6
#: Width of a part where the first readings are all the same, as a share of their size.
_AT_REST: Final = 1e-3
#: Places of a state's numbers.
_LOW, _WIDTH, _QUIET, _WAITS, _SIDE, _TIMES = range(6)


class Novelty:
    """Which ranges a series has visited.

    Parameters
    ----------
    first
        (n,) its first readings, which are learned from; NaN where one is missing.
    """

    def __init__(self, first: Floats) -> None:
        known = first[np.isfinite(first)]
        self._numbers = np.zeros(6)
        self._seen = np.zeros(2 * FURTHEST + 1, dtype=np.bool_)
        if not known.size:
            return
        low, high = float(known.min()), float(known.max())
        width = (high / PARTS - low / PARTS) or _AT_REST * (abs(low) or 1.0)
        self._numbers[:3] = low, width, round(QUIET_SHARE * first.size)
        # In halves, since the distance of the largest floats is none.
        parts = np.clip(np.floor((known / 2 - low / 2) / (width / 2)), -FURTHEST, FURTHEST)
        self._seen[parts.astype(np.int64) + FURTHEST] = True

    @property
    def range(self) -> tuple[float, float]:
        """The lower end of the lowest part that is known, and the upper end of the highest."""
        parts = np.flatnonzero(self._seen) - FURTHEST
        low, width = self._numbers[_LOW], self._numbers[_WIDTH]
        return float(low + parts[0] * width), float(low + (parts[-1] + 1) * width)

    def look(self, values: Floats) -> Bools:
        """Return which of (n,) further readings are calls; NaN where one is missing."""
        calls = np.zeros(values.size, dtype=np.bool_)
        if self._numbers[_WIDTH] > 0.0:
            _look(self._numbers, self._seen, values, calls)
        return calls


def on_top(scores: Floats, novel: Bools, threshold: float) -> Floats:
    """Return (n,) scores of a stream in which what is novel is a call, and else only what is clear.

    Parameters
    ----------
    scores
        (n,) in [0, 1], with the alarms of a stream (`alarms.announce`); NaN where there is none.
    novel
        (n,) which rows are novel.
    threshold
        Score from which a row is a call. Those without novelty keep their alarm where they come
        within a sixth of the way from it to 1; the others stay just below it, in order.
    """
    clear = 1.0 - (1.0 - threshold) * CLEAR
    kept = clear + (scores - clear) / 2.0
    below = np.minimum(scores, threshold * (1.0 - BESIDE * (1.0 - scores)))
    top = 1.0 - (1.0 - clear) / 2.0 * (1.0 - scores)
    return np.where(novel, top, np.where(scores >= clear, kept, below))


@dataclass(frozen=True, eq=False)
class Novel:
    """The readings of a series in streaming order, and which are novel.

    Attributes
    ----------
    values
        All (n,) readings, NaN where one is missing.
    first
        How many of them were learned from.
    calls
        (n - first,) which of the others are calls.
    """

    values: Floats
    first: int
    calls: Bools

    @classmethod
    def of(cls, values: Floats, first: int) -> Self:
        """Look at (n,) readings, the `first` ones of which are learned from."""
        known = np.where(np.isfinite(values), values, np.nan)
        return cls(known, first, Novelty(known[:first]).look(known[first:]))

    def words(self, row: int) -> str:
        """Return in words why a reading is novel that is a call, by its place in `calls`."""
        place = self.first + row
        value, before = self.values[place], self.values[:place]
        low, high = np.nanmin(before), np.nanmax(before)
        if low <= value <= high:
            low, high = np.nanmax(before[before <= value]), np.nanmin(before[before >= value])
            return f"{value:.6g} lies where no reading was before, between {low:.6g} and {high:.6g}"
        return f"{value:.6g} was never seen before, readings were from {low:.6g} to {high:.6g}"


@compiled(error_model="numpy")
def _look(numbers: Any, seen: Any, values: Any, calls: Any) -> None:  # pragma: no cover
    """Fold readings into a state, and write which are calls."""
    low, high = seen.size, -1
    for k in range(seen.size):
        if seen[k]:
            low, high = min(low, k), k
    for i in range(values.size):
        calls[i] = False
        numbers[_WAITS] = max(numbers[_WAITS] - 1.0, 0.0)
        if not np.isfinite(values[i]):
            continue
        far = np.floor((values[i] / 2 - numbers[_LOW] / 2) / (numbers[_WIDTH] / 2))
        part = int(min(max(far, -FURTHEST), FURTHEST)) + FURTHEST
        if seen[part]:
            continue
        calls[i] = numbers[_WAITS] == 0.0
        if calls[i]:
            numbers[_WAITS] = numbers[_QUIET] + 1.0
        side = 0.0
        if low <= high and part > high:
            side = 1.0
        elif low <= high and part < low:
            side = -1.0
        more = 0
        if side != 0.0:
            numbers[_TIMES] = numbers[_TIMES] + 1.0 if side == numbers[_SIDE] else 0.0
            numbers[_SIDE] = side
            more = 2 ** int(min(numbers[_TIMES], _MOST_DOUBLINGS)) - 1
        for k in range(more + 1):
            place = min(max(part + int(side) * k, 0), seen.size - 1)
            seen[place] = True
            low, high = min(low, place), max(high, place)
